"""Running a network for a while."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float, Int

from .._solver import AbstractSolver, ClosedForm
from ._check import as_batch, check_solver, windows_of
from ._network import Network
from ._neuron import Neuron
from ._state import Activity, initial_state
from ._window import advance


class Nudge(eqx.Module):
    r"""A current $\beta (y - x)$ into each output neuron, which pulls its rate to `y`.

    The part $-\beta x$ comes through a synapse of weight $-\beta$ of the neuron onto
    itself, with the delay that all synapses have.

    **Arguments:**

    - `targets`: rates in spikes per ms, `[batch, outputs]`.
    - `beta`: how strongly, a number or `[batch]`.
    """

    targets: Float[ArrayLike, "batch outputs"]
    beta: Any


class Recording(eqx.Module):
    """What happened in each window of a phase, `[windows, batch, neurons]` for each layer.

    - `spikes`: in ms from the start of the window, `inf` for none.
    - `x`, `r`: the traces at the start of the window.
    """

    spikes: tuple[Float[Array, "windows batch _"], ...]
    x: tuple[Float[Array, "windows batch _"], ...]
    r: tuple[Float[Array, "windows batch _"], ...]

    def times(self, neuron: Neuron) -> tuple[Float[Array, "windows batch _"], ...]:
        """Spikes in ms from the start of the phase, `inf` for none. In float32 they are
        coarser than `spikes`, the more so the longer the phase."""
        windows, dtype = len(self.spikes[0]), self.spikes[0].dtype
        starts = jnp.arange(windows, dtype=dtype)[:, None, None] * neuron.refractory
        return tuple(s + starts for s in self.spikes)


class Phase(eqx.Module):
    """What `run_phase` returns.

    - `state`: at the end, an `Activity` for each layer, to go on from.
    - `counts`: spikes of each neuron, `[batch, neurons]` for each layer.
    - `recording`: a `Recording`, or `None` if it was not asked for.
    """

    state: tuple[Activity, ...]
    counts: tuple[Int[Array, "batch _"], ...]
    recording: Recording | None


def run_phase(
    network: Network,
    inputs: Float[ArrayLike, "*inputs"],
    duration: float,
    *,
    state: tuple[Activity, ...] | None = None,
    nudge: Nudge | None = None,
    solver: AbstractSolver = ClosedForm(),
    record: bool = False,
) -> Phase:
    """Run a network on constant inputs, in memory that does not grow with time.

    Spikes that would come at the same time in two neurons stay two spikes, and arrive
    together: voltages do not jump, so their order makes no difference.

    **Arguments:**

    - `network`: a `Network`.
    - `inputs`: `[batch, inputs]`.
    - `duration`: in ms, a whole number of refractory times.
    - `state`: where to start, as `Phase.state` gives it; rest if not given. One run
        equals two halves.
    - `nudge`: pulls the outputs towards targets.
    - `solver`: `ej.ClosedForm()` for exact spike times, `ej.Clocked(dt)` for a time grid
        that divides the refractory time.
    - `record`: keep spikes and traces of every window.

    **Returns:** a `Phase`.

    **Raises:** `ValueError` for shapes that do not fit, a duration that is not positive or
    not whole, and for inputs that are known and not finite.
    """
    windows = windows_of("duration", duration, network.neuron)
    check_solver(solver, network.neuron)
    inputs = as_batch("inputs", inputs, network.in_size, network.dtype)
    batch = inputs.shape[0]
    state = initial_state(network, batch) if state is None else state
    _check_state(state, network, batch)
    drives, own = drive_of(network, inputs), jnp.zeros(batch, network.dtype)
    if nudge is not None:
        drives, own = nudged(network, drives, nudge)

    def body(carry, _):
        state, counts = carry
        new = advance(network.neuron, network.weights, state, drives, own, solver)
        counts = add_counts(counts, new)
        kept = None
        if record:
            kept = [tuple(a.spikes for a in new)]
            kept += [tuple(getattr(a, name) for a in state) for name in ("x", "r")]
        return (new, counts), kept

    (state, counts), kept = lax.scan(body, (state, no_counts(state)), length=windows)
    return Phase(state, counts, None if kept is None else Recording(*kept))


def drive_of(network: Network, inputs: Array) -> tuple[Array, ...]:
    """The constant currents of each layer, `[batch, neurons]`."""
    given = jnp.matmul(inputs, network.weights[0].T, precision="highest")
    drives = [given + network.biases[0][None]]
    for bias in network.biases[1:]:
        drives.append(jnp.broadcast_to(bias[None], (inputs.shape[0], bias.shape[0])))
    return tuple(drives)


def nudged(
    network: Network, drives: tuple[Array, ...], nudge: Nudge
) -> tuple[tuple[Array, ...], Array]:
    """Drives with the nudge, and the weight of outputs onto themselves, `[batch]`."""
    batch = drives[0].shape[0]
    targets = as_batch(
        "nudge.targets", nudge.targets, drives[-1].shape[1], network.dtype
    )
    if targets.shape[0] != batch or jnp.shape(nudge.beta) not in ((), (batch,)):
        raise ValueError(
            f"`nudge` must be for {batch} samples, as the inputs are, got targets of shape "
            f"{targets.shape} and `beta` of shape {jnp.shape(nudge.beta)}."
        )
    beta = jnp.broadcast_to(jnp.asarray(nudge.beta, network.dtype), (batch,))
    return (*drives[:-1], drives[-1] + beta[:, None] * targets), -beta


def no_counts(state: tuple[Activity, ...]) -> tuple[Array, ...]:
    return tuple(jnp.zeros(a.v.shape, jnp.int32) for a in state)


def add_counts(counts: tuple[Array, ...], state: tuple[Activity, ...]):
    new = [jnp.isfinite(a.spikes).astype(jnp.int32) for a in state]
    return tuple(x + y for x, y in zip(counts, new))


def _check_state(state: Any, network: Network, batch: int) -> None:
    shapes = [(batch, n) for n in network.layer_sizes]
    given = [jax.tree.map(jnp.shape, vars(a)) for a in state]
    if len(given) != len(shapes) or any(
        shape != wanted for x, wanted in zip(given, shapes) for shape in x.values()
    ):
        raise ValueError(
            f"`state` must hold an `Activity` of shape {shapes} for each layer, got "
            f"{[x['v'] for x in given]}: run the phase before on as many samples."
        )
