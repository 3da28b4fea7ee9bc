"""Training on LibriSpeech: a state for each frame, and utterances that grow longer."""

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal

import eventjax as ej
from paper_repro._row import Record, Where
from paper_repro._speech_frames import Arrays, SPLITS

from ._config import Settings, Task
from ._judge import Batches, judge_batches
from ._train import train_on


SET = "librispeech"
_TOGETHER = 16  # utterances, in evaluation


@dataclasses.dataclass(frozen=True)
class StateSettings(Settings):
    """`stages` are pairs of epochs and frames, those that the paper's code comes to: it
    writes 100x4|200x4|400x4|800x4|1000x8, and begins one epoch late."""

    task: Task = "states"
    features: Literal["log_mel", "mfcc"] = "log_mel"
    stages: tuple[tuple[int, int], ...] = (
        (5, 100),
        (4, 200),
        (4, 400),
        (4, 800),
        (7, 1000),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _AllAsked:
    """Batches for `eventjax.train.fit`, all of whose frames count."""

    batches: ej.data.UtteranceBatches

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, number: int) -> Iterator[Arrays]:
        return map(_asked, self.batches.epoch(number))


def train_states(config: StateSettings, where: Where) -> Record:
    """Train a network on pieces of utterances, and test the epoch that is best on
    validation data. These are cut to the last stage's number of frames; utterances of the
    test part are whole. Features are normalised by speaker.

    **Arguments:** and **Returns:** as for `train`.

    **Raises:** `FileNotFoundError` if the data are not there; `ValueError` for damaged
    files.
    """
    parts = {split: _load(config, split, where) for split in SPLITS}
    inputs, outputs = parts["train"].features, parts["train"].num_classes
    batches = ej.data.UtteranceBatches(
        parts["train"],
        config.batch,
        seed=config.seed,
        drop_last=True,
        stages=config.stages,
    )
    last = config.stages[-1][1]

    def test(network: ej.graded.Classifier) -> Record:
        return judge_batches(network, _evaluated(parts["test"], None), config)

    return train_on(
        config,
        where,
        _AllAsked(batches),
        validation=lambda: _evaluated(parts["validation"], last),
        test=test,
        dataset=SET,
        inputs=inputs,
        outputs=outputs,
    )


def _load(config: StateSettings, split: str, where: Where) -> ej.data.Utterances:
    features = {"log_mel": ej.encoders.log_mel, "mfcc": ej.encoders.mfcc}
    return ej.data.normalise_speakers(
        ej.data.load_utterances(
            SET,
            split,
            features=features[config.features],
            data_dir=where.data_dir,
            prepared_dir=where.prepared_dir,
        )
    )


def _evaluated(part: ej.data.Utterances, limit: int | None) -> Batches:
    size = min(_TOGETHER, len(part))
    for batch, is_real in ej.data.padded_utterance_batches(part, size, limit=limit):
        yield _asked(batch), is_real


def _asked(batch: dict[str, Any]) -> Arrays:
    return {
        "frames": batch["frames"],
        "label": batch["label"],
        "valid": batch["valid"],
        "asked": batch["valid"],
    }
