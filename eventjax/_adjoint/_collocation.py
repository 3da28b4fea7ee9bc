"""Gauss-Legendre collocation with two points of a neuron's eligibility between events."""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, PyTree

from .._neuron import ALIF, ALIFState, LIF


_HALF = math.sqrt(3.0) / 6
NODES = np.array([0.5 - _HALF, 0.5 + _HALF])  # of a step; both weights are 1/2


def collocate(
    neuron: LIF | ALIF,
    shape: Callable[[Array], Array],
    state: PyTree[Float[Array, " neurons"]],
    drive: Float[Array, " neurons"],
    h: Float[Array, ""],
) -> tuple[PyTree[Float[Array, " neurons"]], Float[Array, "2 neurons"]]:
    r"""A step of `h` ms without events: the state after it, and what is spiked at its two
    nodes, $h \dot z / 2$, which are zeros with the derivative of the density

    $$e = \psi(x)\,\partial x, \qquad \partial \dot a = -\partial a / \tau_{adapt} + e,$$

    x the distance to the threshold. The course itself is exact, and so is the decay of
    $\partial a$; the rule has order 4 in `h` for the rest."""
    nodes = jnp.asarray(NODES, h.dtype)
    x: Any = [neuron.threshold(0.0, neuron.flow(state, drive, c * h)) for c in nodes]
    slopes = [_slope(shape, y) for y in x]
    moves = [y - lax.stop_gradient(y) for y in x]  # zeros with the derivative of x
    end = neuron.flow(state, drive, h)
    if not isinstance(neuron, ALIF):
        e = [slope * dx for slope, dx in zip(slopes, moves)]
        return end, 0.5 * h * jnp.stack(e)

    # At the nodes e = psi (dx - beta h M e), where dx leaves out what this step adds to a.
    parameter = lambda value: lax.stop_gradient(jnp.asarray(value, h.dtype))
    beta, tau = parameter(neuron.beta), parameter(neuron.tau_adapt)
    apart = jnp.exp(-(nodes[1] - nodes[0]) * h / tau)
    m_12, m_21 = (0.25 - _HALF) / apart, (0.25 + _HALF) * apart
    one, two = (beta * h * slope for slope in slopes)
    det = 1 + (one + two) / 4 + one * two / 12
    first, second = (slope * dx / det for slope, dx in zip(slopes, moves))
    e = [
        (1 + two / 4) * first - one * m_12 * second,
        (1 + one / 4) * second - two * m_21 * first,
    ]
    spiked = 0.5 * h * jnp.stack(e)
    left = [jnp.exp(-(1 - c) * h / tau) for c in nodes]
    a = end.a + left[0] * spiked[0] + left[1] * spiked[1]
    return ALIFState(end.v, end.i, a), spiked


def _slope(shape: Callable[[Array], Array], x: Any) -> Array:
    x = lax.stop_gradient(x)
    slope = shape(x)
    if jnp.shape(slope) != x.shape:
        raise ValueError(
            "`shape` must keep the shape of what it is given, but made "
            f"{jnp.shape(slope)} of {x.shape}."
        )
    return slope
