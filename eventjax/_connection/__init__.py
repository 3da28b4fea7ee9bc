from ._average_pool2d import AveragePool2d as AveragePool2d
from ._axonal_delay import AxonalDelay as AxonalDelay
from ._base import (
    AbstractConnection as AbstractConnection,
    AbstractDelay as AbstractDelay,
)
from ._conv2d import Conv2d as Conv2d
from ._delay_line import DelayLine as DelayLine
from ._dense import Dense as Dense
from ._earliest_pool2d import EarliestPool2d as EarliestPool2d
from ._image_connection import ImageConnection as ImageConnection
from ._linear_map import (
    AbstractLinearMap as AbstractLinearMap,
    Chain as Chain,
    Flatten as Flatten,
)
from ._masked import Masked as Masked
from ._synaptic_delay import SynapticDelay as SynapticDelay
