"""What the layers of a trained network do, and how many operations that takes."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

import eventjax as ej

from ._config import Pictures
from ._loss import adjoint_of, encode, frames_of, respond
from ._networks import OnGrid
from ._sources import Source


Layers = list[dict[str, float]]


def activity(
    model: Any, source: Source, config: Pictures, samples: int = 1000
) -> Layers:
    """Of each layer, the readout last, means over the first so many pictures:

    - `neurons`, and how many of them have spikes, `firing`, and how many `spikes`;
    - `active`, `saturated`, `silent`: shares of neurons of first spikes;
    - `forward`, `error`, `weight`: operations, see `eventjax.Operations`;
    - `dense_error`, `dense_weight`: what an ordinary surrogate gradient, or
      backpropagation through rectifiers, needs.

    An artificial network has no spikes, and the list is empty.
    """
    if config.rule == "clipped_relu":
        return []
    sums: list[dict[str, float]] = []
    count = 0
    for batch, is_real in source.first(samples).padded():
        found = jax.device_get(_of_batch(model, batch, config.shared))
        count += int(is_real.sum())
        sums = sums or [dict.fromkeys(layer, 0.0) for layer in found]
        for total, layer in zip(sums, found, strict=True):
            for name, values in layer.items():
                total[name] += float(values[is_real].sum())
    return [{name: x / count for name, x in layer.items()} for layer in sums]


@eqx.filter_jit
def _of_batch(model: Any, batch: dict[str, jax.Array], config: Pictures):
    """`[batch]` of each number of each layer."""
    if config.on_grid:
        return _on_grid(model, batch, config)
    return _of_first_spikes(model, batch, config)


def _of_first_spikes(model: ej.FirstSpikeNetwork, batch, config: Pictures):
    """Errors come from active neurons only, and go to inputs that fired. Those of the
    picture need none."""
    _, sol = respond(model, batch, config)
    given = encode(batch, config)
    learns = jnp.zeros(given.fired.shape, bool)
    out, regimes, done = [], sol.regimes(), 0
    for layer in model.layers:
        if isinstance(layer, ej.EarliestPool2d):
            pooled = layer(given)
            # Whether what goes on comes from a neuron that learns
            learning = ej.FirstSpikes(given.times, given.fired & learns)
            learns = pooled.fired & (layer(learning).times == pooled.times)
            given = pooled
            continue
        fired = given.fired.astype(given.times.dtype)
        if isinstance(layer, ej.PotentialReadout):
            active = jnp.ones((fired.shape[0], *_made(layer, fired)), fired.dtype)
            entry = {}
        else:
            spikes = sol.spikes[done]
            local = ej.FirstSpikes(
                spikes.times - (done + 1) * config.window, spikes.fired
            )
            is_active = local.fired & (local.times > 0)
            active = is_active.astype(fired.dtype)
            entry = {
                name: getattr(regimes[done], name)
                for name in ("active", "saturated", "silent")
            }
            entry |= {"spikes": _total(spikes.fired), "firing": _total(spikes.fired)}
        every = jnp.ones_like(active)
        pairs = lambda x, y: ej.count_pairs(layer.connection, x, y)
        entry |= {
            "neurons": _total(every),
            "forward": pairs(fired, every),
            "error": pairs(learns.astype(fired.dtype), active),
            "weight": pairs(fired, active),
            # The picture needs no error
            "dense_error": pairs(jnp.full_like(fired, done > 0), every),
            "dense_weight": pairs(jnp.ones_like(fired), every),
        }
        out.append(entry)
        if not isinstance(layer, ej.PotentialReadout):
            given, learns, done = local, is_active, done + 1
    return out


def _made(layer: ej.PotentialReadout, fired: jax.Array) -> tuple[int, ...]:
    return jax.eval_shape(layer.connection.apply, fired).shape[1:]


def _on_grid(model: OnGrid, batch, config: Pictures):
    """The pixels of a still picture that are not 0 count as a spike in each step."""
    _, sol = respond(model, batch, config, voltages=True)
    mask = adjoint_of(config).mask
    counts = frames_of(batch, model, config).counts.astype(sol.t1.dtype)
    given = (counts > 0).astype(counts.dtype)
    given_mask, out = None, []
    for k, layer in enumerate(model.network.layers):
        spikes = sol.frames[k].counts
        made = layer.connection.carry(counts)
        on = mask(_distance(layer.neuron, made, sol.voltages[k])) > 0
        ops = ej.count_operations(
            given, spikes, on, given_mask, connection=layer.connection
        )
        dense = ej.count_operations(
            given,
            spikes,
            jnp.ones_like(on),
            None if given_mask is None else jnp.ones_like(given_mask),
            connection=layer.connection,
        )
        out.append(
            {
                "neurons": _total(jnp.ones_like(spikes[:, 0])),
                "firing": _total(jnp.any(spikes > 0, axis=1)),
                "spikes": _total(spikes),
                "forward": ops.forward,
                "error": ops.error,
                "weight": ops.weight,
                "dense_error": dense.error,
                "dense_weight": dense.weight,
            }
        )
        counts = given = spikes
        given_mask = on
    return [*out, _readout(model.readout, given, given_mask)]


def _distance(neuron: ej.AdaptiveLIF, made: jax.Array, after: jax.Array) -> jax.Array:
    """To the threshold, `[*batch, steps, neurons]`, of what arrives and the voltages after
    each step."""
    decay = jnp.exp(jnp.asarray(-1 / neuron.tau_mem, after.dtype))
    before = jnp.concatenate([jnp.zeros_like(after[:, :1]), after[:, :-1]], axis=1)
    v = decay * before + made
    times = jnp.arange(1, v.shape[1] + 1, dtype=v.dtype)
    threshold = jax.vmap(neuron.threshold_rule, (0, 1), 1)(times, v)
    return v - threshold


def _readout(
    connection: ej.ImageConnection, given: jax.Array, given_mask: jax.Array
) -> dict[str, jax.Array]:
    """One error for each class, the same in all steps."""
    count, steps = given.shape[:2]
    every = jnp.ones((count, steps, connection.out_size), given.dtype)
    pairs = lambda x: jnp.sum(
        ej.count_pairs(connection, x, every, batch_ndim=2), axis=1
    )
    return {
        "neurons": _total(every[:, 0]),
        "forward": pairs(given),
        "error": pairs(given_mask.astype(given.dtype)),
        "weight": pairs(given),
        "dense_error": pairs(jnp.ones_like(given)),
        "dense_weight": pairs(given),
    }


def _total(x: jax.Array) -> jax.Array:
    return jnp.sum(x.reshape(x.shape[0], -1).astype(jnp.float32), axis=1)
