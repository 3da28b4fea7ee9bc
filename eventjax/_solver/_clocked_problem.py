"""What running a layer on a time grid is given, and what it gives back."""

import diffrax
import equinox as eqx
from jaxtyping import Array, Float, PyTree

from .._neuron import AbstractNeuron
from ._grid import Grid
from ._recurrence import Recurrence


class ClockedProblem(eqx.Module):
    """A layer of any neurons and the currents that arrive at it, of one float type."""

    neuron: AbstractNeuron
    integrator: diffrax.AbstractSolver  # for neurons without closed form
    grid: Grid
    currents: Float[Array, "steps batch neurons"]
    recurrence: Recurrence | None
    drive: Float[Array, "batch neurons"] | None
    state: PyTree[Float[Array, "batch neurons"]]
    keep_states: bool = eqx.field(static=True)  # those after each step
    keep_currents: bool = eqx.field(static=True, default=False)  # also recurrent ones


class ClockedRun(eqx.Module):
    """What the neurons did."""

    spikes: Float[Array, "steps batch neurons"] | None  # None: they never spike
    state: PyTree[Float[Array, "batch neurons"]]
    states: PyTree[Float[Array, "steps batch neurons"]] | None
    # Over the grid, the start included, of neurons that never spike and have a voltage.
    max_voltages: Float[Array, "batch neurons"] | None
    currents: Float[Array, "steps batch neurons"] | None = None
