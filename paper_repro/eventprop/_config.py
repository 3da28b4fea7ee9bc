"""All settings of a network for spoken words."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class Speech:
    """Times are in ms. The default is the paper's network of 256 neurons without delay
    line, augmentation or trained time constants."""

    seed: int = 0
    # Data
    dataset: Literal["shd", "ssc", "spoken_digits"] = "shd"
    held_out: int | None = None  # the speaker to test on, instead of the test set
    t1: float = 1000.0  # what comes later is cut off
    dt_bin: float | None = 1.0  # one event per channel and bin, at its left edge
    every_channel: int = 1  # only each so many-th is looked at
    shift: int = 0  # of those channels, at most, in training
    blend: bool = False  # twice the examples, blends of two of a class
    # Network
    hidden: int = 256
    copies: int = 1  # of the input; more than one is a delay line
    copy_every: float = 30.0
    recurrent: bool = True
    recurrent_delay: float = 1.0  # the paper's time step, which is its implicit delay
    tau_mem: float = 20.0
    tau_syn: float = 5.0
    heterogeneous: bool = False  # time constants of hidden neurons are drawn one by one
    train_taus: bool = False
    weight_in: tuple[float, float] = (0.03, 0.01)  # mean and standard deviation
    weight_rec: tuple[float, float] = (0.0, 0.02)
    weight_out: tuple[float, float] = (0.0, 0.03)
    spikes_per_neuron: int = 16  # places at the start; `fit` makes more if need be
    # Training
    loss: Literal["sum", "sum_exp", "linear", "sigmoid", "first_spike", "max"] = (
        "sum_exp"
    )
    scale: float = 1.0  # of voltages on their way into the softmax
    tau0: float = 1.0  # of the first-spike loss, and
    tau1: float = 100.0  # of its pull towards early spikes,
    alpha: float = 5e-5  # and its weight
    lambda_reg: float = 5e-10  # of firing rates, in the units of the paper's code
    target: float = 14.0  # spikes per neuron and trial
    gradient: Literal["exact", "surrogate"] = "exact"
    dt: float = 1.0  # of the time grid of surrogate gradients
    batch: int = 32
    like_size: int = 1  # batches in a row whose examples are sorted by size; see there
    epochs: int = 100
    learning_rate: float = 1e-3
    ease_in: bool = True
    decay: bool = False  # along a cosine, to zero at the last step
    lift: float = 0.002  # onto the input weights of silent neurons after an epoch
    plateau: Literal["train_accuracy", "validation_accuracy"] | None = None
    select: Literal["last", "train", "validation"] = "last"  # whose best accuracy

    @property
    def shared(self) -> "Speech":
        """What programs depend on: runs that differ in the rest share a compilation."""
        return dataclasses.replace(self, seed=0, held_out=None)

    @property
    def loss_scale(self) -> float:
        """By how much gradients of the loss are smaller in the paper's code than the exact
        ones. Its regulariser and Adam's epsilon go by their scale."""
        if self.loss == "first_spike":
            return 1.0
        return self.t1 if self.loss == "max" else self.tau_mem
