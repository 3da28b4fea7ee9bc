"""What every way of running a layer gives back to `simulate`."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ._adjoint._density import Density
from ._checks import code_of
from ._solution import LayerState
from ._spikes import Frames, Spikes


class LayerOutcome(eqx.Module):
    """What `simulate` takes from each layer; a single batch axis everywhere."""

    out: Spikes | Frames  # what the next layer is given
    spikes: bool = eqx.field(static=True)  # whether these neurons spike at all
    num_spikes: Int[Array, " batch"]
    num_clipped: Int[Array, " batch"]
    state: LayerState
    voltages: Float[Array, "batch times neurons"] | None
    max_voltages: Float[Array, "batch neurons"] | None
    code: Int[Array, " batch"]  # of `RESULTS`
    voltage_integrals: Float[Array, "batch neurons"] | None = None
    slopes: Float[Array, "batch capacity"] | None = None
    density: Density | None = None  # that `DensityEProp` learns by

    @property
    def signal(self) -> Spikes | Frames | Density:
        """What errors of a readout come back to, under a rule with feedback."""
        return self.out if self.density is None else self.density


def first_fault(code: Array, fault: Array, result: Any) -> Array:
    """The code of a fault where there is one and none before."""
    return jnp.where((code == 0) & fault, code_of(result), code)
