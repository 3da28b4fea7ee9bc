"""Leaky synaptic currents with a decay that is learnt."""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ._base import (
    AbstractLayer,
    check_layer,
    dropout_mask,
    Passed,
    prepare,
    uniform_matrix,
)
from ._membrane import at_rest, emit, GradedState, run_frames
from ._normalisation import AbstractNormalisation, Normalisation
from ._quantiser import Quantiser


class Conventional(AbstractLayer):
    r"""The spiking layer that the gated ones are compared with.

    $$I^n = m\, N(X^n W) + \tau I^{n-1}, \quad V^n = R^{n-1} + I^n, \quad Y^n = Q(V^n),
    \quad R^n = V^n - Y^n$$

    with a `Normalisation` $N$, a mask $m$ of dropout, and one trained decay $\tau$ for
    each unit, without limits, which starts at 1: a pure integrator. There are no recurrent
    weights. Outputs have either sign. (The released code means to keep $\tau$ in [0, 1]
    but does not. Whether it was trained or fixed in the paper is UNCONFIRMED.)

    **Arguments:**

    - `inputs`, `units`: sizes.
    - `quantiser`: a `Quantiser` of its own.
    - `dropout`: the share of units whose input is left out, drawn for each sequence.
    - `key`: a `jax.random` key for the weights, uniform with variance `1 / inputs`.

    **Raises:** `ValueError` for values out of range.
    """

    weight: Float[Array, "inputs units"]
    tau: Float[Array, " units"]
    normalisation: AbstractNormalisation
    quantiser: Quantiser
    dropout: float = eqx.field(static=True)
    inputs: int = eqx.field(static=True)
    units: int = eqx.field(static=True)
    blocks: ClassVar[int] = 1
    elementwise: ClassVar[int] = 6

    def __init__(
        self,
        inputs: int,
        units: int,
        quantiser: Quantiser,
        *,
        dropout: float = 0.0,
        key: PRNGKeyArray,
    ):
        check_layer(inputs, units, dropout)
        self.weight = uniform_matrix((inputs, units), (3 / inputs) ** 0.5, key)
        self.tau = jnp.ones(units)
        self.normalisation, self.quantiser = Normalisation(units), quantiser
        self.dropout, self.inputs, self.units = dropout, inputs, units

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
        product = frames @ self.weight
        drive, drift = self.normalisation(product, valid, training=training)
        mask = dropout_mask(self.dropout, len(frames), self.units, drive.dtype, key)

        def step(state: GradedState, drive: Array):
            current = drive + self.tau[None] * state.current
            return emit(self.quantiser, current, state.residual)

        given = mask[:, None] * drive
        outputs, state, sizes = run_frames(step, state, given, valid)
        if training:
            drift = drift + self.quantiser.drift(sizes)
        return Passed(outputs, state, drift)

    def matrices(self) -> list[Any]:
        return [self.weight]

    def folded(self) -> "Conventional":
        new = self.normalisation.folded(self.weight)
        return eqx.tree_at(lambda x: (x.weight, x.normalisation), self, new)
