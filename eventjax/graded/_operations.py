"""What a classifier costs: multiplications, parameters, and how few units spike."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ._base import AbstractLayer
from ._cells import Cells
from ._classifier import Classified, Classifier
from ._gated import Gated
from ._tracked import labels


class Multiplications(eqx.Module):
    """Multiplications of each sequence, over its valid frames, `[batch]`.

    - `published`: as the code of Ponghiran and Roy counts them, from which the paper's
        factors of 10.13 and 11.14 seem to come. It charges both gated versions for a
        recurrent product with the spikes that a layer receives.
    - `corrected`: version 1 has no recurrent product, and that of version 2 is with the
        spikes that a layer emits.
    """

    published: Float[Array, " batch"]
    corrected: Float[Array, " batch"]


class Parameters(eqx.Module):
    """Numbers of trained values.

    - `matrices`: in the weight matrices of all layers, the recurrent stack.
    - `readout`: in the matrix of the readout.
    - `rest`: all others, such as decays and what `Normalisation` scales and shifts by.
    """

    matrices: int
    readout: int
    rest: int


def count_multiplications(
    classifier: Classifier,
    frames: Float[Array, "batch frames inputs"],
    passed: Classified,
    valid: Bool[Array, "batch frames"] | None = None,
) -> Multiplications:
    r"""Count multiplications where a value of zero costs none.

    A graded spike costs one for each synapse. With $n(x)$ values of $x$ that are not
    zero, a layer of $k$ matrices side by side and $H$ units costs $k H\, n(x)$ for its
    input $x$, $e H$ for its own equations ($e$ is 6 for `Conventional`, 8 for `Gated`, 12
    for `Cells`, as the code has it) and, recurrent, $k H^2$ for `Cells` or $k H\, n(y)$ for
    `Gated` with its output $y$ (`corrected`; see `Multiplications`). The readout costs $K\,
    n(y)$ for $K$ classes. Encoder and normalisation are not counted, as in the code.

    **Arguments:**

    - `classifier`: what has been run.
    - `frames`, `valid`: what it was given, `[batch, frames, inputs]` and `[batch, frames]`.
    - `passed`: what it returned.

    **Returns:** `Multiplications`; divide by the number of valid frames for those of a
    frame.

    **Raises:** `ValueError` if `passed` is not of this classifier.
    """
    counts = [_nonzero(x, valid) for x in _inputs_of(classifier, frames, passed)]
    number = jnp.sum(_valid(frames, valid), axis=1).astype(counts[0].dtype)
    published = corrected = classifier.readout.classes * counts[-1]
    for layer, given, made in zip(classifier.layers, counts[:-1], counts[1:]):
        width = layer.blocks * layer.units
        both = width * given + layer.elementwise * layer.units * number
        theirs, ours = _recurrent(layer, given, made, number)
        published, corrected = published + both + theirs, corrected + both + ours
    return Multiplications(published, corrected)


def _recurrent(
    layer: AbstractLayer, given: Array, made: Array, number: Array
) -> tuple[Array, Array]:
    """As published, and as it is."""
    width, none = layer.blocks * layer.units, jnp.zeros_like(number)
    if isinstance(layer, Cells):
        dense = width * layer.units * number
        return dense, dense
    if isinstance(layer, Gated):
        return width * given, none if layer.recurrent is None else width * made
    return none, none


def _inputs_of(
    classifier: Classifier, frames: Array, passed: Classified
) -> list[Array]:
    """What the first layer is given, and what each layer puts out."""
    units = [stage.units for stage in classifier.stages]
    made = [x.shape[2] for x in passed.hidden]
    if made != units or any(x.shape[:2] != frames.shape[:2] for x in passed.hidden):
        raise ValueError(
            "`passed` must be what `classifier` returned for `frames`, with outputs of "
            f"{units} units for {frames.shape[:2]} frames, got shapes "
            f"{[x.shape for x in passed.hidden]}."
        )
    first = [frames] if classifier.encoder is None else []
    return [*first, *passed.hidden]


def _valid(frames: Array, valid: Bool[Array, "batch frames"] | None) -> Array:
    return jnp.ones(frames.shape[:2], bool) if valid is None else jnp.asarray(valid)


def _nonzero(x: Array, valid: Bool[Array, "batch frames"] | None) -> Array:
    there = (x != 0) & _valid(x, valid)[..., None]
    return jnp.sum(there, axis=(1, 2)).astype(x.dtype)


def sparsity(
    passed: Classified, valid: Bool[Array, "batch frames"] | None = None
) -> list[Float[Array, " batch"]]:
    """The share of zeros in what each layer puts out, over the valid frames of each
    sequence.

    **Arguments:**

    - `passed`: what a `Classifier` returned.
    - `valid`: `[batch, frames]`; by default all frames are.

    **Returns:** for each layer `[batch]`, that of the encoder first if there is one.
    """
    out = []
    for x in passed.hidden:
        number = x.shape[2] * jnp.sum(_valid(x, valid), axis=1)
        out.append(1 - _nonzero(x, valid) / number.astype(x.dtype))
    return out


def count_parameters(classifier: Classifier) -> Parameters:
    """Count what is trained in a `Classifier`; `Tracked` values are not."""
    matrices = sum(x.size for layer in classifier.layers for x in layer.matrices())
    readout = classifier.readout.weight.size
    return Parameters(matrices, readout, _trained(classifier) - matrices - readout)


def _trained(classifier: Classifier) -> int:
    # Of shapes alone, too, as `equinox.filter_eval_shape` gives them
    is_float = lambda x: hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.inexact)
    floats = eqx.filter(classifier, is_float)
    pairs = zip(jax.tree.leaves(floats), jax.tree.leaves(labels(floats)), strict=True)
    return sum(x.size for x, label in pairs if label == "trained")
