"""The front door."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from ._adjoint import AbstractAdjoint, AbstractExactEProp, EProp, Eventprop
from ._checks import (
    duration_faults,
    item_of,
    known,
    network_faults,
    raise_known,
    throw_if_bad,
    worst,
)
from ._given import check_frames, flatten, float_type, given_faults, without
from ._layer_problem import initial_layer_state
from ._network import Network
from ._neuron import LeakyIntegrator
from ._run_layer import LayerOutcome, run_layer
from ._run_traces import run_traces
from ._solution import LayerState, Solution
from ._solver import AbstractSolver, Clocked, ClosedForm
from ._solver._event_problem import never_spikes
from ._solver._voltage_integral import Integral
from ._spikes import Frames, Spikes
from .weightings import AbstractWeighting, Trial


def simulate(
    network: Network,
    spikes: Spikes | Frames,
    t1: ArrayLike,
    *,
    t0: ArrayLike = 0.0,
    state: Sequence[LayerState] | None = None,
    drive: Sequence[ArrayLike | None] | None = None,
    record: Float[ArrayLike, " times"] | None = None,
    integrate: AbstractWeighting | None = None,
    solver: AbstractSolver = ClosedForm(),
    adjoint: AbstractAdjoint = Eventprop(),
    throw: bool = True,
) -> Solution:
    """Run a network on input spikes from `t0` to `t1`.

    **Arguments:**

    - `network`: WHAT is simulated.
    - `spikes`: the input, with or without batch axes, which are handled in one go. Times
        from `t0` on, in ms; spikes after `t1` stay in flight in the final state. Under
        `Clocked` also `Frames` of the same steps, of any finite values, which count as
        arriving in their step; gradients reach them.
    - `t1`, `t0`: end and start in ms. Gradients do not reach them. Under `Clocked` Python
        numbers, a whole number of steps apart.
    - `state`: where to start, one `LayerState` for each layer, as `Solution.final_state`
        gives them; `None` is rest. One run equals two halves.
    - `drive`: for each layer a constant current that is added to its bias, shape `[]`,
        `[neurons]` or `[*batch, neurons]`, or `None`.
    - `record`: times in `[t0, t1]`, shape `[times]`, at which all voltages are returned.
    - `integrate`: a weighting from `eventjax.weightings`. Then the weighted integrals of
        the voltages of the last layer, a `LeakyIntegrator`, are returned: in closed form
        where spike times are exact, on a time grid a sum over the ends of its steps.
    - `solver`: WHEN it spikes.
    - `adjoint`: HOW it learns, the rule for the backward pass.
    - `throw`: raise if something is wrong. With `throw=False` look at `Solution.result`:
        do so where the batch is sharded over devices.

    **Returns:** a `Solution`.

    **Raises:** `ValueError` for shapes that do not fit, a solver and an adjoint that do
    not work together, a state from a solver of another kind, and for bad values where they
    are known (outside `jit`): times that are NaN, before `t0` or not ascending, sources
    out of range, `t1` not after `t0` or too long for its float type, parameters out of
    range. Inside `jit` the same, and a full buffer anywhere, is a `RuntimeError` if
    `throw`, and in `result` if not.
    """
    batch_shape, dtype = spikes.batch_shape, float_type(network, spikes)
    batch = int(np.prod(batch_shape, dtype=int))
    grid = solver.grid(t0, t1) if isinstance(solver, Clocked) else None
    if isinstance(spikes, Frames):
        check_frames(spikes, network, grid)
    t0, t1 = jnp.asarray(t0, dtype), jnp.asarray(t1, dtype)
    given = flatten(spikes, dtype)
    faults = [
        *given_faults(given, network, t0),
        *network_faults(network),
        *duration_faults(network, t0, t1),
    ]
    if throw:
        raise_known(faults)
    code = worst(jnp.zeros(batch, jnp.int32), faults)
    given = without(given, code != 0)

    is_eprop = isinstance(adjoint, (EProp, AbstractExactEProp))
    if is_eprop:
        adjoint.check_network(network)
    states = _states(network, state, batch_shape, dtype)
    drives = _drives(network, drive, batch_shape, dtype)
    recorded = None if record is None else _check_record(record, t0, t1, batch)
    integral = None
    if integrate is not None:
        _check_integrate(integrate, network)
        integral = Integral(integrate, Trial(t0, t1, given))
    inputs = given, drives, t0, t1, recorded, solver, adjoint, grid
    if isinstance(adjoint, EProp) and adjoint.form == "traces":
        adjoint.check(solver)
        if state is not None:
            raise ValueError(
                "`EProp(form='traces')` starts from rest, but got a `state`: leave it out, "
                "or use `OnlineEProp`, which goes on from where it stands."
            )
        runs = run_traces(network, *inputs)
    else:
        runs = _one_by_one(network, *inputs, states, integral)
    for run in runs:
        code = jnp.where(code == 0, run.code, code)

    sol = Solution(
        spikes=_each(runs, lambda r: r.out, Spikes),
        frames=_each(runs, lambda r: r.out, Frames),
        num_spikes=_each(runs, lambda r: r.num_spikes),
        num_clipped=_each(runs, lambda r: r.num_clipped),
        final_state=tuple(r.state for r in runs),
        voltages=None if recorded is None else tuple(r.voltages for r in runs),
        max_voltages=runs[-1].max_voltages,
        voltage_integrals=runs[-1].voltage_integrals,
        slopes=_each(runs, lambda r: r.slopes),
        result=item_of(code),
        t0=t0,
        t1=t1,
    )
    if throw:
        counts = [r.num_spikes for r in runs if r.spikes]
        room = [y.capacity for y, r in zip(network.layers, runs) if r.spikes]
        detail = f"spikes in each layer that spikes (their capacities are {room})"
        throw_if_bad(code, detail, *counts)
    return _unbatch(sol, batch_shape)


def _one_by_one(
    network, given, drives, t0, t1, record, solver, adjoint, grid, states, integral
) -> list[LayerOutcome]:
    """Run each layer through all of the time, then the next."""
    is_eprop = isinstance(adjoint, (EProp, AbstractExactEProp))
    out, runs = given, []
    for k, layer in enumerate(network.layers):
        is_last = k == len(network.layers) - 1
        earlier = ()
        if is_eprop and is_last and never_spikes(layer.neuron):
            earlier = tuple(zip(network.layers, (r.signal for r in runs)))
        run = run_layer(
            layer,
            out,
            states[k],
            drives[k],
            t0,
            t1,
            record,
            solver,
            adjoint,
            is_first=k == 0,
            grid=grid,
            integral=integral if is_last else None,
            earlier=earlier,
        )
        out = run.out
        runs.append(run)
    return runs


def _batched(name: str, value: Any, size: int, batch_shape, dtype) -> Array:
    """A value of shape `[]`, `[size]` or `[*batch, size]` as `[batch, size]`."""
    value = jnp.asarray(value, dtype)
    full = (*batch_shape, size)
    if value.shape not in ((), (size,), full):
        raise ValueError(
            f"{name} must have shape (), ({size},) or {full}, got {value.shape}."
        )
    value = value.reshape((1,) * (len(full) - value.ndim) + value.shape)
    return jnp.broadcast_to(value, full).reshape(-1, size)


def _check_length(name: str, value: Sequence, network: Network) -> None:
    if len(value) != len(network.layers):
        raise ValueError(
            f"`{name}` must have one entry for each of the {len(network.layers)} "
            f"layers, got {len(value)}."
        )


def _states(network, state, batch_shape, dtype) -> list[LayerState]:
    """The state of each layer with a single batch axis."""
    batch = int(np.prod(batch_shape, dtype=int))
    if state is None:
        return [initial_layer_state(y, batch, dtype) for y in network.layers]
    _check_length("state", state, network)

    def flat(spikes: Spikes | None, name: str):
        if spikes is None:
            return None
        if spikes.batch_shape != batch_shape:
            raise ValueError(
                f"{name} must have the batch shape {batch_shape} of `spikes`, got "
                f"{spikes.batch_shape}."
            )
        shape = batch, spikes.capacity
        times = spikes.times.reshape(shape).astype(dtype)
        return Spikes(times, spikes.sources.reshape(shape))

    states = []
    for k, (one, layer) in enumerate(zip(state, network.layers)):
        where, size = f"`state[{k}]", layer.neuron.size
        rest = layer.neuron.initial_state()
        if jax.tree.structure(one.neuron) != jax.tree.structure(rest):
            raise ValueError(
                f"{where}.neuron` must be like what `initial_state` of "
                f"`{type(layer.neuron).__name__}` gives, {jax.tree.structure(rest)}, "
                f"got {jax.tree.structure(one.neuron)}."
            )

        def full(path, x):
            name = f"{where}.neuron{jax.tree_util.keystr(path)}`"
            return _batched(name, x, size, batch_shape, dtype)

        pending = one.pending
        if pending is not None:
            shape = *batch_shape, *pending.shape[-2:-1], size
            if pending.ndim != len(batch_shape) + 2 or pending.shape != shape:
                raise ValueError(
                    f"{where}.pending` must have shape [*batch, steps, neurons] with "
                    f"batch {batch_shape} and {size} neurons, got {pending.shape}."
                )
            pending = jnp.asarray(pending, dtype).reshape(batch, *shape[-2:])
        states.append(
            LayerState(
                jax.tree_util.tree_map_with_path(full, one.neuron),
                flat(one.arriving, f"{where}.arriving`"),
                flat(one.returning, f"{where}.returning`"),
                pending,
            )
        )
    return states


def _drives(network, drive, batch_shape, dtype) -> list[Array | None]:
    if drive is None:
        return [None] * len(network.layers)
    _check_length("drive", drive, network)
    sizes = [layer.neuron.size for layer in network.layers]
    return [
        None if x is None else _batched(f"`drive[{k}]`", x, n, batch_shape, dtype)
        for k, (x, n) in enumerate(zip(drive, sizes))
    ]


def _each(runs: list[LayerOutcome], get: Callable, kind: type = object) -> tuple:
    """Of each layer that spikes, if it is of a kind; else `None`."""
    values = [get(r) for r in runs]
    return tuple(
        x if r.spikes and isinstance(x, kind) else None for r, x in zip(runs, values)
    )


def _check_record(record: Any, t0: Array, t1: Array, batch: int) -> Array:
    record = jnp.asarray(record, t1.dtype)
    if record.ndim != 1:
        raise ValueError(f"`record` must have shape [times], got {record.shape}.")
    if known((record, t0, t1)):
        inside = np.asarray((record >= t0) & (record <= t1))
        if not inside.all():
            raise ValueError(
                f"`record` must lie in [{t0}, {t1}] ms, got "
                f"{record[int(np.argmin(inside))]}: run for longer, or ask for less."
            )
    return jnp.broadcast_to(record[None], (batch, record.shape[0]))


def _check_integrate(integrate: Any, network: Network) -> None:
    if not isinstance(integrate, AbstractWeighting):
        raise ValueError(
            "`integrate` must be a weighting as `ej.weightings.Uniform()`, got "
            f"`{type(integrate).__name__}`: a function of your own goes into "
            "`ej.weightings.Smooth`."
        )
    neuron = network.layers[-1].neuron
    if not isinstance(neuron, LeakyIntegrator):
        raise ValueError(
            "`integrate` asks for integrals of voltages of the last layer, which must be a "
            f"`LeakyIntegrator`, got `{type(neuron).__name__}`: end the network with one, "
            "or leave out `integrate`."
        )


def _unbatch(sol: Solution, batch_shape: tuple[int, ...]) -> Solution:
    """Put the batch axes back."""
    return jax.tree.map(
        lambda x: x.reshape(*batch_shape, *x.shape[1:]) if x.ndim else x, sol
    )
