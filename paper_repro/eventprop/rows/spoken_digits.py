"""Real speech from end to end: the Free Spoken Digit Dataset through an inner ear into the
paper's recurrent network of 256 neurons. The paper has no figures on it; what is asked is
whether its orderings hold.

Each of six speakers is left out once, for each of five settings. Differences are paired by
speaker. Beside them is a linear classifier of spike counts. The last groups are of the
official split, which has all speakers in both parts, without recurrence.

A recording has a third of the paper's time, and a training some 1,100 steps of 8 examples
instead of 25,000 of 32, so what has to be learnt starts closer to where it is going:
weights of both signs, a delay line, an eighth of the channels, which a linear classifier
does not miss, a steeper softmax and a larger learning rate.

    python -m paper_repro run eventprop/spoken_digits --data-dir DATA
    python -m paper_repro run eventprop/spoken_digits/exp_rec_shift/speaker3
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy import stats

import eventjax as ej
from paper_repro._row import Job, Record, Row, Where

from .._config import Speech
from .._linear import Linear, train_linear
from .._speech import train
from ._smoke import made_up, tiny


SPEAKERS = 6
METRIC = "held-out speaker accuracy %"
_CURVES = "speaker0"  # whose learning curves are drawn
_PICTURES = ("learning_curve.png", "raster.png", "confusion.png")

BASE = Speech(
    dataset="spoken_digits",
    dt_bin=None,
    every_channel=8,
    shift=2,
    # As if each channel came five times, 50 ms apart.
    copies=5,
    copy_every=50.0,
    weight_in=(0.02, 0.1),
    spikes_per_neuron=24,
    scale=60.0,
    lambda_reg=1e-9,
    batch=8,
    like_size=8,
    epochs=4,
    learning_rate=3e-3,
    ease_in=False,
    decay=True,
)
SETTINGS = {
    "exp_rec_shift": BASE,
    # Plain sums need a far weaker regulariser.
    "sum_rec_shift": dataclasses.replace(BASE, loss="sum", lambda_reg=1e-12),
    "exp_rec_noshift": dataclasses.replace(BASE, shift=0),
    "exp_ff_shift": dataclasses.replace(BASE, recurrent=False),
    "surrogate": dataclasses.replace(BASE, gradient="surrogate"),
}
# As if each channel came five times, 50 ms apart.
COUNTS = Speech(dataset="spoken_digits", dt_bin=None)  # of all channels, one by one
OFFICIAL = dataclasses.replace(BASE, recurrent=False, epochs=8)
# What the first has and the second has not.
_PAIRS = {
    "L_sum_exp against L_sum": ("exp_rec_shift", "sum_rec_shift"),
    "shift against none": ("exp_rec_shift", "exp_rec_noshift"),
    "recurrent against feed-forward": ("exp_rec_shift", "exp_ff_shift"),
    "Eventprop against surrogate gradient": ("exp_rec_shift", "surrogate"),
    "Eventprop against a linear classifier": ("exp_rec_shift", "linear"),
}


def jobs(seeds: int) -> list[Job]:
    if seeds != 1:
        raise ValueError(
            "The replicates of spoken_digits are its speakers, with one seed each: leave "
            f"`seeds` out, got {seeds}."
        )
    folds = [
        Job(group, f"speaker{k}", dataclasses.replace(config, held_out=k))
        for group, config in SETTINGS.items()
        for k in range(SPEAKERS)
    ]
    linear = [
        Job("linear", f"speaker{k}", Linear(dataclasses.replace(COUNTS, held_out=k)))
        for k in range(SPEAKERS)
    ]
    official = Job("official_split", "seed0", OFFICIAL, _PICTURES)
    return [*folds, *linear, official, Job("linear_official", "seed0", Linear(COUNTS))]


def run(config: Speech | Linear, where: Where) -> Record:
    fits = isinstance(config, Linear)
    return train_linear(config, where) if fits else train(config, where)


def smoke(data: Path) -> Sequence[Job]:
    made_up(data)
    networks = [
        Job(name, "speaker1", dataclasses.replace(tiny(SETTINGS[name]), held_out=1))
        for name in ("exp_rec_shift", "surrogate")
    ]
    counts = dataclasses.replace(COUNTS, dataset="shd", held_out=1)
    return [*networks, Job("linear", "speaker1", Linear(counts))]


def details(records: Mapping[str, Mapping[str, Record]]) -> str:
    """Accuracies by speaker, paired differences, and the confusion matrix."""
    folds = {name: records[name] for name in (*SETTINGS, "linear") if name in records}
    out = []
    if folds:
        out += ["Accuracy in per cent on the speaker that was left out:", ""]
        out += _by_speaker(folds)
    pairs = [
        _difference(name, records[one], records[two])
        for name, (one, two) in _PAIRS.items()
        if one in records and two in records
    ]
    if pairs:
        out += [
            "Paired differences, in points of accuracy, with 95 % intervals of Student's t "
            "over speakers; on one speaker there is no interval:",
            "",
            "| difference | mean | 95 % interval | speakers |",
            "| --- | --- | --- | --- |",
            *pairs,
            "",
        ]
    for record in records.get("official_split", {}).values():
        out += _official(record)
    for record in records.get("linear_official", {}).values():
        share = f"{100 * record['test']['accuracy']:.1f} %"
        out += [
            f"The linear classifier of counts has {share} of the official split.",
            "",
        ]
    if any(_CURVES in records.get(name, {}) for name in SETTINGS):
        out += [f"Learning curves of the runs without {_CURVES}:", ""]
        out += ["![learning curves](results/spoken_digits/curves.png)", ""]
    return "\n".join(out)


def _by_speaker(folds: Mapping[str, Mapping[str, Record]]) -> list[str]:
    names = [f"speaker{k}" for k in range(SPEAKERS)]
    out = [
        f"| setting | {' | '.join(names)} | mean |",
        f"| --- | {' | '.join(['---'] * SPEAKERS)} | --- |",
    ]
    for group, runs in folds.items():
        values = {k: runs[k]["metrics"][METRIC] for k in names if k in runs}
        cells = [f"{values[k]:.1f}" if k in values else "" for k in names]
        mean = f"{np.mean(list(values.values())):.1f}"
        out.append(f"| {group} | {' | '.join(cells)} | {mean} |")
    return [*out, ""]


def interval(differences: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of the mean; `None` for less than two differences."""
    count = len(differences)
    if count < 2:
        return None
    mean, error = np.mean(differences), np.std(differences, ddof=1) / count**0.5
    reach = stats.t.ppf(0.975, count - 1) * error
    return float(mean - reach), float(mean + reach)


def _difference(name: str, one: Mapping[str, Record], two: Mapping[str, Record]) -> str:
    both = [k for k in one if k in two]
    if not both:
        return f"| {name} | | | 0 |"
    found = [one[k]["metrics"][METRIC] - two[k]["metrics"][METRIC] for k in both]
    bounds = interval(found)
    text = "" if bounds is None else f"{bounds[0]:+.1f} to {bounds[1]:+.1f}"
    return f"| {name} | {np.mean(found):+.1f} | {text} | {len(both)} |"


def _official(record: Record) -> list[str]:
    test = record["test"]
    size = len(test["confusion"])
    out = [
        f"Official split: {100 * test['accuracy']:.1f} % of {test['examples']} recordings. "
        "How often each digit, a row, was taken for each:",
        "",
        f"| | {' | '.join(str(k) for k in range(size))} |",
        f"| {' | '.join(['---'] * (size + 1))} |",
    ]
    for k, row in enumerate(test["confusion"]):
        out.append(f"| **{k}** | {' | '.join(str(n) for n in row)} |")
    pictures = [
        f"![{name}](results/spoken_digits/official_split/seed0-{name})"
        for name in _PICTURES
    ]
    return [*out, "", *pictures, ""]


def draw(folder: Path) -> None:
    """Learning curves of one speaker's runs with every setting."""
    runs = {
        name: folder / name / f"{_CURVES}.json"
        for name in SETTINGS
        if (folder / name / f"{_CURVES}.json").exists()
    }
    if runs:
        ej.plot.compare_curves(runs, save=folder / "curves.png")


ROW = Row(
    name="spoken_digits",
    title="real spoken digits, each speaker left out in turn, five settings",
    jobs=jobs,
    train=run,
    smoke=smoke,
    seeds=1,
    needs="the Free Spoken Digit Dataset in <data>/fsdd",
    details=details,
    draw=draw,
)
