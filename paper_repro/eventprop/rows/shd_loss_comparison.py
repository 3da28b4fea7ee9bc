"""SHD with each loss, feed-forward and recurrent, without augmentation, Nowotny, Turner and
Knight 2025. The settings are those with which each loss did best in the authors' scan.

    python -m paper_repro run eventprop/shd_loss_comparison/sum_exp_rec --data-dir DATA
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paper_repro._row import for_seeds, Job, Row

from .._config import Speech
from .._speech import train
from ._smoke import made_up, tiny


BASE = Speech(t1=1400.0, epochs=300, lift=0.0)

# Loss, recurrent or not: learning rate, tau_mem and tau_syn in ms, strength of the rates.
_SETTINGS = {
    ("sum", False): (2e-3, 20.0, 10.0, 1e-12),
    ("sum", True): (2e-3, 20.0, 10.0, 1e-12),
    ("sum_exp", False): (1e-3, 40.0, 5.0, 1e-10),
    ("sum_exp", True): (1e-3, 40.0, 5.0, 1e-9),
    ("first_spike", False): (1e-3, 40.0, 5.0, 1e-7),
    ("first_spike", True): (1e-3, 40.0, 5.0, 1e-7),
    ("max", False): (2e-3, 40.0, 10.0, 5e-9),
    ("max", True): (2e-3, 40.0, 10.0, 5e-9),
}


def settings() -> dict[str, Speech]:
    out = {}
    for (loss, recurrent), (rate, tau_mem, tau_syn, strength) in _SETTINGS.items():
        more: dict[str, Any] = {}
        if loss == "first_spike":
            more = {"weight_out": (1.2, 0.6)}
        out[f"{loss}_{'rec' if recurrent else 'ff'}"] = dataclasses.replace(
            BASE,
            loss=loss,
            recurrent=recurrent,
            learning_rate=rate,
            tau_mem=tau_mem,
            tau_syn=tau_syn,
            lambda_reg=strength,
            **more,
        )
    return out


def jobs(seeds: int) -> list[Job]:
    return for_seeds(settings(), seeds)


def smoke(data: Path) -> Sequence[Job]:
    made_up(data)
    known = settings()
    return [
        Job(name, "seed0", tiny(known[name])) for name in ("first_spike_ff", "max_ff")
    ]


ROW = Row(
    name="shd_loss_comparison",
    title="SHD, four losses, feed-forward and recurrent",
    jobs=jobs,
    train=train,
    smoke=smoke,
    seeds=8,
    needs="SHD in <data>/shd",
)
