from ._base import AbstractSolver


class ClosedForm(AbstractSolver):
    """Exact spike times of `LIF` and `LeakyIntegrator` from the closed-form solution.

    All neurons are advanced through windows of up to 32 arrivals at once; those whose
    voltage could reach the threshold are found by an upper bound, and only for these the
    crossing is solved, to the last bit. Any ratio of time constants, any float type.

    ??? cite

        Wunderlich and Pehle, Scientific Reports 11:12829 (2021), for the neuron; the
        windowed solution is this library's own.
    """

    @property
    def exact(self) -> bool:
        return True
