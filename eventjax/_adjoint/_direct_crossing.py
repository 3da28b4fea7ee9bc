"""The flow of a LIF neuron and when it first crosses its threshold, differentiable.

Written apart from the fast solver on purpose: what checks a result must not share its
code.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float


_MAX_STEPS = 200
# Gauss-Legendre quadrature on [0, 1]
_NODES, _WEIGHTS = (x / 2 for x in np.polynomial.legendre.leggauss(10))
_NODES = _NODES + 0.5


def _exprel(y: Array) -> Array:
    """`(exp(y) - 1) / y` for `y <= 0`, with all its derivatives right at 0 as well."""
    near = y > -1.0
    # The integral of exp(x y) over x from 0 to 1, which these nodes give to rounding.
    nodes, weights = (jnp.asarray(x, y.dtype) for x in (_NODES, _WEIGHTS))
    values = jnp.exp(jnp.multiply.outer(jnp.where(near, y, 0.0), nodes))
    integral = jnp.dot(values, weights, precision="highest")
    far = jnp.where(near, -1.0, y)
    return jnp.where(near, integral, jnp.expm1(far) / far)


def _psp(t: Array, tau_mem: Array, tau_syn: Array) -> Array:
    """The voltage at `t` that a unit current at 0 leads to."""
    # Which of the two is slower only changes the way of writing one smooth function, so
    # this has the right derivatives where they are equal; `maximum` and `abs` have not.
    mem_slower = tau_mem > tau_syn
    slow = jnp.where(mem_slower, tau_mem, tau_syn)
    apart = jnp.where(mem_slower, tau_mem - tau_syn, tau_syn - tau_mem)
    y = -t * apart / (tau_mem * tau_syn)
    return t / tau_mem * jnp.exp(-t / slow) * _exprel(y)


def flow(
    v: Array, i: Array, bias: Array, dt: Array, tau_mem: Array, tau_syn: Array
) -> tuple[Array, Array]:
    """Voltage and current `dt` later, if nothing happens in between."""
    x = -dt / tau_mem
    v = v * jnp.exp(x) - bias * jnp.expm1(x) + i * _psp(dt, tau_mem, tau_syn)
    return v, i * jnp.exp(-dt / tau_syn)


def _rising_piece(
    limit: Array, v: Array, i: Array, bias: Array, tau_mem: Array, tau_syn: Array
) -> tuple[Array, Array]:
    """Start and end of the part of `[0, limit]` where V rises; `limit` twice if there
    is none. There is one at most, because V has one stationary point at most."""
    rises = i + bias - v > 0
    # dV/dt = 0 where exp(-rate s) = 1 - rate z.
    rate = 1 / tau_syn - 1 / tau_mem
    z = tau_syn * (i + bias - v) / jnp.where(i == 0, 1.0, i)
    x = rate * z
    there = (i != 0) & (x < 1) & (z > 0)
    x_safe = jnp.where(there & (x != 0), x, 0.5)
    turn = jnp.where(x == 0, z, z * (-jnp.log1p(-x_safe) / x_safe))
    turn = jnp.where(there, jnp.minimum(turn, limit), limit)
    return jnp.where(rises, 0.0, turn), jnp.where(rises, turn, limit)


@jax.custom_jvp
def crossing(
    limit: Float[Array, " neurons"],
    v: Float[Array, " neurons"],
    i: Float[Array, " neurons"],
    bias: Float[Array, " neurons"],
    v_threshold: Float[Array, " neurons"],
    tau_mem: Float[Array, " neurons"],
    tau_syn: Float[Array, " neurons"],
) -> Float[Array, " neurons"]:
    """When V, from `v` at 0, first reaches the threshold, to the last bit; `+inf` if
    not within `[0, limit]`. It is 0 if `v` is at the threshold or above it.

    A Newton iteration kept inside a bracket, with bisection where that is slow.
    """

    def gap_and_slope(s):
        v_s, i_s = flow(v, i, bias, s, tau_mem, tau_syn)
        return v_s - v_threshold, (i_s + bias - v_s) / tau_mem

    low, high = _rising_piece(limit, v, i, bias, tau_mem, tau_syn)
    noise = float(jnp.finfo(v.dtype).eps) * jnp.abs(v_threshold)
    starts_above = v >= v_threshold
    crosses = ~starts_above & (gap_and_slope(high)[0] >= 0)

    def unfinished(carry):
        *_, active, count = carry
        return jnp.any(active) & (count < _MAX_STEPS)

    def improve(carry):
        low, high, s, gap, slope, last_step, active, count = carry
        low = jnp.where(gap < 0, s, low)
        high = jnp.where(gap < 0, high, s)
        newton = s - gap / jnp.where(slope > 0, slope, 1.0)
        quick = jnp.abs(2 * gap) <= jnp.abs(last_step * slope)
        good = (slope > 0) & (newton >= low) & (newton <= high)
        # Where V cannot be told from the threshold its sign says nothing any more.
        last = good & (jnp.abs(gap) <= noise)
        new = jnp.where(good & (quick | last), newton, low + (high - low) / 2)
        new = jnp.where(active, new, s)
        active &= ~last & (new != s)
        step = jnp.abs(new - s)
        return low, high, new, *gap_and_slope(new), step, active, count + 1

    # The gap is carried so that all its uses see one value: compiled code may round it in
    # one way for each, and tell its sign in two ways.
    carry = (low, high, low, *gap_and_slope(low), high - low, crosses, 0)
    s = lax.while_loop(unfinished, improve, carry)[2]
    return jnp.where(starts_above, 0.0, jnp.where(crosses, s, jnp.inf))


def _stays_at_start(gap: Array, size: Array, slope: Array) -> Bool[Array, " neurons"]:
    """Whether a neuron at or above its threshold at the start is there by more than
    rounding, or is on its way down. It spikes at the start whatever its parameters."""
    return (gap >= 0) & (
        (gap > 64 * float(jnp.finfo(gap.dtype).eps) * size) | (slope <= 0)
    )


@crossing.defjvp
def _crossing_jvp(primals, tangents):
    _, v, i, bias, v_threshold, tau_mem, tau_syn = primals
    _, *moves, threshold_moves, tau_mem_moves, tau_syn_moves = tangents
    s = crossing(*primals)
    s_safe = jnp.where(jnp.isfinite(s), s, 0.0)

    def voltage(*arguments):
        v, i, bias, tau_mem, tau_syn = arguments
        return flow(v, i, bias, s_safe, tau_mem, tau_syn)[0]

    _, v_moves = jax.jvp(
        voltage,
        (v, i, bias, tau_mem, tau_syn),
        (*moves, tau_mem_moves, tau_syn_moves),
    )
    # V(s) = threshold, written so for the sake of derivatives of this rule.
    slope = (i * jnp.exp(-s_safe / tau_syn) + bias - v_threshold) / tau_mem
    size = jnp.maximum(jnp.maximum(jnp.abs(v), jnp.abs(i)), jnp.abs(bias))
    free = jnp.isfinite(s) & ~_stays_at_start(v - v_threshold, size, slope)
    return s, jnp.where(
        free, (threshold_moves - v_moves) / jnp.where(free, slope, 1), 0
    )
