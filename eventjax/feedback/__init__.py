"""How errors of a network's outputs come back to its layers, for `EProp`."""

from ._kinds import (
    AbstractFeedback as AbstractFeedback,
    Adaptive as Adaptive,
    Random as Random,
    Symmetric as Symmetric,
)
