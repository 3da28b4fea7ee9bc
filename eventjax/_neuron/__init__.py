from ._base import (
    AbstractClosedForm as AbstractClosedForm,
    AbstractNeuron as AbstractNeuron,
)
from ._lif import LeakyIntegrator as LeakyIntegrator, LIF as LIF, LIFState as LIFState
