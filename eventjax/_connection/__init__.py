from ._axonal_delay import AxonalDelay as AxonalDelay
from ._base import (
    AbstractConnection as AbstractConnection,
    AbstractDelay as AbstractDelay,
)
from ._delay_line import DelayLine as DelayLine
from ._dense import Dense as Dense
from ._synaptic_delay import SynapticDelay as SynapticDelay
