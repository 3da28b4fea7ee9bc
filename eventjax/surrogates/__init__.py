"""Shapes of surrogate gradients, for `eventjax.Surrogate`.

A shape says what stands in for the derivative of a spike by the distance `x` between
voltage and threshold (dimensionless), which really is zero everywhere but at `x = 0`. All
are largest there, with the value `height`, and about as wide as `width`. Any function of
arrays that keeps their shape will do as well, `lambda x: jnp.exp(-jnp.abs(x))` for one.
"""

from ._shapes import (
    AbstractShape as AbstractShape,
    ATan as ATan,
    Exponential as Exponential,
    Gaussian as Gaussian,
    Sigmoid as Sigmoid,
    SuperSpike as SuperSpike,
    Triangle as Triangle,
)
