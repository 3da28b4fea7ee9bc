from ._base import AbstractAdjoint as AbstractAdjoint
from ._direct import Direct as Direct
from ._eventprop import Eventprop as Eventprop
