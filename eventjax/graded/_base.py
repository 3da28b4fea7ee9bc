"""What a layer of frames is, and what is checked of its input."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree


class Passed(eqx.Module):
    """What a layer makes of frames.

    - `outputs`: `[batch, frames, units]`, zero where a frame is not valid.
    - `state`: after the last valid frame of each sequence. Given to the next call, it goes
        on from there.
    - `drift`: zero, to be added to the loss in training: it makes `Tracked` values follow.
    """

    outputs: Float[Array, "batch frames units"]
    state: PyTree[Float[Array, "batch ..."]]
    drift: Float[Array, ""]


class AbstractLayer(eqx.Module):
    """A layer: frames in, frames out.

    Layers with memory also say what the counts of Ponghiran and Roy's code need:
    `blocks`, how many matrices of `inputs` by `units` there are side by side, and
    `elementwise`, multiplications of a unit and frame that are in no matrix.
    """

    inputs: eqx.AbstractVar[int]
    units: eqx.AbstractVar[int]
    blocks: eqx.AbstractClassVar[int]
    elementwise: eqx.AbstractClassVar[int]

    @abc.abstractmethod
    def initial_state(
        self, batch: int, dtype: Any
    ) -> PyTree[Float[Array, "batch ..."]]:
        """The state at the start of a sequence: zeros."""

    @abc.abstractmethod
    def __call__(
        self,
        frames: Float[Array, "batch frames inputs"],
        valid: Bool[Array, "batch frames"] | None = None,
        state: PyTree[Float[Array, "batch ..."]] | None = None,
        *,
        key: PRNGKeyArray | None = None,
    ) -> Passed:
        """Run the layer.

        **Arguments:**

        - `frames`: `[batch, frames, inputs]`; whatever they are where not valid.
        - `valid`: `[batch, frames]`, false on padding; by default all are valid.
        - `state`: of a former call, to go on from there; by default a new sequence.
        - `key`: a `jax.random` key means training: statistics are those of this batch, and
            there is dropout. `None` means evaluation.

        **Returns:** a `Passed`.

        **Raises:** `ValueError` for shapes that do not fit, and in training, where values
        are known, if no frame is valid; where they are not, results are `nan` then.
        """

    @abc.abstractmethod
    def matrices(self) -> list[Any]:
        """All weight matrices."""

    @abc.abstractmethod
    def folded(self) -> "AbstractLayer":
        """A layer that does the same in evaluation, without normalisation."""


def prepare(
    layer: AbstractLayer, frames: Array, valid: Any, state: Any, training: bool
) -> tuple[Array, Array, Any]:
    """Frames that are zero where not valid, `valid` and the state, all of them there and
    of shapes that fit."""
    if frames.shape[2] != layer.inputs:
        raise ValueError(
            f"`frames` must have {layer.inputs} features, one for each input of the "
            f"layer, got shape {frames.shape}."
        )
    if 0 in frames.shape:
        raise ValueError(f"`frames` is empty, of shape {frames.shape}.")
    if valid is None:
        valid = jnp.ones(frames.shape[:2], bool)
    elif valid.shape != frames.shape[:2]:
        raise ValueError(
            f"`valid` must have the shape of `frames` without features, "
            f"{frames.shape[:2]}, got {valid.shape}."
        )
    valid = jnp.asarray(valid)
    if training and not isinstance(valid, Tracer) and not np.any(np.asarray(valid)):
        raise ValueError("`valid` must hold a frame to train on, but none is valid.")
    rest = layer.initial_state(len(frames), frames.dtype)
    if state is None:
        state = rest
    elif _shapes(state) != _shapes(rest):
        raise ValueError(
            f"`state` must be one that this layer has returned for a batch of "
            f"{len(frames)}, so of shapes {_shapes(rest)}, got {_shapes(state)}."
        )
    # Whatever padding holds, `nan` say, has no part in any gradient either.
    return jnp.where(valid[..., None], frames, 0), valid, state


def _shapes(state: Any) -> Any:
    return jax.tree.map(jnp.shape, state)


def dropout_mask(
    rate: float, batch: int, units: int, dtype: Any, key: Any
) -> Float[Array, "batch units"]:
    """One mask for all frames of a sequence, scaled so that its mean is 1."""
    if key is None or rate == 0:
        return jnp.ones((batch, units), dtype)
    kept = jr.bernoulli(key, 1 - rate, (batch, units))
    return kept.astype(dtype) / (1 - rate)


def check_layer(inputs: int, units: int, dropout: float) -> None:
    for name, value in (("inputs", inputs), ("units", units)):
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1, got {value}.")
    if not 0 <= dropout < 1:
        raise ValueError(f"`dropout` must be at least 0 and below 1, got {dropout}.")


def uniform_matrix(shape: tuple[int, int], limit: float, key: Any) -> Array:
    return jr.uniform(key, shape, minval=-limit, maxval=limit)
