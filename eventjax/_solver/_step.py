"""One step of a neuron without events, of a length that is given."""

from collections.abc import Sequence
from typing import Any

import diffrax
import jax
from jaxtyping import PyTree

from .._neuron import AbstractNeuron, has_flow, Refractory


def advance(
    integrator: diffrax.AbstractSolver,
    neuron: AbstractNeuron,
    t: Any,
    state: PyTree,
    drive: Any,
    dt: Any,
) -> PyTree:
    """The state of one sample at `t + dt`: in closed form if the neuron has one, else by
    one step of an explicit Runge-Kutta method, or two where a refractory time ends in
    between."""
    if has_flow(neuron):
        return neuron.flow(state, drive, dt)

    def step(state: PyTree, dt: Any) -> PyTree:
        nodes, rows, last = _tableau(integrator)
        slopes: list[PyTree] = []
        for node, row in zip(nodes, rows):
            at = _add(state, dt, row, slopes)
            slopes.append(neuron.vector_field(t + dt * node, at, drive))
        return _add(state, dt, last, slopes)

    if isinstance(neuron, Refractory):
        return neuron.pass_end(state, dt, step)
    return step(state, dt)


def _tableau(integrator: diffrax.AbstractSolver) -> tuple[list, list, list]:
    """Nodes, rows and weights as numbers, which keep the float type of the state. Stages
    written out are one piece of straight code, where Diffrax has a loop."""
    if isinstance(integrator, diffrax.Euler):
        return [0.0], [[]], [1.0]
    tableau: Any = integrator.tableau  # pyright: ignore
    nodes = [0.0, *(float(c) for c in tableau.c)]
    rows = [[], *([float(a) for a in row] for row in tableau.a_lower)]
    return nodes, rows, [float(b) for b in tableau.b_sol]


def _add(
    state: PyTree, dt: Any, parts: Sequence[float], slopes: list[PyTree]
) -> PyTree:
    used = [(part, slope) for part, slope in zip(parts, slopes) if part != 0]
    if not used:
        return state

    def one(x, *slopes):
        return x + dt * sum(part * s for (part, _), s in zip(used, slopes))

    return jax.tree.map(one, state, *(s for _, s in used))
