"""The rival with a fixed threshold, no windows and unlimited time, as in STDBP."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

import eventjax as ej


class Crossings(eqx.Module):
    """What a layer does: its spikes, counted from the start of the input, and how fast
    the voltage rises at them, per ms, 0 where a neuron is silent and without gradient."""

    spikes: ej.FirstSpikes
    slope: Float[Array, "*batch out"]


def stdbp_layer(
    connection: ej.Dense, spikes: ej.FirstSpikes, *, threshold: float = 1.0
) -> Crossings:
    r"""Non-leaky neurons that spike once, at a fixed threshold, whenever that is.

    $$V(t) = \sum_i w_i \max(t - t_i, 0) / \mathrm{ms}, \qquad
    t = \frac{\theta + \sum_{i \in C} w_i t_i}{\sum_{i \in C} w_i}$$

    Input and output overlap in time, so the causes $C$ of a spike, the inputs before it,
    have to be found: inputs are sorted, and the neuron spikes in the first interval
    between two of them in which its line reaches the threshold. The exact gradient has
    the denominator $\sum_C w$, which can be as close to zero as it likes.

    **Arguments:**

    - `connection`: weights, `[in, out]`.
    - `spikes`: input, `[*batch, in]`, in ms; times of silent sources are not looked at.
    - `threshold`: positive, dimensionless.

    **Returns:** `Crossings` of shape `[*batch, out]`; silent neurons have the time `+inf`.
    First derivatives by times and weights are exact, in forward and reverse mode.

    **Raises:** `ValueError` for a threshold that is not positive, or an input of the wrong
    size.

    ??? cite

        Zhang et al., arXiv 2003.11837, for the neuron.
    """
    if not threshold > 0:
        raise ValueError(
            f"`threshold` must be positive, got {threshold}: a neuron at rest would be "
            "at or above it."
        )
    weight, size = connection.weight, connection.in_size
    if spikes.times.shape[-1:] != (size,):
        raise ValueError(
            f"`spikes` must be of shape [*batch, {size}], the sources of `connection`, "
            f"got {spikes.times.shape}."
        )
    batch = spikes.times.shape[:-1]
    dtype = jnp.promote_types(weight.dtype, spikes.times.dtype)
    fired = spikes.fired.reshape(-1, size)
    times = spikes.times.reshape(-1, size).astype(dtype)
    times, weight = jnp.where(fired, times, 0.0), weight.astype(dtype)
    found = _search(*lax.stop_gradient((times, weight)), fired, threshold)
    out = _refine(times, weight, found, threshold)
    out, slope = (x.reshape(*batch, -1) for x in (out, found.slope))
    return Crossings(ej.FirstSpikes(out, lax.stop_gradient(out) < jnp.inf), slope)


class _Found(eqx.Module):
    """Where each neuron spikes, `[batch, out]`, and the place `[batch, in]` of each input
    in the order of times. The causes of a spike have places up to `last`."""

    time: Float[Array, "batch out"]
    slope: Float[Array, "batch out"]
    last: Int[Array, "batch out"]  # -1 for a silent neuron
    place: Int[Array, "batch in"]


class _Line(eqx.Module):
    """Voltages at the input looked at, and what has been found so far."""

    v: Array
    slope: Array
    time: Array
    slope_found: Array
    last: Array


def _search(
    times: Float[Array, "batch in"],
    weight: Float[Array, "in out"],
    fired: Bool[Array, "batch in"],
    threshold: float,
) -> _Found:
    """From one input to the next along straight lines. Voltages are added up over
    intervals, which stays precise however late it gets, where `W t - I` would not."""
    sortable = jnp.where(fired, times, jnp.inf)
    order = jnp.argsort(sortable, axis=-1, stable=True)
    sorted_times = jnp.take_along_axis(sortable, order, axis=-1)
    ends = jnp.full_like(times[:, :1], jnp.inf)
    next_times = jnp.concatenate([sorted_times[:, 1:], ends], axis=-1)

    def step(place, line: _Line) -> _Line:
        t, t_next = sorted_times[:, place], next_times[:, place]
        there, final = t < jnp.inf, ~(t_next < jnp.inf)
        more = jnp.where(there[:, None], weight[order[:, place]], 0.0)
        slope, gap = line.slope + more, threshold - line.v
        length = jnp.where(final, 0.0, t_next - jnp.where(there, t, 0.0))
        rise = slope * length[:, None]
        # After the last input a line goes on for ever.
        reaches = (final[:, None] | (rise >= gap)) & (slope > 0)
        new = there[:, None] & reaches & (line.last < 0)
        wait = gap / jnp.where(new, slope, 1.0)
        return _Line(
            line.v + rise,
            slope,
            jnp.where(new, t[:, None] + wait, line.time),
            jnp.where(new, slope, line.slope_found),
            jnp.where(new, place, line.last),
        )

    zeros = jnp.zeros((times.shape[0], weight.shape[1]), times.dtype)
    none = jnp.full(zeros.shape, -1, jnp.int32)
    most = jnp.max(jnp.sum(fired, axis=-1, dtype=jnp.int32), initial=0)
    line = lax.fori_loop(0, most, step, _Line(zeros, zeros, zeros, zeros, none))
    # So late that its float type has no number for it: never.
    late = ~(line.time < jnp.inf)
    last = jnp.where(late, -1, line.last)
    slope = jnp.where(late, 0.0, line.slope_found)
    place = jnp.argsort(order, axis=-1).astype(jnp.int32)
    return _Found(jnp.where(late, 0.0, line.time), slope, last, place)


def _refine(
    times: Float[Array, "batch in"],
    weight: Float[Array, "in out"],
    found: _Found,
    threshold: float,
) -> Float[Array, "batch out"]:
    """The same spike times, by one step of Newton's method from where they were found:
    its derivatives are those of the closed formula."""

    # Sample by sample, and made again for the backward pass: what has the axes of inputs
    # and neurons stays in the cache, and never has that of samples, too.
    @jax.checkpoint
    def one(given):
        times, found = given
        causal = found.place[:, None] <= found.last[None, :]
        ago = found.time[None, :] - times[:, None]
        v = jnp.sum(jnp.where(causal, weight * ago, 0.0), axis=0)
        spikes = found.last >= 0
        time = found.time + (threshold - v) / jnp.where(spikes, found.slope, 1.0)
        return jnp.where(spikes, time, jnp.inf)

    return lax.map(one, (times, found))
