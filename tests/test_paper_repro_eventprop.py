"""The rows of the Eventprop papers: their settings, and what is stored."""

import dataclasses
import json

import jax
import numpy as np
import pytest

import eventjax as ej


pytest.importorskip("matplotlib")
pytest.importorskip("tyro")
pytest.importorskip("tensorflow_datasets")
pytest.importorskip("h5py")

from paper_repro._registry import papers  # noqa: E402
from paper_repro._report import lines, markdown  # noqa: E402
from paper_repro._row import Where  # noqa: E402
from paper_repro._targets import targets_of  # noqa: E402
from paper_repro.eventprop import _speech  # noqa: E402
from paper_repro.eventprop._config import Speech  # noqa: E402
from paper_repro.eventprop._linear import (  # noqa: E402
    fit as linear_fit,
    Linear,
    predict as linear_predict,
)
from paper_repro.eventprop._loss import make_loss  # noqa: E402
from paper_repro.eventprop._network import (  # noqa: E402
    input_weight,
    make_network,
    trainable,
)
from paper_repro.eventprop.rows import (  # noqa: E402
    shd_ablation,
    shd_best,
    shd_loss_comparison,
    speed_memory,
    spoken_digits,
    ssc_best,
)
from paper_repro.eventprop.rows._smoke import made_up, tiny  # noqa: E402


PAPER = next(paper for paper in papers() if paper.name == "eventprop")
NAMES = [row.name for row in PAPER.rows]


def test_the_report_is_up_to_date():
    assert (PAPER.folder / "RESULTS.md").read_text(encoding="utf-8") == markdown(PAPER)


def test_every_row_is_there():
    assert NAMES == [
        "yin_yang", "latency_mnist", "shd_loss_comparison", "shd_best", "shd_ablation",
        "ssc_best", "spoken_digits", "speed_memory",
    ]  # fmt: skip
    known = {(x.row, x.group): (x.mean, x.std, x.seeds) for x in targets_of(PAPER)}
    assert known["yin_yang", ""] == (98.10, 0.18, 10)
    assert known["latency_mnist", "100_epochs"] == (97.58, 0.12, 10)
    assert known["shd_best", ""] == (93.5, 0.7, 8)
    assert known["ssc_best", ""] == (74.1, 0.9, 8)
    keys = {
        "paper", "row", "group", "metric", "paper_mean", "paper_std", "ours_mean",
        "ours_std", "seeds", "verdict", "machine",
    }  # fmt: skip
    found = {(line.row.name, line.group): line.as_json() for line in lines(PAPER)}
    assert all(set(line) == keys for line in found.values())
    yin_yang = found["yin_yang", ""]
    assert yin_yang["seeds"] >= 5 and yin_yang["verdict"] == "within"
    assert found["latency_mnist", "30_epochs"]["seeds"] >= 1


def test_settings_of_the_best_networks():
    shd, ssc = shd_best.BEST, ssc_best.BEST
    assert (shd.dt_bin, shd.hidden, shd.copies, shd.shift) == (2.0, 512, 11, 40)
    assert (shd.blend, shd.heterogeneous, shd.train_taus) == (False, False, True)
    assert (shd.lambda_reg, shd.epochs, shd.select) == (2.5e-10, 100, "train")
    assert (ssc.dt_bin, ssc.hidden, ssc.copies, ssc.shift) == (1.0, 1024, 11, 40)
    assert (ssc.blend, ssc.heterogeneous, ssc.train_taus) == (True, True, False)
    assert (ssc.lambda_reg, ssc.epochs, ssc.select) == (5e-10, 50, "validation")
    for config in (shd, ssc):
        assert (config.t1, config.batch, config.learning_rate) == (1000.0, 32, 1e-3)
        assert (config.loss, config.recurrent, config.lift) == ("sum_exp", True, 0.002)
        assert (config.tau_mem, config.tau_syn) == (20.0, 5.0)
        assert config.weight_in == (0.003, 0.001)
    # The best one is one of the ablation's, too.
    same = shd_ablation.settings()["n512_delay_shift_homogeneous_trained_2ms"]
    assert same == shd


def test_settings_of_families():
    ablation = shd_ablation.settings()
    assert len(ablation) == 160
    assert ablation["n64_plain_homogeneous"].lambda_reg == 2.5e-9
    last = ablation["n1024_delay_shift_blend_heterogeneous_trained"]
    assert (last.lambda_reg, last.epochs, last.blend) == (5e-11, 50, True)
    losses = shd_loss_comparison.settings()
    assert len(losses) == 8
    for config in losses.values():
        assert (config.t1, config.hidden, config.epochs) == (1400.0, 256, 300)
        assert (config.shift, config.lift, config.plateau) == (0.0, 0.0, None)
    best = losses["sum_exp_rec"]
    assert (best.tau_mem, best.tau_syn, best.lambda_reg) == (40.0, 5.0, 1e-9)
    assert losses["first_spike_ff"].weight_out == (1.2, 0.6)
    jobs = spoken_digits.jobs(1)
    assert len(jobs) == 38
    linear = [job.config.speech for job in jobs if isinstance(job.config, Linear)]
    networks = [job.config for job in jobs if not isinstance(job.config, Linear)]
    for speech, count in ((linear, 1), (networks, 5)):
        held_out = [x.held_out for x in speech if x.held_out is not None]
        assert sorted(held_out) == sorted([*range(6)] * count)
        assert len(speech) == len(held_out) + 1  # the official split
    assert all(config.epochs <= 20 for config in networks)


def test_the_linear_classifier_is_at_the_largest_posterior():
    rng = np.random.default_rng(0)
    label = np.arange(60) % 3
    x = np.eye(3)[label] * 2 + rng.normal(size=(60, 3))
    weight = linear_fit(x, label, 0.5)

    def posterior(weight):
        logits = x @ weight[:-1] + weight[-1]
        chosen = logits[np.arange(60), label]
        fit = np.sum(chosen - np.log(np.exp(logits).sum(axis=1)))
        return fit - np.sum(weight[:-1] ** 2) / (2 * 0.5**2)

    largest = posterior(weight)
    for _ in range(20):
        assert posterior(weight + 0.05 * rng.normal(size=weight.shape)) < largest
    assert np.mean(linear_predict(x, weight) == label) > 0.8


def test_wrong_numbers_of_seeds():
    with pytest.raises(
        ValueError, match="replicates of spoken_digits are its speakers"
    ):
        spoken_digits.jobs(2)
    with pytest.raises(ValueError, match="reads one measurement, got `seeds` 3"):
        speed_memory.jobs(3)


def test_scales_of_the_papers_code():
    assert Speech(loss="sum_exp").loss_scale == 20.0
    assert Speech(loss="max", t1=1400.0).loss_scale == 1400.0
    assert Speech(loss="first_spike").loss_scale == 1.0


@pytest.mark.parametrize("heterogeneous", [False, True])
@pytest.mark.parametrize("train_taus", [False, True])
def test_time_constants(heterogeneous, train_taus):
    config = Speech(hidden=2000, heterogeneous=heterogeneous, train_taus=train_taus)
    network = make_network(config, 7, 3, jax.random.key(0))
    neuron, mask = network.layers[0].neuron, trainable(network, config).layers[0].neuron
    assert (mask.tau_mem, mask.tau_syn) == (train_taus, train_taus)
    assert isinstance(network.layers[1].neuron.tau_mem, float)
    for tau, mean, floor in ((neuron.tau_mem, 20.0, 3.0), (neuron.tau_syn, 5.0, 1.0)):
        if heterogeneous:
            assert float(tau.min()) >= floor and float(tau.max()) == 3 * mean
            # Of a gamma distribution of shape 3, before what the bounds cut off.
            np.testing.assert_allclose(np.std(tau) / np.mean(tau), 3**-0.5, rtol=0.1)
            np.testing.assert_allclose(np.mean(tau), mean, rtol=0.05)
        elif train_taus:
            np.testing.assert_array_equal(tau, np.full(2000, mean))
        else:
            assert tau == mean


def test_delay_line_and_recurrence():
    config = Speech(hidden=4, copies=11, recurrent_delay=2.0)
    network = make_network(config, 700, 20, jax.random.key(0))
    assert network.in_size == 700
    assert network.layers[0].connection.lags == tuple(30.0 * k for k in range(11))
    assert input_weight(network).shape == (7700, 4)
    assert network.layers[0].recurrent.delay == 2.0
    plain = make_network(Speech(hidden=4, recurrent=False), 700, 20, jax.random.key(0))
    assert plain.layers[0].recurrent is None
    assert input_weight(plain).shape == (700, 4)


def test_a_speaker_who_is_tested_decides_nothing(tmp_path):
    where = Where(tmp_path / "run", tmp_path, progress=False)
    config = Speech(held_out=1, select="validation")
    with pytest.raises(ValueError, match="`select` must not be 'validation'"):
        _speech.train(config, where)


def test_runs_that_differ_in_seed_and_speaker_share_programs():
    one, two = Speech(seed=1, held_out=2), Speech(seed=3)
    assert make_loss(one.shared) is make_loss(two.shared)
    rate, optimiser = _speech.make_optimiser(one.shared, 7)
    assert _speech.make_optimiser(two.shared, 7) == (rate, optimiser)
    assert make_loss(Speech(loss="max")) is not make_loss(two.shared)


def _fold(accuracy, confusion=None):
    test = {"accuracy": accuracy / 100, "examples": 40, "confusion": confusion}
    return {"metrics": {spoken_digits.METRIC: accuracy}, "test": test}


def test_paired_differences():
    bounds = spoken_digits.interval([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    # 3.5 and 2.5706 times the standard error of 0.7638.
    assert bounds == pytest.approx((1.5367, 5.4633), abs=2e-4)
    assert spoken_digits.interval([1.0]) is None
    records = {
        "exp_rec_shift": {"speaker0": _fold(90.0), "speaker2": _fold(80.0)},
        "sum_rec_shift": {"speaker0": _fold(85.0), "speaker2": _fold(79.0),
                          "speaker3": _fold(10.0)},
        "exp_ff_shift": {"speaker5": _fold(50.0)},
        "official_split": {"seed0": _fold(96.0, [[3, 1], [0, 4]])},
    }  # fmt: skip
    text = spoken_digits.details(records)
    assert "| exp_rec_shift | 90.0 |  | 80.0 |  |  |  | 85.0 |" in text
    assert "| L_sum_exp against L_sum | +3.0 | -22.4 to +28.4 | 2 |" in text
    assert "| recurrent against feed-forward | | | 0 |" in text
    assert "surrogate" not in text
    assert "Official split: 96.0 % of 40 recordings" in text
    assert "| **0** | 3 | 1 |" in text


def test_a_run_cut_off_goes_on_and_ends_where_it_would_have(tmp_path, monkeypatch):
    made_up(tmp_path / "data")
    config = dataclasses.replace(
        tiny(spoken_digits.BASE), held_out=1, epochs=2, recurrent=False
    )

    def go(name):
        where = Where(
            tmp_path / name, tmp_path / "data", tmp_path / "prepared", progress=False
        )
        return _speech.train(config, where)

    whole = go("whole")
    assert whole["history"][-1]["spikes_per_sample"][0] > 5
    epoch = ej.data.EventBatches.epoch

    def broken(batches, number):
        if number == 1:
            raise KeyboardInterrupt
        return epoch(batches, number)

    monkeypatch.setattr(ej.data.EventBatches, "epoch", broken)
    with pytest.raises(KeyboardInterrupt):
        go("cut")
    monkeypatch.setattr(ej.data.EventBatches, "epoch", epoch)
    resumed = go("cut")
    assert resumed["resumed"] and resumed["test"] == whole["test"]
    without = lambda rows: [{**row, "seconds": 0} for row in rows]
    assert without(resumed["history"]) == without(whole["history"])
    confusion = np.array(resumed["test"]["confusion"])
    assert confusion.sum() == resumed["test"]["examples"] == 5
    assert np.trace(confusion) == round(5 * resumed["test"]["accuracy"])
    assert resumed["metrics"] == {
        spoken_digits.METRIC: 100 * resumed["test"]["accuracy"]
    }
    assert json.loads((tmp_path / "cut" / "results.json").read_text())["test"]
    names = {path.name for path in (tmp_path / "cut").iterdir()}
    assert {"learning_curve.png", "raster.png", "confusion.png"} <= names
