"""One step of an explicit Runge-Kutta method, its stages one after the other."""

from collections.abc import Callable
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree


def _sum(weights: Any, terms: list[PyTree]) -> PyTree:
    """Of all terms whose weight is not zero."""
    used = [(float(w), x) for w, x in zip(weights, terms, strict=True) if w != 0]
    first, *rest = [jax.tree.map(lambda x, w=w: w * x, term) for w, term in used]
    for term in rest:
        first = jax.tree.map(jnp.add, first, term)
    return first


def explicit_step(
    tableau: diffrax.ButcherTableau,
    field: Callable[[Array, PyTree], PyTree],
    t: Array,
    state: PyTree,
    h: Array,
) -> tuple[PyTree, PyTree, dict[str, PyTree]]:
    """What `diffrax.AbstractERK.step` computes: the state after `h`, the error and what
    its dense output is made from.

    Diffrax loops over stages, which compiles faster where the vector field is large. Those
    of neurons are a few elementwise operations, and without a loop they are fused."""
    add = lambda change: jax.tree.map(jnp.add, state, change)

    def stage(c: float, y: PyTree) -> PyTree:
        return jax.tree.map(lambda f: h * f, field(t + c * h, y))

    changes, y = [stage(0.0, state)], state
    for weights, c in zip(tableau.a_lower, tableau.c, strict=True):
        y = add(_sum(weights, changes))
        changes.append(stage(float(c), y))
    after = y if tableau.ssal else add(_sum(tableau.b_sol, changes))
    error = _sum(tableau.b_error, changes)
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *changes)
    return after, error, dict(y0=state, y1=after, k=stacked)
