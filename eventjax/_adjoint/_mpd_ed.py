from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._solver import AbstractSolver, Clocked
from ..masks import AbstractMask, Spike
from ..surrogates import Triangle
from ._base import AbstractClockedAdjoint, Paths, refuse
from ._clocked_loop import with_slope
from ._masked_backward import AbstractMaskedBackward


class MPDED(AbstractClockedAdjoint):
    r"""Membrane-potential-dependent event-driven learning, for runs under `Clocked`.

    A surrogate gradient that only some neurons take part in at each step: a spike
    $z = \Theta(x)$, with $x$ the distance to the threshold, has the derivative
    $m(x)\,\psi(x)$ with a mask $m$ of zeros and ones. Gradients do not pass through the
    reset. With the mask of spikes all work of the backward pass is at events.

    **Arguments:**

    - `mask`: $m$, one of `eventjax.masks` or any function of arrays that keeps their
        shape.
    - `shape`: $\psi$, one of `eventjax.surrogates` or any such function.
    - `backward`: how layers of `AdaptiveLIF` go back in time, `Recursion()` or, for masks
        at spikes only, `NextSpike()`. By default `None`: JAX differentiates the loop,
        whatever the neurons. All give the same gradients.

    With a `backward` layers that spike must be of `AdaptiveLIF` whose parameters are
    constants, without recurrence and without `drive`. Raises a `ValueError` otherwise, for
    a mask that is no function, and for `NextSpike` with a mask that is not at spikes only.

    ??? cite

        Wei et al., arXiv 2403.00270. A reconstruction: mask, surrogate, its width, reset
        and whether the reset is detached are UNCONFIRMED; `Spike` and `Triangle` are
        guesses.
    """

    mask: Callable[[Array], Array]
    shape: Callable[[Array], Array]
    backward: AbstractMaskedBackward | None

    def __init__(
        self,
        mask: Any = Spike(),
        *,
        shape: Callable[[Array], Array] = Triangle(),
        backward: AbstractMaskedBackward | None = None,
    ):
        if not callable(mask):
            raise ValueError(
                f"`mask` must be a function of distances to the threshold, got {mask!r}: "
                "give one of `eventjax.masks`, such as `masks.Spike()`; the plain "
                "surrogate gradient is `masks.Dense()`."
            )
        at_spikes = isinstance(mask, AbstractMask) and mask.at_spikes_only
        if backward is not None and backward.at_spikes_only and not at_spikes:
            raise ValueError(
                f"`{type(backward).__name__}` needs a mask that is 0 where there is no "
                f"spike, got `{type(mask).__name__}`: take `masks.Spike()` or "
                "`masks.Both(width)`, or `Recursion()`."
            )
        self.mask = mask
        self.shape = shape
        self.backward = backward

    def check(self, solver: AbstractSolver) -> None:
        if not isinstance(solver, Clocked):
            exact = "`Eventprop()` or `Direct()`, or the solver `Clocked(dt)`"
            refuse(self, solver, exact)

    @property
    def paths(self) -> Paths:
        return Paths(reset=False)

    def slope(self, distance: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """What stands in for the derivative of a spike, mask included."""
        slope, mask = self.shape(distance), self.mask(distance)
        for name, value in (("shape", slope), ("mask", mask)):
            if jnp.shape(value) != distance.shape:
                raise ValueError(
                    f"`{name}` must keep the shape of what it is given, but made "
                    f"{jnp.shape(value)} of {distance.shape}."
                )
        return slope * mask.astype(distance.dtype)

    def spike(
        self, distance: Float[Array, "batch neurons"]
    ) -> Float[Array, "batch neurons"]:
        spikes = (distance >= 0).astype(distance.dtype)
        return with_slope(spikes, distance, self.slope(distance))
