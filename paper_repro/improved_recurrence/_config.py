"""All settings of a run."""

import dataclasses
from typing import Literal


Task = Literal["phones", "states", "adding", "copying", "delayed_xor"]
Kind = Literal["conventional", "v1", "v2", "gru", "lstm"]


@dataclasses.dataclass(frozen=True)
class Settings:
    """Default values are those of the paper's code, but for what README.md lists. Frames of
    speech are 10 ms; those of made-up tasks have no length."""

    seed: int = 0
    # Data: of phones, "found" is TIMIT where the data folder has it, else its free sample
    task: Task = "phones"
    dataset: Literal["found", "timit", "timit_sample"] = "found"
    frames: int = 500  # in a made-up sequence
    examples: int = 2048  # made-up sequences to train on
    # Network
    kind: Kind = "v2"
    units: int = 550
    layers: int = 2
    bits: int = 6
    dead_zone: int = 3
    dropout: float = 0.2
    # See `eventjax.graded.Gated`
    memory: float | None = None  # in frames
    gain: float = 2**0.5
    # Learning
    epochs: int = 24
    batch: int = 64
    learning_rate: float = 1e-3
    momentum: float = 0.1  # of statistics and ranges
    clip: float | None = None  # the largest norm of a gradient
    limit_decay: bool = False  # of conventional layers, to [0, 1]

    @property
    def shared(self) -> "Settings":
        """What programs depend on: runs that differ in the rest share a compilation."""
        return dataclasses.replace(self, seed=0)

    @property
    def spikes(self) -> bool:
        return self.kind in ("conventional", "v1", "v2")
