"""Synaptic currents with a gate, from inputs and from a layer's own spikes."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
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


class Gated(AbstractLayer):
    r"""The spiking layer with improved inherent recurrence, version 1 or 2.

    $$F^n = \sigma(N(X^n W_f) + Y^{n-1} U_f), \qquad
    C^n = \max(0, N(X^n W_c) + Y^{n-1} U_c)$$

    $$I^n = F^n I^{n-1} + (1 - F^n)\, m\, C^n, \quad V^n = R^{n-1} + I^n, \quad
    Y^n = Q(V^n), \quad R^n = V^n - Y^n$$

    with a `Normalisation` $N$ of input products only, and a mask $m$ of dropout. Version
    1 has no $U$: gates see inputs alone. In version 2 they also see the layer's own spikes
    of the frame before. Currents and outputs are never negative. Without quantisation
    version 2 is a GRU without reset gate; no gradient flows through $R$ within the range
    of the quantiser, so all memory is in $I$, whose derivative from frame to frame is $F$,
    and in $Y^{n-1}$.

    **Arguments:**

    - `inputs`, `units`: sizes.
    - `quantiser`: a `Quantiser` of its own.
    - `recurrent`: whether there is $U$, version 2.
    - `dropout`: the share of units whose candidate $C$ is left out, drawn for each
        sequence. The code has 0.2; what the paper reports is UNCONFIRMED.
    - `memory`: if given, the longest time in frames, above 2, that a unit shall remember to
        begin with: the shift of its gate is then $\log(u - 1)$ for a $u$ drawn between 2
        and this. By default shifts are zero as in the code, and gates start around a half.
    - `gain`: of $[U_f, U_c]$, which starts orthogonal; above zero. The code has
        $\sqrt 2$. With few bits a smaller one is called for: spikes are then large and
        rare, and what they bring about can grow from frame to frame.
    - `key`: a `jax.random` key for the weights: $W$ uniform with variance `1 / inputs`, as
        in the code.

    **Raises:** `ValueError` for values out of range.

    ??? cite

        Ponghiran and Roy, AAAI 2022, arXiv 2109.01905. `memory`: Tallec and Ollivier, Can
        recurrent neural networks warp time?, ICLR 2018, arXiv 1804.11188; no part of the
        paper.
    """

    weight: Float[Array, "inputs gates"]
    recurrent: Float[Array, "units gates"] | None
    normalisation: AbstractNormalisation
    quantiser: Quantiser
    dropout: float = eqx.field(static=True)
    inputs: int = eqx.field(static=True)
    units: int = eqx.field(static=True)
    blocks: ClassVar[int] = 2
    elementwise: ClassVar[int] = 8

    def __init__(
        self,
        inputs: int,
        units: int,
        quantiser: Quantiser,
        *,
        recurrent: bool,
        dropout: float = 0.0,
        memory: float | None = None,
        gain: float = 2**0.5,
        key: PRNGKeyArray,
    ):
        check_layer(inputs, units, dropout)
        if not 0 < gain < float("inf"):
            raise ValueError(f"`gain` must be positive and finite, got {gain}.")
        k1, k2, k3 = jr.split(key, 3)
        self.weight = uniform_matrix((inputs, 2 * units), (3 / inputs) ** 0.5, k1)
        orthogonal = jax.nn.initializers.orthogonal(gain)
        dtype = self.weight.dtype
        self.recurrent = (
            orthogonal(k2, (units, 2 * units), dtype) if recurrent else None
        )
        self.normalisation, self.quantiser = Normalisation(2 * units), quantiser
        if memory is not None:
            shift = jnp.concatenate([gate_shift(units, memory, k3), jnp.zeros(units)])
            where = lambda x: x.shift
            self.normalisation = eqx.tree_at(where, self.normalisation, shift)
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
            if self.recurrent is not None:
                drive = drive + state.output @ self.recurrent
            forget, candidate = jnp.split(drive, 2, axis=-1)
            forget, candidate = jax.nn.sigmoid(forget), mask * jax.nn.relu(candidate)
            current = forget * state.current + (1 - forget) * candidate
            return emit(self.quantiser, current, state.residual)

        outputs, state, sizes = run_frames(step, state, drive, valid)
        if training:
            drift = drift + self.quantiser.drift(sizes)
        return Passed(outputs, state, drift)

    def matrices(self) -> list[Any]:
        return (
            [self.weight] if self.recurrent is None else [self.weight, self.recurrent]
        )

    def folded(self) -> "Gated":
        new = self.normalisation.folded(self.weight)
        return eqx.tree_at(lambda x: (x.weight, x.normalisation), self, new)


def gate_shift(units: int, memory: float, key: PRNGKeyArray) -> Float[Array, " units"]:
    """Shifts of gates that keep values over times up to `memory` frames."""
    if not 2 < memory < float("inf"):
        raise ValueError(f"`memory` must be finite and above 2 frames, got {memory}.")
    return jnp.log(jr.uniform(key, (units,), minval=2.0, maxval=memory) - 1)
