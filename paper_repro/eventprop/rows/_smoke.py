"""The same settings on made-up data, in seconds."""

import dataclasses
from pathlib import Path

import eventjax as ej

from .._config import Speech


def made_up(data: Path, name: str = "shd") -> None:
    """A data folder with files in the published layout, unless it is there already."""
    if not (data / name).is_dir():
        ej.data.write_example_shd(
            data, name, examples_per_class=1, events=20, duration=60.0
        )


def tiny(config: Speech) -> Speech:
    """All that a row does, in a few steps of a few neurons."""
    return dataclasses.replace(
        config,
        dataset="ssc" if config.dataset == "ssc" else "shd",
        hidden=4,
        every_channel=1,
        t1=80.0,
        batch=8,
        epochs=1,
        # Made-up words have few events, and neurons would be silent.
        weight_in=(1.0, 0.5),
        spikes_per_neuron=64,  # so that no step has to be compiled twice
    )
