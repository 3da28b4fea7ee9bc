from ._axonal_delay import AxonalDelay as AxonalDelay
from ._base import AbstractConnection as AbstractConnection
from ._dense import Dense as Dense
