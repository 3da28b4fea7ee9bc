"""Latency code: each source fires once, and when it does is the value."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import ArrayLike, Float

from .._spikes import Spikes


def latency(
    values: Float[ArrayLike, "*batch sources"],
    t_zero: float,
    t_one: float,
    *,
    threshold: float | None = None,
    bias: float | None = None,
    capacity: int | None = None,
) -> Spikes:
    r"""Each source fires once, at a time that depends linearly on its value.

    $$t = t_{zero} + (t_{one} - t_{zero})\, x, \qquad 0 \le x \le 1$$

    With `t_zero > t_one` large values fire first. The two codes of Wunderlich and Pehle:

    ```python
    latency(features, 0.0, 30.0, bias=0.0)                    # Yin-Yang, 5 sources
    latency(images / 255, 20.0, 0.0, threshold=1 / 255)       # MNIST, pixel > 1
    ```

    Outside `jit` the work is done by NumPy in the precision of `values`, and only the
    result is rounded to JAX's default float type. Under `jit` gradients reach `values`.

    **Arguments:**

    - `values`: $x$, in [0, 1], shape `[*batch, sources]`.
    - `t_zero`, `t_one`: when sources of value 0 and of value 1 fire, in ms.
    - `threshold`: sources whose value is not above it stay silent. By default all fire.
    - `bias`: when one more source, the last, fires in every sample, in ms.
    - `capacity`: places per sample. By default one for each source. Where many sources
        are silent a smaller one saves work.

    **Returns:** `Spikes` of `[*batch, capacity]`.

    **Raises:** `ValueError` for values outside [0, 1] or `nan`, times that are not
    finite, a sample with more spikes than `capacity`, or a `capacity` under `jit`. The
    values themselves cannot be checked under `jit`.
    """
    _check_times(t_zero=t_zero, t_one=t_one, bias=0.0 if bias is None else bias)
    if capacity is not None and capacity < 1:
        raise ValueError(f"`capacity` must be at least 1, got {capacity}.")
    if threshold is not None and math.isnan(threshold):
        raise ValueError("`threshold` must be a number, got nan.")
    check_form(values)
    if isinstance(values, Tracer):
        if capacity is not None:
            raise ValueError(
                "`capacity` cannot be given under `jit`, where it is not known whether "
                "all spikes fit: encode outside `jit`, or leave it out."
            )
        return _encode_traced(values, t_zero, t_one, threshold, bias)
    values = np.asarray(values)
    check_range(values)
    *batch_shape, size = values.shape
    flat = values.reshape(-1, size)
    fires = np.full(flat.shape, True) if threshold is None else flat > threshold
    row, source = np.nonzero(fires)
    times = t_zero + (t_one - t_zero) * flat[fires]
    if bias is not None:
        row = np.concatenate([row, np.arange(len(flat))])
        source = np.concatenate([source, np.full(len(flat), size)])
        times = np.concatenate([times, np.full(len(flat), bias, times.dtype)])
        size += 1
    return _pack(
        times, row, source, batch_shape, size if capacity is None else capacity
    )


def _encode_traced(values, t_zero, t_one, threshold, bias) -> Spikes:
    times = t_zero + (t_one - t_zero) * values
    if threshold is not None:
        times = jnp.where(values > threshold, times, jnp.inf)
    if bias is not None:
        last = jnp.full((*times.shape[:-1], 1), bias, times.dtype)
        times = jnp.concatenate([times, last], axis=-1)
    return Spikes.from_dense(times)


def _pack(
    times: np.ndarray,
    row: np.ndarray,
    source: np.ndarray,
    batch_shape: list[int],
    capacity: int,
) -> Spikes:
    """Spikes of all samples, in any order, as one sorted list per sample."""
    rows = math.prod(batch_shape)
    counts = np.bincount(row, minlength=rows)
    if rows and counts.max() > capacity:
        where = np.unravel_index(np.argmax(counts), batch_shape)
        raise ValueError(
            f"Sample {tuple(map(int, where))} has {counts.max()} spikes, but `capacity` "
            f"is {capacity}: give a `capacity` of {counts.max()} or more."
        )
    order = np.lexsort((times, row))
    times, row, source = times[order], row[order], source[order]
    place = np.arange(len(row)) - (np.cumsum(counts) - counts)[row]
    dtype = jax.dtypes.canonicalize_dtype(float)
    all_times = np.full((rows, capacity), np.inf, dtype)
    all_sources = np.zeros((rows, capacity), np.int32)
    all_times[row, place], all_sources[row, place] = times, source
    shape = (*batch_shape, capacity)
    return Spikes(
        jnp.asarray(all_times.reshape(shape)), jnp.asarray(all_sources.reshape(shape))
    )


def _check_times(**times: float) -> None:
    for name, time in times.items():
        if not np.isfinite(time):
            raise ValueError(f"`{name}` must be finite, in ms, got {time}.")


def check_form(values: ArrayLike) -> None:
    """What is known of values under `jit`, too."""
    if np.ndim(values) < 1:
        raise ValueError("`values` must have a last axis, the sources; got a number.")
    dtype = jnp.result_type(values)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(
            f"`values` must be floats in [0, 1], got {dtype}: divide by the "
            "largest value there can be, such as 255 for pixels."
        )


def check_range(values: np.ndarray) -> None:
    """What is not known of values under `jit`."""
    wrong = ~((values >= 0) & (values <= 1))
    if wrong.any():
        where = tuple(map(int, np.argwhere(wrong)[0]))
        raise ValueError(
            f"`values` must lie in [0, 1], got {values[where]} at {where}; "
            f"{int(wrong.sum())} of {values.size} do not."
        )
