"""A network of graded layers in exact time."""

from collections.abc import Sequence
from typing import overload

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from .._checks import known
from ._base import AbstractLayer
from ._classifier import Classifier
from ._encoder import Encoder
from ._exact_encoder import ExactEncoder
from ._exact_gated import ExactGated
from ._exact_spikes import ExactPassed
from ._gated import Gated
from ._normalisation import Shift
from ._readout import Readout


class ExactClassified(eqx.Module):
    """What an `ExactClassifier` makes of a sample.

    - `outputs`: logits of each frame, `[frames, classes]`, zero after the sample's end.
    - `hidden`: what the encoder and each layer emit, with their final states.
    """

    outputs: Float[Array, "frames classes"]
    hidden: tuple[ExactPassed, ...]


class ExactClassifier(eqx.Module):
    """A `Classifier` in exact time; `exact` makes it. Spikes act at once on the layer
    after, in the frame in which they are sent. The readout is the same, of what the last
    layer has emitted in each frame."""

    encoder: ExactEncoder
    layers: tuple[ExactGated, ...]
    readout: Readout

    def __call__(
        self,
        frames: Float[Array, "frames inputs"],
        length: Int[ArrayLike, ""] | None = None,
    ) -> ExactClassified:
        """Run a sample; `jax.vmap` it for more.

        **Arguments:**

        - `frames`: features `[frames, inputs]`; whatever they are after the end.
        - `length`: how many frames the sample has; by default all.

        **Returns:** an `ExactClassified`. Spike times and final states have gradients.
        Logits are of sums over frames, which do not change with a time: by the readout
        they have a gradient, to ask for another in reverse mode is an error.

        **Raises:** `ValueError` for shapes and a `length` that do not fit, `RuntimeError`
        for more spikes than a `capacity`.
        """
        number, inputs = frames.shape
        if inputs != self.layers[0].inputs:
            raise ValueError(
                f"`frames` must have {self.layers[0].inputs} features, one for each input "
                f"of the first layer, got shape {frames.shape}."
            )
        length = jnp.asarray(number if length is None else length, jnp.int32)
        there = jnp.arange(number, dtype=jnp.int32) < _checked(length, number)
        t1 = length.astype(frames.dtype) * self.encoder.frame
        # Whatever padding holds, `nan` say, has no part in any gradient either.
        passed = self.encoder(jnp.where(there[:, None], frames, 0))
        hidden = [passed]
        for layer in self.layers:
            passed = layer(passed.outputs, t1)
            hidden.append(passed)
        last = self.layers[-1]
        sums = passed.outputs.per_frame(last.units, number, last.frame)
        logits, _ = self.readout(sums[None], there[None], training=False)
        return ExactClassified(logits[0], tuple(hidden))


def _checked(length: Int[Array, ""], number: int) -> Int[Array, ""]:
    text = f"`length` must lie between 1 and the number of frames, {number}"
    if known(length):
        if not 1 <= int(np.asarray(length)) <= number:
            raise ValueError(f"{text}, got {int(np.asarray(length))}.")
        return length
    return eqx.error_if(length, (length < 1) | (length > number), f"{text}.")


@overload
def exact(
    model: Encoder,
    *,
    capacity: int,
    frame: float = 10.0,
    delay: float | None = None,
    coincidence: float = 0.0,
) -> ExactEncoder: ...
@overload
def exact(
    model: Gated,
    *,
    capacity: int,
    frame: float = 10.0,
    delay: float | None = None,
    coincidence: float = 0.0,
) -> ExactGated: ...
@overload
def exact(
    model: Classifier,
    *,
    capacity: int | Sequence[int],
    frame: float = 10.0,
    delay: float | None = None,
    coincidence: float = 0.0,
) -> ExactClassifier: ...
def exact(
    model: Encoder | Gated | Classifier,
    *,
    capacity: int | Sequence[int],
    frame: float = 10.0,
    delay: float | None = None,
    coincidence: float = 0.0,
) -> ExactEncoder | ExactGated | ExactClassifier:
    """The same weights in continuous time, with exact spike times.

    What carries over and what does not is said at `ExactGated` and `ExactEncoder`.
    Thresholds are those of the quantisers, `dead_zone + 1` quanta; a spike is never more
    than that, so a frame's value comes as a number of spikes. In an encoder without dead
    zone these are the same sums in each frame. Elsewhere both forms only share that what
    has been emitted is what has come in, but for less than a threshold: spikes of a frame
    act one after the other, each at its time, where a layer of frames adds them up first.
    So each sees only itself in its gate and candidate, and currents also relax between
    frames: weights trained on frames give much weaker currents here. A `coincidence` of
    some ms brings them nearer, and to train on in exact time is open. No dropout.

    ```python
    folded = ej.graded.fold(classifier)
    network = ej.graded.exact(folded, frame=10.0, capacity=4000)
    passed = jax.vmap(network)(frames, lengths)
    passed.hidden[1].outputs.spikes.times       # of the first layer, ms
    ```

    **Arguments:**

    - `model`: a `Classifier` or `Gated` layer that has been folded, or an `Encoder`. A
        classifier must have an encoder, and all its layers must be `Gated`.
    - `capacity`: how many spikes a sample can have in a layer; for a classifier also one
        number for the encoder and one for each layer.
    - `frame`: how long a frame is, in ms.
    - `delay`, `coincidence`: of gated layers, in ms; see `ExactGated`.

    **Returns:** an `ExactClassifier`, `ExactGated` or `ExactEncoder`, of one sample.

    **Raises:** `ValueError` for a model without exact form, or one that is not folded.
    """
    if isinstance(model, Classifier):
        encoder, number = model.encoder, len(model.layers)
        if encoder is None:
            raise ValueError(
                "`model` must have an encoder: without one its first layer is given no "
                "spikes."
            )
        rooms = [capacity] * (number + 1) if isinstance(capacity, int) else [*capacity]
        if len(rooms) != number + 1:
            raise ValueError(
                f"`capacity` must be one number, or {number + 1}, for the encoder and each "
                f"layer; got {len(rooms)}."
            )
        layers = [
            _exact_gated(layer, room, frame, delay, coincidence)
            for layer, room in zip(model.layers, rooms[1:], strict=True)
        ]
        first = ExactEncoder(
            encoder.quantiser.threshold, frame=frame, capacity=rooms[0]
        )
        return ExactClassifier(first, tuple(layers), model.readout)
    if not isinstance(capacity, int):
        raise ValueError(f"`capacity` must be one number for a layer, got {capacity}.")
    if isinstance(model, Encoder):
        threshold = model.quantiser.threshold
        return ExactEncoder(threshold, frame=frame, capacity=capacity)
    return _exact_gated(model, capacity, frame, delay, coincidence)


def _exact_gated(
    layer: AbstractLayer,
    capacity: int,
    frame: float,
    delay: float | None,
    coincidence: float,
) -> ExactGated:
    if not isinstance(layer, Gated):
        raise ValueError(
            f"Only `Gated` layers and an `Encoder` have an exact form, got a "
            f"`{type(layer).__name__}`."
        )
    if not isinstance(layer.normalisation, Shift):
        raise ValueError(
            "Normalisation over frames has none in exact time: put it into the weights "
            "first, with `ej.graded.fold(classifier)` or `layer.folded()`."
        )
    return ExactGated(
        layer.weight,
        layer.normalisation.shift,
        layer.quantiser.threshold,
        recurrent=layer.recurrent,
        frame=frame,
        delay=delay,
        coincidence=coincidence,
        capacity=capacity,
    )
