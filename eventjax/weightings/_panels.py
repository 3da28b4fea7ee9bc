"""Any smooth function of time as polynomials on many short panels."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float


PANELS = 512
NODES = 14  # of each panel: polynomials of one degree less


def chebyshev_nodes() -> np.ndarray:
    """Where on `[0, 1]` of a panel the function must be known, ascending."""
    angle = (np.arange(NODES)[::-1] + 0.5) * np.pi / NODES
    return 0.5 * (1 + np.cos(angle))


def _to_coefficients() -> np.ndarray:
    """From values at the nodes to coefficients of Chebyshev polynomials."""
    degree = np.arange(NODES)
    angle = np.arccos(2 * chebyshev_nodes() - 1)
    matrix = 2 / NODES * np.cos(degree[:, None] * angle[None])
    matrix[0] /= 2
    return matrix


class Panels(eqx.Module):
    """A function on `[0, 1]`, for each of several neurons or for all."""

    coefficients: Float[Array, "degrees panels batch neurons"]

    @classmethod
    def fit(cls, values: Float[Array, "panels nodes batch neurons"]) -> "Panels":
        matrix = jnp.asarray(_to_coefficients(), values.dtype)
        # Written out: a matrix product may be of lower precision on some devices.
        parts = matrix[:, None, :, None, None] * values[None]
        return cls(jnp.sum(parts, axis=2))

    def resolved(self) -> Bool[Array, ""]:
        """Whether the coefficients have fallen to nothing by the end, in each panel and
        relative to the largest value: to 2e-11, after which the error is below 1e-12, or
        to rounding where that is coarser."""
        size = jnp.abs(self.coefficients)
        tail = jnp.max(size[-2:], axis=(0, 1))
        whole = jnp.max(jnp.sum(size, axis=0), axis=0)
        bound = max(2e-11, 64 * float(jnp.finfo(size.dtype).eps))
        return jnp.all(tail <= bound * whole)  # False also where it is NaN

    def __call__(self, u: Float[Array, "places batch lanes"]) -> Array:
        """Values at places of `[0, 1]`, `[places, batch, lanes or neurons]`."""
        _, panels, batch, neurons = self.coefficients.shape
        scaled = u * panels
        panel = jnp.clip(jnp.floor(scaled), 0, panels - 1)
        x = 2 * (scaled - panel) - 1
        number = lambda n: jnp.arange(n, dtype=jnp.int32)
        at = panel.astype(jnp.int32) * batch + number(batch)[None, :, None]
        at = at * neurons + number(neurons)[None, None]
        # One vector for each degree: XLA takes the entries as it goes along the places.
        table = self.coefficients.reshape(NODES, -1)
        one, two = table[-1][at], jnp.zeros((), u.dtype)
        for k in range(NODES - 2, 0, -1):  # Clenshaw's recurrence
            one, two = table[k][at] + 2 * x * one - two, one
        return table[0][at] + x * one - two
