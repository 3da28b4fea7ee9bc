r"""Weightings of voltage integrals, for `integrate=` of `eventjax.simulate`.

A weighting says how much the voltage of a readout counts at each time of a trial from
`t0` to `t1`, $T$ ms long. `Solution.voltage_integrals` is then

$$z_k = \frac{1}{T} \int_{t_0}^{t_1} g(t) V_k(t) \, dt$$

of each neuron of the last layer. It is a sum over arrivals with known integrals, so it
takes no loop over time and its gradients are exact. `ej.losses.integral_cross_entropy`
makes a loss of it. One of your own is a `Smooth` function.
"""

from ._base import (
    AbstractKernel as AbstractKernel,
    AbstractWeighting as AbstractWeighting,
    Share as Share,
    Trial as Trial,
)
from ._exponential import Exponential as Exponential
from ._input_activity import InputActivity as InputActivity
from ._linear import Linear as Linear
from ._smooth import Sigmoid as Sigmoid, Smooth as Smooth
from ._uniform import Uniform as Uniform
