from ._base import (
    AbstractClosedForm as AbstractClosedForm,
    AbstractNeuron as AbstractNeuron,
    has_closed_form as has_closed_form,
)
from ._lif import LeakyIntegrator as LeakyIntegrator, LIF as LIF, LIFState as LIFState
