r"""Closed forms of $\dot x = x^2 + D$ for a constant $D$ of any sign. Elementwise.

With $k = \sqrt{|D|}$ the solution is

$$x(s) = \frac{x_0 C + D S}{C - x_0 S}, \qquad
(C, S) = \begin{cases} (\cos ks, \sin(ks) / k) & D > 0 \\ (1, s) & D = 0 \\
(\cosh ks, \sinh(ks) / k) & D < 0 \end{cases}$$

and it gets from $x_0$ to $x_1$ in the time $s$ with
$S / C = (x_1 - x_0) / (D + x_0 x_1)$. Near $D = 0$ both are taken from power series in
$D$, which are right in value and in all derivatives there.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool


def _series(y: Array, coefficients: list[float]) -> Array:
    total = jnp.zeros_like(y)
    for c in reversed(coefficients):
        total = c + y * total
    return total


def _inverse_factorials(first: int) -> list[float]:
    """1 / first!, -1 / (first + 2)!, ...: enough of them for |y| < 1."""
    out = [1.0]
    for n in range(first + 2, first + 20, 2):
        out.append(-out[-1] / (n * (n - 1)))
    return out


_COS, _SIN = _inverse_factorials(0), _inverse_factorials(1)
# Enough for |y| < 0.05
_ATAN = [(-1) ** n / (2 * n + 1) for n in range(13)]


def advance(x: Array, d: Array, s: Array) -> Array:
    """x after a time `s`, which must end before x gets to infinity."""
    y = d * s * s
    near = jnp.abs(y) < 1
    y = jnp.where(near, y, 0.0)
    c_near, s_near = _series(y, _COS), s * _series(y, _SIN)

    k = jnp.sqrt(jnp.where(near, 1.0, jnp.abs(d)))
    ks = jnp.where(near, 1.0, k * s)
    cos, sin = jnp.cos(ks), jnp.sin(ks)
    # For D < 0, in a form that keeps its digits where x starts near k, and stays at k
    # where it starts there. So small a `fade` makes no difference elsewhere.
    fade = jnp.maximum(jnp.exp(-2 * ks), float(jnp.finfo(x.dtype).eps) ** 2)
    up, down = x + k, x - k

    positive = d > 0
    above = jnp.where(positive, x * cos + k * sin, k * (down + up * fade))
    below = jnp.where(positive, cos - x * sin / k, up * fade - down)
    above = jnp.where(near, x * c_near + d * s_near, above)
    below = jnp.where(near, c_near - x * s_near, below)
    return above / below


def time_between(x0: Array, x1: Array, d: Array) -> tuple[Bool[Array, "*shape"], Array]:
    """Whether x, which starts at `x0`, gets up to `x1`, and after what time (0 if not,
    or if it starts there or above)."""
    rise, below = x1 - x0, d + x0 * x1
    part = rise / jnp.where(below > 0, below, 1.0)
    y = d * part * part
    near = (below > 0) & (jnp.abs(y) < 0.05)
    far_up = ~near & (d > 0)

    k = jnp.sqrt(jnp.where(near | (d == 0), 1.0, jnp.abs(d)))
    apart = (x0 - k) * (x1 + k)
    far_down = ~near & (d < 0) & (apart > 0) & (rise > 0)

    t_near = part * _series(jnp.where(near, y, 0.0), _ATAN)
    angle = jnp.arctan2(jnp.where(far_up, k * rise, 1.0), jnp.where(far_up, below, 1.0))
    z = jnp.where(far_down, 2 * k * rise / jnp.where(far_down, apart, 1.0), 1.0)
    time = jnp.where(far_up, angle, 0.5 * jnp.log1p(z)) / k
    reached = (rise > 0) & (near | far_up | far_down)
    return reached, jnp.where(reached, jnp.where(near, t_near, time), 0.0)
