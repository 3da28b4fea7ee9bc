"""All settings of a network for phones."""

import dataclasses
from typing import Literal


Neuron = Literal["lif", "alif", "stdp_alif", "izhikevich"]


@dataclasses.dataclass(frozen=True)
class Phones:
    """Times are in steps of 1 ms of the simulation. Default values are those of code that
    is likely to be the author's, but for what README.md lists; the paper's are
    UNCONFIRMED."""

    seed: int = 0
    # Data: "found" is TIMIT where the data folder has it, else its free sample
    dataset: Literal["found", "timit", "timit_sample"] = "found"
    repeats: int = 1  # steps for each frame of 10 ms
    # Network
    neuron: Neuron = "alif"
    sizes: tuple[int, ...] = (200,)  # of the layers
    adaptive: float = 0.25  # share of neurons with an adaptive threshold
    both_ways: bool = False  # a second network reads from the end to the beginning
    tau_mem: float = 4.48
    tau_adapt: float = 39.5
    tau_out: float = 4.48
    beta: float = 0.184
    threshold: float = 1.6
    refractory: float = 2.0
    gamma: float = 0.3  # height of the pseudo-derivative
    refractory_slope: float = -0.3  # of STDP-ALIF
    window: Literal["after", "from_spike"] = "after"  # where it holds, see `STDPALIF`
    gain: float = 1.0  # of the initial weights of hidden layers, in mV for Izhikevich
    # Learning
    rule: Literal["eprop", "bptt"] = "eprop"
    feedback: Literal["symmetric", "random", "adaptive"] = "symmetric"
    decay: float = 1e-2  # of readout and feedback weights in each step, if adaptive
    rate: float = 0.01  # spikes per step that neurons are drawn to
    rate_strength: float = 50.0
    l2: float = 1e-5  # of input and recurrent weights
    epochs: int = 80
    batch: int = 32
    learning_rate: float = 0.01
    warm_up: float = 1.0  # epochs until the learning rate is reached

    @property
    def shared(self) -> "Phones":
        """What programs depend on: runs that differ in the rest share a compilation."""
        return dataclasses.replace(self, seed=0)
