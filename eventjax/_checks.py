"""What is checked of a run's input. Where values are known a fault is a `ValueError` that
shows them; in a compiled program it is a code in the result."""

import dataclasses
import functools as ft
from typing import Any

import equinox as eqx
import jax
import jax.lax as lax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.experimental import io_callback
from jaxtyping import Array, ArrayLike, Bool, Int

from ._network import Layer, Network
from ._solution import RESULTS
from ._spikes import Spikes


class Fault(eqx.Module):
    """A possible fault: `wrong` marks the bad `values`. Its leading axis is the batch if
    `by_sample`, else the fault is that of all samples."""

    result: RESULTS
    argument: str = eqx.field(static=True)
    values: Array
    wrong: Bool[Array, "..."]
    by_sample: bool = eqx.field(static=True, default=False)


def known(tree: Any) -> bool:
    """Whether all arrays have values now, not only when a compiled program runs."""
    return not any(isinstance(x, Tracer) for x in jax.tree.leaves(tree))


def spike_faults(spikes: Spikes, in_size: int, t0: Array) -> list[Fault]:
    """`spikes` has a single batch axis."""
    times, sources = spikes.times, spikes.sources
    there = times != jnp.inf
    earlier = jnp.pad(times[:, :-1], ((0, 0), (1, 0)), constant_values=-jnp.inf)
    name = "`spikes.times`"
    return [
        Fault(RESULTS.invalid_times, name, times, ~(times >= t0), True),
        Fault(RESULTS.unsorted_times, name, times, times < earlier, True),
        Fault(
            RESULTS.source_out_of_range,
            f"`spikes.sources` (`in_size` is {in_size})",
            sources,
            there & ((sources < 0) | (sources >= in_size)),
            True,
        ),
    ]


def duration_faults(network: Network, t0: Array, t1: Array) -> list[Fault]:
    """`t0` and `t1` as given, of the float type of the run."""
    named = [x for layer in network.layers for x in _parameters(layer.neuron, "")]
    taus = [jnp.min(jnp.asarray(x, t1.dtype)) for name, x in named if _is_tau(name)]
    smallest = jnp.min(jnp.stack(taus)) if taus else jnp.full_like(t1, jnp.inf)
    step = jnp.nextafter(t1, jnp.full_like(t1, jnp.inf)) - t1
    return [
        Fault(RESULTS.invalid_duration, "`t1`", t1, ~((t1 > t0) & jnp.isfinite(t1))),
        Fault(RESULTS.duration_too_long, "`t1`", t1, step > 1e-4 * smallest),
    ]


def _parameters(neuron: Any, where: str) -> list[tuple[str, Any]]:
    """Numbers and float arrays of a neuron and of neurons inside it, by name."""
    found = []
    for field in dataclasses.fields(neuron):
        name, value = f"{where}.{field.name}", getattr(neuron, field.name)
        if dataclasses.is_dataclass(value):
            found += _parameters(value, name)
        elif isinstance(value, float) or eqx.is_inexact_array(value):
            found.append((name, value))
    return found


def _is_tau(name: str) -> bool:
    """Whether a parameter is a time constant: its name says so."""
    return name.rpartition(".")[2].startswith("tau")


def _layer_faults(layer: Layer, where: str) -> list[Fault]:
    def fault(name, value, right):
        value = jnp.asarray(value)
        return Fault(
            RESULTS.invalid_parameters, f"`{where}.{name}`", value, ~right(value)
        )

    found, named = [], dict(_parameters(layer.neuron, "neuron"))
    for name, value in named.items():
        right = (lambda x: x > 0) if _is_tau(name) else jnp.isfinite
        right = (lambda x: x >= 0) if name.endswith(".refractory") else right
        found.append(fault(name, value, right))
        high = named.get(name.removesuffix("v_reset") + "v_threshold")
        if name.endswith(".v_reset") and high is not None:
            found.append(fault(name, value, lambda x, y=high: x < jnp.asarray(y)))
    for name in ("connection", "recurrent"):
        connection = getattr(layer, name)
        for leaf in jax.tree.leaves(eqx.filter(connection, eqx.is_inexact_array)):
            found.append(fault(name, leaf, jnp.isfinite))
        delays = None if connection is None else connection.delays()
        if delays is not None:
            found.append(fault(f"{name}.delay", delays, lambda x: x >= 0))
    return found


def network_faults(network: Network) -> list[Fault]:
    """Parameters that are not what they must be."""
    layers = enumerate(network.layers)
    return [x for k, y in layers for x in _layer_faults(y, f"network.layers[{k}]")]


def raise_known(faults: list[Fault]) -> None:
    """Raise a `ValueError` for the first fault whose values are known."""
    for fault in faults:
        if not known(fault):
            continue
        wrong = np.asarray(fault.wrong)
        if wrong.any():
            place = tuple(int(x) for x in np.argwhere(wrong)[0])
            values = np.broadcast_to(np.asarray(fault.values), wrong.shape)
            at = f" at {list(place)}" if place else ""
            raise ValueError(
                f"{fault.argument}: {RESULTS[fault.result]} "
                f"Got {values[place]}{at} ({wrong.sum()} of {wrong.size} are wrong)."
            )


def code_of(result: RESULTS) -> Int[Array, ""]:
    return jnp.asarray(result._value, jnp.int32)


def item_of(code: Int[Array, "*batch"]) -> RESULTS:
    """The member of `RESULTS` with this code, of any shape."""
    value = RESULTS.successful._value
    return eqx.tree_at(
        lambda x: x._value, RESULTS.successful, code.astype(jnp.asarray(value).dtype)
    )


def worst(code: Int[Array, " batch"], faults: list[Fault]) -> Int[Array, " batch"]:
    """The code of each sample: the first fault's, or that given if there is none."""
    for fault in reversed(faults):
        axes = tuple(range(1 if fault.by_sample else 0, fault.wrong.ndim))
        code = jnp.where(jnp.any(fault.wrong, axes), code_of(fault.result), code)
    return code


def _raise(detail: str, code: ArrayLike, *values: ArrayLike) -> None:
    codes = np.asarray(code).astype(int).reshape(-1)
    sample = int(np.argmax(codes != 0))
    text = RESULTS._index_to_message[codes[sample]]
    bad = [np.asarray(v).astype(int).reshape(-1)[sample] for v in values]
    got = ", ".join(str(v) for v in bad)
    raise RuntimeError(f"{text} Sample {sample} of {len(codes)}; {detail}: {got}.")


def throw_if_bad(code: Int[Array, " batch"], detail: str, *values: Array) -> None:
    """If any code is not zero an error with the message and the values (`detail` says
    what these are, each with a leading batch axis). In a compiled program the error
    comes from a callback."""
    if known((code, values)):
        if np.any(np.asarray(code)):
            _raise(detail, code, *values)
        return

    # A callback has no derivative, and integers from a custom VJP carry an empty one;
    # floats can be cut off from it.
    floats = [lax.stop_gradient(x.astype(jnp.float32)) for x in (code, *values)]

    # Under `vmap` a condition with an effect is not allowed, but all samples can be
    # looked at together.
    @jax.custom_batching.custom_vmap
    def check(*floats):
        def bad():
            io_callback(ft.partial(_raise, detail), None, *floats)

        lax.cond(jnp.any(floats[0] != 0), bad, lambda: None)
        return floats[0]

    @check.def_vmap
    def together(axis_size, in_batched, *floats):
        size = floats[0].shape
        return check(*(x.reshape(-1) for x in floats)).reshape(size), True

    check(*floats)
