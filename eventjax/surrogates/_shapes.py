import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float


Number = Array | float | int


class AbstractShape(eqx.Module):
    """A function of the distance to the threshold."""

    width: eqx.AbstractVar[Any]
    height: eqx.AbstractVar[Any]

    @abc.abstractmethod
    def __call__(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """What stands in for the derivative of a spike by `x`."""

    def __check_init__(self):
        for name in ("width", "height"):
            value = getattr(self, name)
            if isinstance(value, Tracer) or not eqx.is_array_like(value):
                continue  # tree transformations put other things into the fields
            right = np.isfinite(np.asarray(value))
            if name == "width":
                right &= np.asarray(value) > 0
            if not np.all(right):
                kind = "positive and finite" if name == "width" else "finite"
                raise ValueError(f"`{name}` must be {kind}, got {value}.")


class SuperSpike(AbstractShape):
    r"""The derivative of a fast sigmoid, $h\,(1 + |x| / w)^{-2}$.

    Papers write $\beta$ for $1 / w$. Its long tails reach neurons far below threshold.

    ??? cite

        Zenke and Ganguli, Neural Computation 30 (2018), pages 1514 to 1541; the default
        width is that of Zenke and Vogels, Neural Computation 33 (2021).
    """

    width: Number = 0.1
    height: Number = 1.0

    def __call__(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return self.height / (1 + jnp.abs(x) / self.width) ** 2


class Triangle(AbstractShape):
    r"""Piecewise linear, $h \max(0, 1 - |x| / w)$; zero beyond the width.

    With `width` the threshold and `height=0.3` that of LSNNs and e-prop.

    ??? cite

        Esser et al., PNAS 113 (2016), pages 11441 to 11446; Bellec et al., NeurIPS (2018),
        arXiv 1803.09574, for the factor of 0.3.
    """

    width: Number = 1.0
    height: Number = 1.0

    def __call__(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return self.height * jnp.maximum(1 - jnp.abs(x) / self.width, 0.0)


class Exponential(AbstractShape):
    r"""One-sided exponential, $h\,e^{\min(x, 0) / w}$, which never is zero.

    With `width=30` and `height=0.3`, in mV, that of e-prop for `SteppedIzhikevich`.

    ??? cite

        van der Veen, arXiv 2201.07602, from code that is likely to be his.
    """

    width: Number = 1.0
    height: Number = 1.0

    def __call__(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return self.height * jnp.exp(jnp.minimum(x, 0.0) / self.width)


class ATan(AbstractShape):
    r"""The derivative of an arctangent, $h / (1 + (x / w)^2)$.

    The default is the derivative of $\arctan(\pi x) / \pi + 1/2$.

    ??? cite

        Fang et al., ICCV (2021), arXiv 2007.05785.
    """

    width: Number = 1 / np.pi
    height: Number = 1.0

    def __call__(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return self.height / (1 + (x / self.width) ** 2)


class Sigmoid(AbstractShape):
    r"""The derivative of a logistic function, $4 h\,\sigma(x / w) (1 - \sigma(x / w))$.

    With `height = 1 / (4 * width)` that of $\sigma(x / w)$ itself.

    ??? cite

        Zenke and Vogels, Neural Computation 33 (2021), pages 899 to 925, beside
        `SuperSpike` and `Triangle`.
    """

    width: Number = 0.1
    height: Number = 1.0

    def __call__(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        # The product of both sides is exact far from zero, where 1 - sigmoid is not.
        scaled = x / self.width
        return 4 * self.height * jax.nn.sigmoid(scaled) * jax.nn.sigmoid(-scaled)


class Gaussian(AbstractShape):
    r"""A bell, $h\,e^{-x^2 / (2 w^2)}$.

    With `height = 1 / (width * sqrt(2 pi))` its integral is one.

    ??? cite

        Yin, Corradi and Bohté, Nature Machine Intelligence 3 (2021), pages 905 to 913,
        whose multi-Gaussian adds negative sides to it.
    """

    width: Number = 0.5
    height: Number = 1.0

    def __call__(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return self.height * jnp.exp(-0.5 * (x / self.width) ** 2)
