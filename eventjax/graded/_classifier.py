"""Layers one after the other, and a readout of the last."""

from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from ._base import AbstractLayer
from ._encoder import Encoder
from ._readout import Readout


class Classified(eqx.Module):
    """What a `Classifier` makes of frames.

    - `outputs`: logits of each frame, `[batch, frames, classes]`, zero where not valid.
    - `hidden`: outputs of all layers, that of the encoder first if there is one, each
        `[batch, frames, units]`.
    - `state`: of all layers after the last valid frame, to go on from.
    - `drift`: zero, to be added to the loss in training: it makes `Tracked` values follow.
    """

    outputs: Float[Array, "batch frames classes"]
    hidden: tuple[Float[Array, "batch frames _"], ...]
    state: tuple[PyTree[Float[Array, "batch ..."]], ...]
    drift: Float[Array, ""]


class Classifier(eqx.Module):
    """Layers and a readout, which gives logits in each frame.

    State is explicit and zero at the start of each sequence, so nothing leaks from one to
    the next; given the state of a former call, frames in pieces give what the whole gives.

    **Arguments:**

    - `encoder`: an `Encoder` for networks that spike, or `None`.
    - `layers`: at least one, such as `Gated`, each with the units of the one before for
        inputs.
    - `readout`: a `Readout`.

    **Raises:** `ValueError` for no layers and for sizes that do not fit.
    """

    encoder: Encoder | None
    layers: tuple[AbstractLayer, ...]
    readout: Readout

    def __init__(
        self, encoder: Encoder | None, layers: Sequence[AbstractLayer], readout: Readout
    ):
        if not layers:
            raise ValueError("`layers` must hold at least one layer, got none.")
        self.encoder, self.layers, self.readout = encoder, tuple(layers), readout
        sizes = [(x.inputs, x.units) for x in self.stages]
        sizes.append((readout.weight.shape[0], readout.classes))
        for k, ((_, units), (inputs, _)) in enumerate(zip(sizes, sizes[1:])):
            if units != inputs:
                name = "`readout`" if k + 2 == len(sizes) else f"stage {k + 1}"
                raise ValueError(
                    f"{name} must have {units} inputs, the units of what comes before it, "
                    f"got {inputs}."
                )

    @property
    def stages(self) -> tuple[AbstractLayer, ...]:
        """The encoder, if there is one, and the layers."""
        first = () if self.encoder is None else (self.encoder,)
        return (*first, *self.layers)

    def __call__(
        self,
        frames: Float[Array, "batch frames inputs"],
        valid: Bool[Array, "batch frames"] | None = None,
        state: tuple[PyTree[Float[Array, "batch ..."]], ...] | None = None,
        *,
        key: PRNGKeyArray | None = None,
    ) -> Classified:
        """Run all layers.

        **Arguments:**

        - `frames`: `[batch, frames, inputs]`; whatever they are where not valid.
        - `valid`: `[batch, frames]`, false on padding; by default all are valid.
        - `state`: of a former call, to go on from there; by default new sequences.
        - `key`: a `jax.random` key means training: statistics are those of this batch, and
            there is dropout. `None` means evaluation.

        **Returns:** a `Classified`.

        **Raises:** `ValueError` for shapes that do not fit, and in training, where values
        are known, if no frame is valid; where they are not, results are `nan` then.
        """
        stages = self.stages
        if state is None:
            state = (None,) * len(stages)
        elif len(state) != len(stages):
            raise ValueError(
                f"`state` must hold that of {len(stages)} layers, got {len(state)}."
            )
        keys = [None] * len(stages) if key is None else jr.split(key, len(stages))
        x, hidden, ends, drift = frames, [], [], jnp.zeros(())
        for stage, start, k in zip(stages, state, keys, strict=True):
            passed = stage(x, valid, start, key=k)
            x, drift = passed.outputs, drift + passed.drift
            hidden.append(x)
            ends.append(passed.state)
        given = jnp.ones(frames.shape[:2], bool) if valid is None else valid
        logits, more = self.readout(x, jnp.asarray(given), training=key is not None)
        return Classified(logits, tuple(hidden), tuple(ends), drift + more)


def fold(classifier: Classifier) -> Classifier:
    """Put all normalisation into weights, for use after training.

    **Arguments:**

    - `classifier`: it is left as it is.

    **Returns:** a `Classifier` that gives the same in evaluation, to rounding, and that
    cannot be trained any more.
    """
    return Classifier(
        classifier.encoder,
        [layer.folded() for layer in classifier.layers],
        classifier.readout.folded(),
    )
