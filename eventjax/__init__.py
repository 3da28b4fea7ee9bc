"""Spiking neural networks with exact spike times and exact gradients, in JAX."""

import importlib.metadata

from . import (
    data as data,
    decoding as decoding,
    encoders as encoders,
    equilibrium as equilibrium,
    feedback as feedback,
    graded as graded,
    init as init,
    losses as losses,
    masks as masks,
    surrogates as surrogates,
    weightings as weightings,
)
from ._adjoint import (
    AbstractAdjoint as AbstractAdjoint,
    AbstractClockedAdjoint as AbstractClockedAdjoint,
    AbstractExactAdjoint as AbstractExactAdjoint,
    AbstractExactEProp as AbstractExactEProp,
    AbstractMaskedBackward as AbstractMaskedBackward,
    AbstractRampAdjoint as AbstractRampAdjoint,
    count_operations as count_operations,
    count_pairs as count_pairs,
    DensityEProp as DensityEProp,
    Direct as Direct,
    EProp as EProp,
    EventEProp as EventEProp,
    Eventprop as Eventprop,
    MPDED as MPDED,
    NextSpike as NextSpike,
    OnlineEProp as OnlineEProp,
    OnlineState as OnlineState,
    Operations as Operations,
    Paths as Paths,
    Recursion as Recursion,
    STDED as STDED,
    Surrogate as Surrogate,
    with_slope as with_slope,
)
from ._connection import (
    AbstractConnection as AbstractConnection,
    AbstractDelay as AbstractDelay,
    AbstractLinearMap as AbstractLinearMap,
    AveragePool2d as AveragePool2d,
    AxonalDelay as AxonalDelay,
    Chain as Chain,
    Conv2d as Conv2d,
    DelayLine as DelayLine,
    Dense as Dense,
    EarliestPool2d as EarliestPool2d,
    Flatten as Flatten,
    ImageConnection as ImageConnection,
    Masked as Masked,
    SynapticDelay as SynapticDelay,
)
from ._first_spike_network import (
    FirstSpikeLayer as FirstSpikeLayer,
    FirstSpikeNetwork as FirstSpikeNetwork,
    PotentialReadout as PotentialReadout,
)
from ._network import Layer as Layer, Network as Network
from ._neuron import (
    AbstractClosedForm as AbstractClosedForm,
    AbstractFlow as AbstractFlow,
    AbstractNeuron as AbstractNeuron,
    AbstractRamp as AbstractRamp,
    AdaptiveLIF as AdaptiveLIF,
    ALIF as ALIF,
    ALIFState as ALIFState,
    DeltaIntegrator as DeltaIntegrator,
    DeltaLIF as DeltaLIF,
    DeltaQIF as DeltaQIF,
    EIF as EIF,
    GatedUnit as GatedUnit,
    has_closed_form as has_closed_form,
    Izhikevich as Izhikevich,
    IzhikevichState as IzhikevichState,
    LeakyIntegrator as LeakyIntegrator,
    LIF as LIF,
    LIFState as LIFState,
    LinearRamp as LinearRamp,
    QIF as QIF,
    RampIF as RampIF,
    Refractory as Refractory,
    RefractoryState as RefractoryState,
    STDPALIF as STDPALIF,
    SteppedALIF as SteppedALIF,
    SteppedIzhikevich as SteppedIzhikevich,
    SteppedIzhikevichState as SteppedIzhikevichState,
    SteppedState as SteppedState,
    ThresholdFall as ThresholdFall,
    VoltageState as VoltageState,
)
from ._simulate import simulate as simulate
from ._simulate_first_spikes import (
    FirstSpikeSolution as FirstSpikeSolution,
    Regimes as Regimes,
    simulate_first_spikes as simulate_first_spikes,
)
from ._solution import (
    LayerState as LayerState,
    RESULTS as RESULTS,
    Solution as Solution,
)
from ._solver import (
    AbstractSolver as AbstractSolver,
    Clocked as Clocked,
    ClosedForm as ClosedForm,
    DiffraxEvent as DiffraxEvent,
)
from ._spikes import FirstSpikes as FirstSpikes, Frames as Frames, Spikes as Spikes


__version__ = importlib.metadata.version("eventjax")


def __getattr__(name: str):
    """`train`, `plot` and `interop` need extras: they are imported when first asked for."""
    if name in ("train", "plot", "interop"):
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
