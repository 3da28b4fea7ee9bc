"""From features that are constant over a frame to spikes at exact times."""

from typing import Any

import equinox as eqx
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._neuron._ramp_if import positive
from .._spikes import sort_events, Spikes
from ._exact_checks import check_capacity, check_count, check_threshold
from ._exact_spikes import ExactPassed, ExactSpikes, ExactState


class ExactEncoder(eqx.Module):
    r"""Features as signed spikes at exact times, with one straight line a frame.

    $$\Delta\, \dot V = x^n, \qquad V \to V \mp V_{th} \text{ where } V = \pm V_{th}$$

    in frame $n$ of length $\Delta$, and $V = 0$ at first. The $k$-th spike of a frame is
    where $V^n + x^n (t - n \Delta) / \Delta = \pm k V_{th}$, a closed formula. A frame
    has $|\mathrm{trunc}((V^n + x^n) / V_{th})|$ of them, the very number of an `Encoder`
    without dead zone and in its range. With a dead zone that emits in finer quanta:
    both differ from the sum of features so far by less than a threshold.

    Call it with the features of one sample, `jax.vmap` it for more.

    **Arguments:**

    - `threshold`: $V_{th}$ (dimensionless), also the size of spikes.
    - `frame`: $\Delta$ in ms.
    - `capacity`: how many spikes a sample can have.

    **Raises:** `ValueError` for values that are not positive.
    """

    threshold: Float[Array, ""]
    frame: float = eqx.field(static=True)
    capacity: int = eqx.field(static=True)

    def __init__(self, threshold: Any, *, frame: Any = 10.0, capacity: int):
        self.threshold = check_threshold(threshold)
        self.frame = positive("frame", frame)
        self.capacity = check_capacity(capacity)

    def __call__(self, frames: Float[Array, "frames inputs"]) -> ExactPassed:
        """Encode a sample.

        **Arguments:**

        - `frames`: features `[frames, inputs]`; zeros change nothing, so that is what
            padding must be.

        **Returns:** an `ExactPassed`; its current is the last frame's feature. Gradients
        reach features and threshold, in both modes. That of a time is inverse to the
        feature of its frame.

        **Raises:** `RuntimeError` for more spikes than `capacity`, `ValueError` for no
        frames or inputs.
        """
        if 0 in frames.shape:
            raise ValueError(f"`frames` is empty, of shape {frames.shape}.")
        dtype = frames.dtype
        threshold = self.threshold.astype(dtype)

        def one(v: Array, x: Array):
            end = v + x
            # Rounding may leave a membrane at its threshold, which is no spike until it
            # moves that way.
            count = jnp.where(end * x > 0, jnp.trunc(end / threshold), 0.0)
            count = lax.stop_gradient(count)
            return end - count * threshold, (v, count)

        end, (start, count) = lax.scan(one, jnp.zeros_like(frames[0]), frames)
        cell, nth, there = _places(jnp.abs(count).astype(jnp.int32), self.capacity)
        number, source = jnp.divmod(cell, jnp.asarray(frames.shape[1], jnp.int32))
        x = jnp.where(there, frames[number, source], 1.0)
        size = jnp.where(there, jnp.sign(x) * threshold, 0.0)
        share = (nth.astype(dtype) * size - start[number, source]) / x
        # To the end of its frame at most, where rounding would have it a bit later
        share = share + lax.stop_gradient(jnp.clip(share, 0, 1) - share)
        time = (number.astype(dtype) + share) * self.frame
        time = jnp.where(there, time, jnp.inf)
        time, source, size = sort_events(time, jnp.where(there, source, 0), size)
        check_count(jnp.sum(jnp.abs(count)).astype(jnp.int32), self.capacity)
        spikes = ExactSpikes(Spikes(time, source), size)
        return ExactPassed(spikes, ExactState(frames[-1], end))


def _places(
    count: Int[Array, "frames inputs"], capacity: int
) -> tuple[Array, Array, Array]:
    """For each place of the list the cell of `count` whose spike it holds, which of them,
    from 1, and whether there is one."""
    ends = jnp.cumsum(count.reshape(-1), dtype=jnp.int32)
    place = jnp.arange(capacity, dtype=jnp.int32)
    there = place < ends[-1]
    cell = jnp.searchsorted(ends, place, side="right").astype(jnp.int32)
    cell = jnp.where(there, cell, 0)
    before = ends[cell] - count.reshape(-1)[cell]
    return cell, place - before + 1, there
