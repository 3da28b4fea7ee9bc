from ._base import (
    AbstractAdjoint as AbstractAdjoint,
    AbstractClockedAdjoint as AbstractClockedAdjoint,
    AbstractExactAdjoint as AbstractExactAdjoint,
    AbstractRampAdjoint as AbstractRampAdjoint,
    Paths as Paths,
)
from ._clocked_loop import with_slope as with_slope
from ._direct import Direct as Direct
from ._eventprop import Eventprop as Eventprop
from ._std_ed import STDED as STDED
from ._surrogate import Surrogate as Surrogate
