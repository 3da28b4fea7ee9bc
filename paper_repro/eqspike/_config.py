"""All settings of a run on MNIST."""

import dataclasses
from typing import Literal


Rule = Literal["eqspike", "rate_ep", "continual_ep", "hard_ep"]


@dataclasses.dataclass(frozen=True)
class Settings:
    """Times are in ms; a refractory time is 1 ms. Every value is a choice of ours: those of
    the paper are UNCONFIRMED.

    - `rule`: spikes; rates of the same neurons; rates of a hard sigmoid, the network of
        Scellier and Bengio (2017); or these with continual updates, Ernoult et al. (2020).
    - `gain`, `bias`: of first weights, see `eventjax.equilibrium.Network`; a threshold is
        0.1.
    - `free`, `nudged`: lengths of the two phases, in steps for the rules of rates.
    - `step`: of the rules of rates, how far they go towards a rate in each step.
    - `control`: whether the second phase is also run without nudge and taken off.
    - `on`, `off`: rates that the output of the right class and the others should have.
    """

    rule: Rule = "eqspike"
    seed: int = 0
    hidden: tuple[int, ...] = (300,)
    gain: float = 0.25
    bias: float = 0.15
    tau_mem: float = 5.0
    tau_syn: float = 10.0
    tau_filter: float = 20.0
    beta: float = 1.0
    free: float = 300.0
    nudged: float = 150.0
    step: float = 0.2
    control: bool = True
    on: float = 0.5
    off: float = 0.1
    epochs: int = 3
    batch: int = 50
    learning_rate: float = 1e-3
    train_size: int = 55_000
    test_size: int = 10_000

    @property
    def shared(self) -> "Settings":
        """What programs depend on: runs that differ in the rest share a compilation."""
        return dataclasses.replace(self, seed=0)
