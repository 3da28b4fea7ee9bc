import equinox as eqx

from ._base import AbstractSolver


class ClosedForm(AbstractSolver):
    """Exact spike times of `LIF` and `LeakyIntegrator` from the closed-form solution.

    All neurons are advanced through windows of up to 32 arrivals at once; those whose
    voltage could reach the threshold are found by an upper bound, and only for these the
    crossing is solved, to the last bit. Any ratio of time constants, any float type.

    **Arguments:**

    - `fused`: run a layer, and its reverse pass, in one kernel each (JAX's Pallas) instead
        of a loop over windows of many small operations. It is for GPUs, on which the
        launches of these are most of the time, for `LIF` and `LeakyIntegrator` with delays
        of whole neurons, and for `Eventprop` and `EventEProp`; others are refused. Spikes
        and gradients are the same to rounding. On a CPU it is interpreted, which is slow
        and meant for tests.

    !!! warning

        The fused kernels have been tested in interpreted form and compiled as far as
        Triton's input, but not been run on a GPU yet: compare with `ClosedForm()` first.
        JAX 0.11 warns that Pallas's Triton backend, which they need, is to be removed.

    ??? cite

        Wunderlich and Pehle, Scientific Reports 11:12829 (2021), for the neuron; the
        windowed solution is this library's own.
    """

    fused: bool = eqx.field(static=True, default=False)

    @property
    def exact(self) -> bool:
        return True
