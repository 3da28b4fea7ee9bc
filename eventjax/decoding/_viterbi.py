"""The most probable sequence of phones through the frames of an utterance."""

import equinox as eqx
import jax
import jax.lax as lax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Bool, Float, Int32

from ._bigram import PhoneBigram
from ._frame_checks import check_ends


class Decoded(eqx.Module):
    """What `viterbi` finds.

    - `path`: the phone of each frame, -1 behind the end.
    - `score`: the sum that is largest for this path. `-inf`: no path is possible, and this
        one means nothing.
    """

    path: Int32[Array, "batch frames"]
    score: Float[Array, " batch"]


def viterbi(
    log_posteriors: Float[ArrayLike, "batch frames phones"],
    valid: Bool[ArrayLike, "..."],
    bigram: PhoneBigram,
    log_priors: Float[ArrayLike, "..."] | None = None,
    *,
    acoustic_weight: float | Float[ArrayLike, ""] = 1.0,
    prior_scale: float | Float[ArrayLike, ""] = 1.0,
) -> Decoded:
    r"""The sequence of phones, one for each frame, with the largest

    $$\sum_t a \left(\log p(k_t | x_t) - b \log p(k_t)\right)
      + \log p(k_1) + \sum_t \log p(k_{t+1} | k_t) + \log p(\mathrm{end} | k_T)$$

    in all utterances at once, with the weight $a$ of what is heard and the scale $b$ of
    priors. It is compiled once for each shape, whatever $a$ and $b$ are.

    The sum takes frames for independent, which neighbours are not, so what is heard counts
    for too much: the surer a network is, the lower should $a$ be. Phones that are hardly
    ever there win everywhere where their posteriors are larger than their priors, which the
    whole of these, $b = 1$, may bring about. So choose both on validation data.

    **Arguments:**

    - `log_posteriors`: natural logarithms, such as `jax.nn.log_softmax` of outputs.
        Whatever they are where `valid` is false.
    - `valid`: `[batch, frames]`, true for frames, false for padding, which comes last.
        Padding makes no difference.
    - `bigram`: of the same phones, see `count_bigram`.
    - `log_priors`: `[phones]`, see `count_priors`. By default none are taken off.
    - `acoustic_weight`: $a$, positive.
    - `prior_scale`: $b$; 0 for posteriors as they are.

    **Returns:** a `Decoded`. Of equal paths, the one whose last phone, then that before
    and so on, has the lower number.

    **Raises:** `ValueError` for shapes that do not fit and, where values are known, for
    padding that is not last, an utterance without frames, a `nan` in a valid frame, or an
    `acoustic_weight` that is not positive.
    """
    log_posteriors, valid = jnp.asarray(log_posteriors), jnp.asarray(valid)
    dtype = log_posteriors.dtype
    size = log_posteriors.shape[-1]
    if valid.shape != log_posteriors.shape[:2]:
        raise ValueError(
            "`valid` must have the shape of `log_posteriors` without the last axis, "
            f"{log_posteriors.shape[:2]}, got {valid.shape}."
        )
    if log_priors is None:
        log_priors = jnp.zeros(size, dtype)
    if bigram.phones != size or jnp.shape(log_priors) != (size,):
        raise ValueError(
            f"`bigram` and `log_priors` must be of the {size} phones of `log_posteriors`, "
            f"got one of {bigram.phones} and shape {jnp.shape(log_priors)}."
        )
    _check_values(log_posteriors, valid, acoustic_weight)
    weight, scale, priors, bigram = jax.tree.map(
        lambda x: jnp.asarray(x, dtype),
        (acoustic_weight, prior_scale, log_priors, bigram),
    )
    return _search(log_posteriors, valid, bigram, priors, weight, scale)


@jax.jit
def _search(
    log_posteriors: Array,
    valid: Array,
    bigram: PhoneBigram,
    log_priors: Array,
    weight: Array,
    scale: Array,
) -> Decoded:
    heard = weight * (log_posteriors - (scale * log_priors)[None, None])
    heard, valid = jnp.moveaxis(heard, 1, 0), jnp.moveaxis(valid, 1, 0)
    into = bigram.move.T[None]  # [1, to, from], so that the last axis is searched
    stay = jnp.arange(bigram.phones, dtype=jnp.int32)[None]

    def forward(best, frame):
        heard, is_valid = frame
        ways = best[:, None, :] + into
        origin = jnp.argmax(ways, axis=2).astype(jnp.int32)
        way = jnp.take_along_axis(ways, origin[..., None], axis=2)[..., 0]
        there = is_valid[:, None]
        origin = jnp.where(there, origin, stay)
        return jnp.where(there, way + heard, best), origin

    first = bigram.start[None] + heard[0]
    best, origins = lax.scan(forward, first, (heard[1:], valid[1:]))
    best = best + bigram.end[None]
    last = jnp.argmax(best, axis=1).astype(jnp.int32)

    def back(phone, origin):
        return jnp.take_along_axis(origin, phone[:, None], axis=1)[:, 0], phone

    start, rest = lax.scan(back, last, origins, reverse=True)
    path = jnp.concatenate([start[None], rest])
    path = jnp.where(valid, path, -1)
    return Decoded(jnp.moveaxis(path, 0, 1), jnp.max(best, axis=1))


def _check_values(log_posteriors: Array, valid: Array, weight: ArrayLike) -> None:
    if not isinstance(weight, Tracer) and not np.asarray(weight) > 0:
        raise ValueError(f"`acoustic_weight` must be positive, got {weight}.")
    if isinstance(valid, Tracer):
        return
    check_ends(np.asarray(valid))
    if isinstance(log_posteriors, Tracer):
        return
    wrong = np.isnan(np.asarray(log_posteriors)).any(axis=2) & np.asarray(valid)
    if wrong.any():
        row, frame = np.argwhere(wrong)[0]
        raise ValueError(
            f"`log_posteriors` has `nan` in {wrong.sum()} valid frames, the first of them "
            f"frame {frame} of row {row}. What made them has failed before."
        )
