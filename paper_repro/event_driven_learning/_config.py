"""All settings of a network for pictures."""

import dataclasses
from typing import Literal


# How a network learns: the paper's two rules, and what they stand beside. STD-ED has the
# clipped ReLU network as its twin, MPD-ED the surrogate gradient without mask.
Rule = Literal["std_ed", "mpd_ed", "surrogate", "clipped_relu", "fixed_threshold"]


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Times are in ms. None of these settings is the paper's: those are UNCONFIRMED."""

    seed: int = 0
    rule: Rule = "std_ed"
    # Data
    dataset: Literal["mnist", "cifar10_jpeg", "cifar100", "nmnist", "cifar10_dvs"] = (
        "mnist"
    )
    t1: float = 300.0  # of recordings of an event camera; what comes later is cut off
    train_size: int | None = None  # so many training pictures, `None` for all
    validation_size: int = 5000  # training pictures that are kept to choose the epoch
    test_size: int | None = None
    crop: int = 0  # pixels by which pictures move at most, in training
    flip: bool = False
    cutout: int = 0  # pixels, the side of a square
    # Network: sizes of convolutions of 3 by 3 with "pool" in between, then dense layers
    plan: tuple[int | Literal["pool"], ...] = (32, 64, 128)
    stride: int = 2  # of the convolutions
    hidden: tuple[int, ...] = ()
    gain: float = 1.0  # of the initial weights, times Kaiming's for rectifiers
    # First spikes
    window: float = 1.0
    threshold: tuple[float, float] = (1.0, 0.0)  # at the start and end of the window
    bound: float | None = 11.0  # on derivatives of single spikes, of the ICCV code
    # Epochs of the clipped ReLU network that come first. After them outputs are read when
    # their window opens, else when it closes.
    warm_start: int = 0
    # Time grid
    steps: int = 3  # with a still picture as a current in each
    tau_mem: float = 2.0  # steps
    fall: tuple[float, float] = (1.0, 0.5)  # of the threshold, from first to last step
    width: float = 1.0  # of the surrogate gradient
    # Where MPD-ED learns: so near the threshold, or where neurons spike
    near: float | None = None
    # Training
    epochs: int = 10
    batch: int = 64
    learning_rate: float = 1e-3  # at the start of a cosine
    weight_decay: float = 1e-4

    @property
    def shared(self) -> "Pictures":
        """What programs depend on: runs that differ in the rest share a compilation."""
        return dataclasses.replace(self, seed=0)

    @property
    def on_grid(self) -> bool:
        """Whether it steps through time, or has one spike of each neuron at most."""
        return self.rule in ("mpd_ed", "surrogate")


VGG11 = (64, "pool", 128, "pool", 256, 256, "pool", 512, 512, "pool", 512, 512, "pool")
