import equinox as eqx
from jaxtyping import Array, Float

from .._solver import AbstractSolver
from .._solver._ramp import RampProblem
from ._base import AbstractRampAdjoint
from ._ramp_dual import run_dual
from ._ramp_time import run_time


class STDED(AbstractRampAdjoint):
    r"""Spike-timing-dependent event-driven learning: exact gradients of `RampIF` layers.

    One backward step for each layer, whose terms are all pairs of an active neuron and an
    input that fired. What is kept are spike times and rates, nothing for each time step.
    Gradients reach weights, input times and the threshold's parameters; saturated and
    silent neurons have none. Reverse mode only: use `Direct` for forward mode.

    **Arguments:**

    - `dual`: work with $x = 1 - t / T$ in place of spike times $t$. Values and gradients
        are the same to rounding; only the meaning of `bound` is not.
    - `bound`: a neuron that is about to be saturated under a weight sum near
        $-\theta_0 / T$ multiplies gradients without bound. `None` is exact; a number
        bounds the two derivatives of each spike: by the sums W and I of weights and of
        weights times times, or with `dual` of x by W and A. The code of Wei et al., ICCV
        (2023) takes 1e5, and 11 with `dual`, with $T$ = 1; that of the paper is
        UNCONFIRMED.

    Raises a `ValueError` for a `bound` that is not positive.

    ??? cite

        Wei et al., arXiv 2403.00270, for the rule; its equations here are derived from
        the neuron of Wei et al., ICCV (2023), and exact for that. That the paper's are
        the same is UNCONFIRMED.
    """

    dual: bool = eqx.field(static=True, default=False)
    bound: float | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        if self.bound is not None and not self.bound > 0:
            raise ValueError(
                "`bound` must be positive, or `None` for exact gradients; got "
                f"{self.bound}."
            )

    def check(self, solver: AbstractSolver) -> None:
        raise ValueError(
            f"`STDED` does not work with the solver `{type(solver).__name__}`: it is for "
            "layers of `RampIF` in a `FirstSpikeNetwork`, run by "
            "`eventjax.simulate_first_spikes`."
        )

    def run_ramp(self, problem: RampProblem) -> Float[Array, "*made"]:
        run = run_dual if self.dual else run_time
        return run(problem, self.bound)
