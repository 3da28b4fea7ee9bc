"""A loss on how often output neurons fire."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from ._cross_entropy import cross_entropy


def spike_count_cross_entropy(
    counts: Float[ArrayLike, "*batch outputs"] | Int[ArrayLike, "*batch outputs"],
    labels: Int[ArrayLike, "*batch"],
) -> Float[Array, "*batch"]:
    r"""Cross-entropy with the spike count of each output as its logit: the label's neuron
    should fire most often.

    For runs on a time grid, whose counts have a surrogate gradient. The count of exact
    spikes is an integer that jumps; where it has a derivative that is zero, so there is
    nothing to learn from, and it is refused.

    **Arguments:**

    - `counts`: floats, `[*batch, outputs]`, as `sol.frames[-1].counts.sum(axis=-2)` under
        `Clocked` and `Surrogate`.
    - `labels`: integers, `[*batch]`.

    **Returns:** one loss per sample, `[*batch]`.

    **Raises:** `ValueError` for counts that are integers, shapes that do not fit or a label
    out of range.
    """
    if not jnp.issubdtype(jnp.result_type(counts), jnp.floating):
        raise ValueError(
            f"`counts` must be floats, got {jnp.result_type(counts)}: counts of exact "
            "spikes have no gradient. Run under `Clocked(dt)` with `Surrogate()` and sum "
            "`sol.frames[-1].counts` over its steps, or use a loss on spike times."
        )
    return cross_entropy(counts, labels, "counts")
