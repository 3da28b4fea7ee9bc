"""Learning by the contrast of two phases: equilibrium propagation."""

from ._base import AbstractRule as AbstractRule
from ._continual_ep import ContinualEP as ContinualEP
from ._contrast import Contrast as Contrast
from ._eqspike import EqSpike as EqSpike, predict as predict
from ._network import Network as Network
from ._neuron import Neuron as Neuron
from ._outcome import Outcome as Outcome, Report as Report, report as report
from ._phase import (
    Nudge as Nudge,
    Phase as Phase,
    Recording as Recording,
    run_phase as run_phase,
)
from ._rate_ep import RateEP as RateEP
from ._rates import (
    AbstractActivation as AbstractActivation,
    HardSigmoid as HardSigmoid,
    LIFRate as LIFRate,
    Sigmoid as Sigmoid,
)
from ._state import Activity as Activity, initial_state as initial_state
from ._stdp import spike_timing as spike_timing, SpikeTiming as SpikeTiming
from ._traces import pair_kernel as pair_kernel, pair_kernel_zero as pair_kernel_zero
from ._work import Work as Work, work as work
