"""SHD with and without delay line, shift, blend, heterogeneous and trained time constants,
for five sizes, Nowotny, Turner and Knight 2025. Each setting has the strength of the rate
regulariser that the authors chose for it by leaving out one speaker at a time.

    python -m paper_repro run eventprop/shd_ablation/n256_delay_shift_blend --data-dir DATA
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from paper_repro._row import for_seeds, Job, Row

from .._config import Speech
from .._speech import train
from ._smoke import made_up, tiny


# Strengths for homogeneous, homogeneous and trained, heterogeneous, heterogeneous and
# trained time constants.
_KINDS = (
    "homogeneous",
    "homogeneous_trained",
    "heterogeneous",
    "heterogeneous_trained",
)
_COLUMNS = {
    1.0: ("plain", "shift", "shift_blend", "delay", "delay_shift", "delay_shift_blend"),
    2.0: ("delay_shift", "delay_shift_blend"),
}
# One line for each number of hidden neurons, by the time bin in ms.
_STRENGTHS = {
    1.0: """
64 2.5e-9/5e-10/5e-11/5e-11 5e-10/5e-11/5e-10/2.5e-10 2.5e-9/5e-10/2.5e-10/5e-10 \
5e-9/5e-9/2.5e-9/5e-9 5e-10/5e-9/5e-10/2.5e-10 5e-10/5e-10/5e-11/5e-11
128 2.5e-10/5e-11/5e-11/5e-9 5e-10/2.5e-9/2.5e-10/5e-10 5e-10/5e-11/2.5e-10/5e-10 \
2.5e-9/5e-10/2.5e-9/2.5e-9 5e-9/2.5e-9/5e-11/2.5e-9 5e-11/2.5e-10/5e-11/5e-11
256 2.5e-10/2.5e-10/5e-11/5e-11 2.5e-10/5e-10/5e-11/2.5e-10 2.5e-10/5e-10/5e-11/5e-10 \
5e-9/2.5e-9/5e-9/5e-9 2.5e-10/5e-10/5e-10/2.5e-10 5e-10/5e-10/5e-10/5e-10
512 2.5e-9/2.5e-9/5e-9/2.5e-9 2.5e-10/2.5e-10/2.5e-9/2.5e-10 5e-10/5e-11/2.5e-10/5e-10 \
5e-9/2.5e-9/2.5e-9/5e-10 2.5e-10/5e-10/2.5e-10/5e-9 2.5e-10/5e-10/2.5e-10/5e-11
1024 5e-10/5e-10/2.5e-10/2.5e-10 5e-11/5e-11/2.5e-10/2.5e-10 5e-11/2.5e-10/2.5e-10/5e-11 \
5e-9/5e-9/5e-9/2.5e-9 2.5e-10/2.5e-10/2.5e-10/2.5e-10 5e-11/2.5e-10/5e-11/5e-11
""",
    2.0: """
64 5e-10/2.5e-9/5e-10/2.5e-9 5e-11/5e-10/5e-10/5e-10
128 5e-10/5e-10/2.5e-9/5e-9 2.5e-10/5e-11/5e-10/5e-10
256 2.5e-10/5e-10/5e-10/5e-10 5e-10/5e-10/5e-10/2.5e-10
512 2.5e-10/2.5e-10/2.5e-9/2.5e-9 5e-10/5e-10/2.5e-10/2.5e-10
1024 2.5e-9/2.5e-10/5e-10/2.5e-10 5e-11/5e-11/2.5e-10/5e-11
""",
}


def strengths() -> Iterator[tuple[float, int, str, str, float]]:
    """Time bin, hidden neurons, what is done, kind of time constants, strength."""
    for dt, table in _STRENGTHS.items():
        for line in table.strip().splitlines():
            hidden, *cells = line.split()
            for parts, cell in zip(_COLUMNS[dt], cells, strict=True):
                for kind, strength in zip(_KINDS, cell.split("/"), strict=True):
                    yield dt, int(hidden), parts, kind, float(strength)


def settings() -> dict[str, Speech]:
    out = {}
    for dt, hidden, parts, kind, strength in strengths():
        name = f"n{hidden}_{parts}_{kind}" + ("_2ms" if dt == 2 else "")
        delay, blend = "delay" in parts, "blend" in parts
        out[name] = Speech(
            dt_bin=dt,
            recurrent_delay=dt,
            hidden=hidden,
            copies=11 if delay else 1,
            weight_in=(0.003, 0.001) if delay else (0.03, 0.01),
            shift=40 if "shift" in parts else 0.0,
            blend=blend,
            heterogeneous="heterogeneous" in kind,
            train_taus="trained" in kind,
            lambda_reg=strength,
            epochs=50 if blend else 100,
            plateau="train_accuracy",
            select="train",
        )
    return out


def jobs(seeds: int) -> list[Job]:
    return for_seeds(settings(), seeds)


def smoke(data: Path) -> Sequence[Job]:
    made_up(data)
    name = "n256_shift_blend_heterogeneous_trained"
    return [Job(name, "seed0", tiny(settings()[name]))]


ROW = Row(
    name="shd_ablation",
    title="SHD, 160 settings of delay line, augmentation and time constants",
    jobs=jobs,
    train=train,
    smoke=smoke,
    seeds=8,
    needs="SHD in <data>/shd",
)
