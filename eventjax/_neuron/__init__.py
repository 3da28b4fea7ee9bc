from ._adaptive_lif import AdaptiveLIF as AdaptiveLIF, ThresholdFall as ThresholdFall
from ._alif import ALIF as ALIF, ALIFState as ALIFState
from ._base import (
    AbstractClosedForm as AbstractClosedForm,
    AbstractFlow as AbstractFlow,
    AbstractNeuron as AbstractNeuron,
    adaptation_of as adaptation_of,
)
from ._delta_integrator import DeltaIntegrator as DeltaIntegrator
from ._delta_lif import DeltaLIF as DeltaLIF, VoltageState as VoltageState
from ._delta_qif import DeltaQIF as DeltaQIF
from ._eif import EIF as EIF
from ._gated_unit import GatedUnit as GatedUnit
from ._izhikevich import Izhikevich as Izhikevich, IzhikevichState as IzhikevichState
from ._lif import LeakyIntegrator as LeakyIntegrator, LIF as LIF, LIFState as LIFState
from ._qif import QIF as QIF
from ._ramp_if import RampIF as RampIF
from ._refractory import (
    has_closed_form as has_closed_form,
    has_flow as has_flow,
    Refractory as Refractory,
    RefractoryState as RefractoryState,
)
from ._stdp_alif import STDPALIF as STDPALIF
from ._stepped_alif import (
    AbstractStepped as AbstractStepped,
    SteppedALIF as SteppedALIF,
    SteppedState as SteppedState,
)
from ._stepped_izhikevich import (
    SteppedIzhikevich as SteppedIzhikevich,
    SteppedIzhikevichState as SteppedIzhikevichState,
)
from ._threshold_ramp import AbstractRamp as AbstractRamp, LinearRamp as LinearRamp
