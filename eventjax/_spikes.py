"""What flows between rooms: event lists, first-spike times and rasters.

All times are in ms. An event list has a fixed capacity, because XLA wants fixed
shapes; an empty place holds the time `+inf` and the source 0.
"""

import math
from collections.abc import Sequence

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int


def sort_events(
    times: Float[Array, "*batch events"], *carried: Array
) -> tuple[Array, ...]:
    """Sort events by time along the last axis; ties keep their order."""
    order = jnp.argsort(times, axis=-1, stable=True)
    return tuple(jnp.take_along_axis(x, order, axis=-1) for x in (times, *carried))


class Spikes(eqx.Module):
    """A list of spikes per sample, sorted by time.

    **Arguments:**

    - `times`: spike times in ms, shape `[*batch, capacity]`, ascending along the last
        axis, `+inf` where the place is empty.
    - `sources`: which source fired, integers of the same shape.

    Raises a `ValueError` if the shapes differ or the types are not floats and integers.
    The values are checked by `simulate`, which knows how many sources there are.
    """

    times: Float[Array, "*batch capacity"]
    sources: Int[Array, "*batch capacity"]

    def __check_init__(self):
        shapes = (
            getattr(self.times, "shape", None),
            getattr(self.sources, "shape", None),
        )
        if None in shapes:  # tree transformations put other things into the fields
            return
        if shapes[0] != shapes[1] or len(shapes[0]) < 1:
            raise ValueError(
                "`times` and `sources` must have one shape `[*batch, capacity]`, got "
                f"{shapes[0]} and {shapes[1]}."
            )
        if not jnp.issubdtype(self.times.dtype, jnp.floating):
            raise ValueError(f"`times` must be floats (ms), got {self.times.dtype}.")
        if not jnp.issubdtype(self.sources.dtype, jnp.integer):
            raise ValueError(f"`sources` must be integers, got {self.sources.dtype}.")

    @property
    def capacity(self) -> int:
        """How many spikes a sample can hold."""
        return self.times.shape[-1]

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The leading axes."""
        return self.times.shape[:-1]

    @classmethod
    def from_dense(cls, times: Float[Array, "*batch sources"]) -> "Spikes":
        """One spike per source at most: `times[..., n]` is when source `n` fires, `+inf`
        if it never does. The list is sorted; gradients reach `times`."""
        times = jnp.asarray(times)
        sources = jnp.arange(times.shape[-1], dtype=jnp.int32)
        sources = jnp.where(times == jnp.inf, 0, jnp.broadcast_to(sources, times.shape))
        return cls(*sort_events(times, sources))

    @classmethod
    def from_ragged(
        cls,
        samples: Sequence[tuple[np.ndarray, np.ndarray]],
        capacity: int | None = None,
        dtype: np.dtype | type = np.float32,
    ) -> "Spikes":
        """A batch from one `(times, sources)` pair per sample, each of its own length.

        The events of a sample are sorted by time; at equal times they keep their order.
        `capacity` defaults to the longest sample.

        **Raises:** `ValueError` for a sample that does not fit, lists of unequal length,
        times that are not finite in `dtype`, and sources that are not integers of 32 bits
        from 0 on.
        """
        samples = [
            _checked_sample(k, *sample, dtype) for k, sample in enumerate(samples)
        ]
        lengths = [len(times) for times, _ in samples]
        longest = max(lengths, default=0)
        capacity = max(longest, 1) if capacity is None else capacity
        if capacity < 0 or longest > capacity:
            raise ValueError(
                f"Sample {int(np.argmax(lengths or [0]))} has {longest} spikes, but "
                f"`capacity` is {capacity}: give a larger `capacity`."
            )
        out_times = np.full((len(samples), capacity), np.inf, dtype)
        out_sources = np.zeros((len(samples), capacity), np.int32)
        for row, (times, sources) in enumerate(samples):
            order = np.argsort(times, kind="stable")
            out_times[row, : len(times)] = times[order]
            out_sources[row, : len(times)] = sources[order]
        return cls(jnp.asarray(out_times), jnp.asarray(out_sources))

    def to_ragged(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """One `(times, sources)` pair of NumPy arrays per sample, batch axes flattened;
        the inverse of `from_ragged`. Not for use under `jit`."""
        shape = math.prod(self.batch_shape), self.capacity
        times = np.asarray(self.times).reshape(shape)
        sources = np.asarray(self.sources).reshape(shape)
        there = times != np.inf
        return [(t[m], s[m]) for t, s, m in zip(times, sources, there)]

    def count(self) -> Int[Array, "*batch"]:
        """The number of spikes in each sample."""
        return jnp.sum(jnp.isfinite(self.times), axis=-1)

    def counts_per_source(self, num_sources: int) -> Int[Array, "*batch sources"]:
        """The number of spikes of each source. A `ValueError` for a source that there is
        not; under `jit`, where sources are not known, it is for `simulate` to find."""
        _check_sources(self, num_sources)
        there = jnp.isfinite(self.times).astype(jnp.int32)

        def one(sources, there):
            zeros = jnp.zeros(num_sources, jnp.int32)
            return zeros.at[sources].add(there)

        return jnp.vectorize(one, signature="(k),(k)->(n)")(self.sources, there)

    def merge(self, other: "Spikes") -> "Spikes":
        """Both lists in one, sorted by time; at equal times this list's come first.
        The capacities add up."""
        if self.batch_shape != other.batch_shape:
            raise ValueError(
                f"Cannot merge spikes of batch shapes {self.batch_shape} and "
                f"{other.batch_shape}: broadcast one of them first."
            )
        times = jnp.concatenate([self.times, other.times], axis=-1)
        sources = jnp.concatenate([self.sources, other.sources], axis=-1)
        return Spikes(*sort_events(times, sources))

    def first(self, num_sources: int) -> "FirstSpikes":
        """When each of the sources fires first. Gradients reach `times`. Raises as
        `counts_per_source` does."""
        _check_sources(self, num_sources)

        def one(times, sources):
            # The list is sorted, so a source's first spike has its smallest place.
            places = jnp.where(jnp.isfinite(times), jnp.arange(len(times)), len(times))
            first = jnp.full(num_sources, len(times)).at[sources].min(places)
            return times.at[first].get(mode="fill", fill_value=jnp.inf)

        times = jnp.vectorize(one, signature="(k),(k)->(n)")(self.times, self.sources)
        return FirstSpikes(times, jnp.isfinite(times))


class FirstSpikes(eqx.Module):
    """At most one spike for each unit, of any shape.

    **Arguments:**

    - `times`: when each unit fires, in ms, `+inf` where it is silent.
    - `fired`: whether it fires; same shape.
    """

    times: Float[Array, "*shape"]
    fired: Bool[Array, "*shape"]

    def __check_init__(self):
        shapes = [getattr(x, "shape", None) for x in (self.times, self.fired)]
        if None not in shapes and shapes[0] != shapes[1]:
            raise ValueError(
                f"`times` and `fired` must have one shape, got {shapes[0]} and {shapes[1]}."
            )

    def to_spikes(self) -> Spikes:
        """The same spikes as a sorted event list over the last axis."""
        return Spikes.from_dense(jnp.where(self.fired, self.times, jnp.inf))


class Frames(eqx.Module):
    """A raster on a time grid, what a clocked run gives; it can be given one, too.

    **Arguments:**

    - `counts`: spikes in each step and unit, shape `[*batch, steps, units]`.
    - `dt`: length of a step in ms. Step `k` covers `[k dt, (k + 1) dt)` after `t0`.
    - `t0`: start of the first step in ms.

    Raises a `ValueError` for fewer than two axes, or a `dt` that is not positive.
    """

    counts: Float[Array, "*batch steps units"]
    dt: float = eqx.field(static=True)
    t0: float = eqx.field(static=True, default=0.0)

    def __check_init__(self):
        shape = getattr(self.counts, "shape", None)
        if shape is not None and len(shape) < 2:
            raise ValueError(
                f"`counts` must have the shape [*batch, steps, units], got {shape}."
            )
        _check_steps(self.dt, self.t0)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The leading axes."""
        return self.counts.shape[:-2]

    @classmethod
    def from_spikes(
        cls, spikes: Spikes, num_sources: int, dt: float, t1: float, t0: float = 0.0
    ) -> "Frames":
        """Count spikes of `[t0, t1)` into steps of `dt`; a spike at `t1` or later, or
        before `t0`, has no step and is left out. As for `Clocked`, a time within rounding
        of the start of a step counts as on it.

        **Raises:** `ValueError` unless `dt` is positive and `t1` after `t0`; where they are
        known, for times that are `nan` and sources that there are not.
        """
        _check_steps(dt, t0)
        if not t0 < t1 < math.inf:
            raise ValueError(
                f"`t1` must be finite and after `t0`, in ms, got {t1} and {t0}."
            )
        _check_sources(spikes, num_sources)
        if not isinstance(spikes.times, Tracer) and np.isnan(spikes.times).any():
            raise ValueError("`spikes.times` must be in ms, but some are nan.")
        steps = max(1, math.ceil((t1 - t0) / dt - 1e-9))
        largest = max(abs(t0), abs(t1))
        slack = 2 * float(jnp.finfo(spikes.times.dtype).eps) * largest / dt

        def one(times, sources):
            there = (times >= t0) & (times < t1)
            step = jnp.floor((jnp.where(there, times, t0) - t0) / dt + slack)
            # Just before `t1` a time may be rounded to a step after the last.
            step = jnp.clip(step.astype(jnp.int32), 0, steps - 1)
            zeros = jnp.zeros((steps, num_sources), times.dtype)
            return zeros.at[step, sources].add(there.astype(times.dtype))

        make = jnp.vectorize(one, signature="(k),(k)->(s,n)")
        return cls(make(spikes.times, spikes.sources), dt, t0)

    def first(self) -> "FirstSpikes":
        """When each unit fires first: the start of its first step with a spike. To
        differentiate these times in reverse mode is an error: they are places on a
        grid."""
        fired = jnp.any(self.counts > 0, axis=-2)
        step = jnp.argmax(self.counts > 0, axis=-2)
        times = self.t0 + self.dt * step.astype(self.counts.dtype)
        # Tied to the counts, or a gradient would be zero and nobody would notice.
        times = times + 0.0 * jnp.sum(self.counts, axis=-2)
        times = eqxi.nondifferentiable_backward(
            jnp.where(fired, times, jnp.inf),
            msg=(
                "First spike times of a run on a time grid have no gradient: let the loss "
                "read `frames`, `voltages` or `max_voltages`, or use the solver "
                "`ClosedForm()` or `DiffraxEvent()` with exact spike times."
            ),
        )
        return FirstSpikes(times, fired)

    def to_spikes(self, capacity: int) -> Spikes:
        """One spike per count, placed at the start of its step. Several in one step and
        unit become as many spikes. Not for use under `jit`; a `ValueError` if a sample
        has more than `capacity`, or counts are not whole numbers of at least 0."""
        counts = np.asarray(self.counts)
        wrong = ~((counts >= 0) & (counts < 1 << 31) & (counts == np.floor(counts)))
        if wrong.any():
            raise ValueError(
                "`counts` must be whole numbers of at least 0 to become spikes, got "
                f"{counts[wrong][0]} ({wrong.sum()} of {counts.size} are wrong)."
            )
        size = math.prod(self.batch_shape)
        flat = counts.reshape((size, *counts.shape[-2:])).astype(int)
        samples = []
        for raster in flat:
            step, unit = np.nonzero(raster)
            repeats = raster[step, unit]
            times = np.repeat(self.t0 + step * self.dt, repeats)
            samples.append((times, np.repeat(unit, repeats)))
        spikes = Spikes.from_ragged(samples, capacity, counts.dtype)
        shape = (*counts.shape[:-2], capacity)
        return jax.tree.map(lambda x: x.reshape(shape), spikes)


def _checked_sample(
    row: int, times: np.ndarray, sources: np.ndarray, dtype: np.dtype | type
) -> tuple[np.ndarray, np.ndarray]:
    """A sample for `from_ragged` as arrays; a `ValueError` if it would not be kept as it
    is."""
    times, sources = np.asarray(times), np.asarray(sources)
    if times.shape != sources.shape or times.ndim != 1:
        raise ValueError(
            f"Sample {row} needs times and sources of one length, got shapes "
            f"{times.shape} and {sources.shape}."
        )
    if len(times) == 0:  # `[]` has a type that nobody chose
        return times, sources
    if sources.dtype.kind not in "iu":
        raise ValueError(
            f"Sources must be integers, got {sources.dtype} in sample {row}."
        )
    wrong = ~(np.abs(times) <= float(jnp.finfo(dtype).max))
    if wrong.any():
        raise ValueError(
            f"Times must be finite in {np.dtype(dtype)}, in ms, got {times[wrong][0]} in "
            f"sample {row}. Leave out what never happens."
        )
    wrong = (sources < 0) | (sources > np.iinfo(np.int32).max)
    if wrong.any():
        raise ValueError(
            f"Sources must be integers of 32 bits from 0 on, got {sources[wrong][0]} in "
            f"sample {row}."
        )
    return times, sources


def _check_sources(spikes: Spikes, num_sources: int) -> None:
    """A `ValueError` for a spike of a source that there is not, where that is known: an
    array would leave it out, or count a negative one from the end."""
    if isinstance(spikes.times, Tracer) or isinstance(spikes.sources, Tracer):
        return
    sources = np.asarray(spikes.sources)[np.asarray(spikes.times) != np.inf]
    wrong = (sources < 0) | (sources >= num_sources)
    if wrong.any():
        raise ValueError(
            f"`sources` must be from 0 to {num_sources - 1}, since `num_sources` is "
            f"{num_sources}, got {sources[wrong][0]} ({wrong.sum()} of {sources.size} are "
            "wrong)."
        )


def _check_steps(dt: float, t0: float) -> None:
    if not (0 < dt < math.inf and math.isfinite(t0)):
        raise ValueError(
            f"`dt` must be positive and `t0` finite, in ms, got {dt} and {t0}."
        )
