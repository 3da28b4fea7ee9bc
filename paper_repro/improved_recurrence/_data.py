"""What networks are trained on: phones of speech, or made-up sequences."""

import dataclasses

import numpy as np

import eventjax as ej
from paper_repro._row import Where
from paper_repro._speech_frames import Arrays, load_frames, SPLITS

from ._config import Settings


@dataclasses.dataclass(frozen=True)
class Data:
    """Parts by name, each with `frames`, `valid`, `asked` (which frames count), and
    `label` or `target`."""

    name: str
    parts: dict[str, Arrays]
    outputs: int

    @property
    def inputs(self) -> int:
        return self.parts["train"]["frames"].shape[2]


def load(config: Settings, where: Where) -> Data:
    """**Raises:** `FileNotFoundError` if there is no speech; `ValueError` for damaged
    files."""
    if config.task == "phones":
        corpus = load_frames(config.dataset, where)
        parts = {
            name: {**part, "asked": part["valid"]}
            for name, part in corpus.parts.items()
        }
        return Data(corpus.name, parts, len(ej.data.PHONES))
    draw, outputs = {
        "adding": (ej.data.adding, 1),
        "copying": (ej.data.copying, 8),
        "delayed_xor": (ej.data.delayed_xor, 2),
    }[config.task]
    sizes = (config.examples, *[max(config.examples // 4, 1)] * 2)
    seeds = np.random.SeedSequence(config.seed).generate_state(3)
    parts = {
        name: draw(size, config.frames, int(seed))
        for name, size, seed in zip(SPLITS, sizes, seeds, strict=True)
    }
    return Data(config.task, parts, outputs)
