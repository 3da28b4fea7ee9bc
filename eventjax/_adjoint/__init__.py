from ._base import (
    AbstractAdjoint as AbstractAdjoint,
    AbstractClockedAdjoint as AbstractClockedAdjoint,
    AbstractExactAdjoint as AbstractExactAdjoint,
    Paths as Paths,
)
from ._clocked_loop import with_slope as with_slope
from ._direct import Direct as Direct
from ._eventprop import Eventprop as Eventprop
from ._surrogate import Surrogate as Surrogate
