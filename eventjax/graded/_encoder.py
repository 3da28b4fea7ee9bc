"""From real-valued features to graded spikes."""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ._base import AbstractLayer, Passed, prepare
from ._membrane import at_rest, emit, GradedState, run_frames
from ._quantiser import Quantiser


class Encoder(AbstractLayer):
    """Features as signed graded spikes: the output stage alone, with a feature for a
    current. Sums over frames of spikes and features differ by what the membrane has left.

    **Arguments:**

    - `inputs`: number of features.
    - `quantiser`: a `Quantiser` of its own.

    **Raises:** `ValueError` if `inputs` is below 1.
    """

    quantiser: Quantiser
    inputs: int = eqx.field(static=True)
    blocks: ClassVar[int] = 0
    elementwise: ClassVar[int] = 0

    def __init__(self, inputs: int, quantiser: Quantiser):
        if inputs < 1:
            raise ValueError(f"`inputs` must be at least 1, got {inputs}.")
        self.quantiser, self.inputs = quantiser, inputs

    @property
    def units(self) -> int:
        return self.inputs

    def initial_state(self, batch: int, dtype: Any) -> GradedState:
        return at_rest(batch, self.units, dtype)

    def __call__(
        self,
        frames: Float[Array, "batch frames inputs"],
        valid: Bool[Array, "batch frames"] | None = None,
        state: GradedState | None = None,
        *,
        key: PRNGKeyArray | None = None,
    ) -> Passed:
        training = key is not None
        frames, valid, state = prepare(self, frames, valid, state, training)

        def step(state: GradedState, current: Array):
            return emit(self.quantiser, current, state.residual)

        outputs, state, sizes = run_frames(step, state, frames, valid)
        drift = self.quantiser.drift(sizes) if training else jnp.zeros(())
        return Passed(outputs, state, drift)

    def matrices(self) -> list[Any]:
        return []

    def folded(self) -> "Encoder":
        return self
