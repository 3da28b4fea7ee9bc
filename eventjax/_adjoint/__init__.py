from ._base import (
    AbstractAdjoint as AbstractAdjoint,
    AbstractClockedAdjoint as AbstractClockedAdjoint,
    AbstractExactAdjoint as AbstractExactAdjoint,
    AbstractRampAdjoint as AbstractRampAdjoint,
    Paths as Paths,
)
from ._clocked_loop import with_slope as with_slope
from ._density_eprop import DensityEProp as DensityEProp
from ._direct import Direct as Direct
from ._eprop import EProp as EProp
from ._event_eprop import EventEProp as EventEProp
from ._eventprop import Eventprop as Eventprop
from ._exact_eprop import AbstractExactEProp as AbstractExactEProp
from ._masked_backward import (
    AbstractMaskedBackward as AbstractMaskedBackward,
    NextSpike as NextSpike,
    Recursion as Recursion,
)
from ._mpd_ed import MPDED as MPDED
from ._online_eprop import OnlineEProp as OnlineEProp, OnlineState as OnlineState
from ._operations import (
    count_operations as count_operations,
    count_pairs as count_pairs,
    Operations as Operations,
)
from ._std_ed import STDED as STDED
from ._surrogate import Surrogate as Surrogate
