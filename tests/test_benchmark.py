"""The benchmark's own answers and its bookkeeping; no library is timed here."""

import dataclasses
import json

import numpy as np
import pytest

from experiments.benchmark import (
    __main__ as benchmark,
    _measure,
    make_peers,
    workloads,
)


SMALL = workloads.W1(batch=6)


def _euler_counts(spec, times, sources, weight, dt=0.005):
    """Spike counts by fine time steps, with each step's linear flow exact."""
    v, i = np.zeros((2, len(times), weight.shape[1]))
    decay_v, decay_i = np.exp(-dt / spec.tau_mem), np.exp(-dt / spec.tau_syn)
    gain = (decay_v - decay_i) * spec.tau_syn / (spec.tau_mem - spec.tau_syn)
    counts = np.zeros(v.shape, int)
    step = np.round(times / dt)
    for k in range(round(spec.t1 / dt)):
        for sample, place in zip(*np.nonzero(step == k), strict=True):
            i[sample] += weight[sources[sample, place]]
        v, i = v * decay_v + i * gain, i * decay_i
        fired = v >= spec.threshold
        counts += fired
        v[fired] = spec.v_reset
    return counts.sum(axis=1)


def test_exact_spikes_are_those_of_fine_time_steps():
    data = workloads.make(SMALL)
    inputs = data["times"], data["sources"]
    counts = _euler_counts(SMALL, *inputs, data["w_hidden"])
    np.testing.assert_allclose(counts, data["hidden_spikes"], atol=1)


def test_first_spike_of_one_neuron_is_at_the_threshold():
    spec = SMALL
    times, sources = np.array([[1.0, np.inf]]), np.array([[0, 0]])
    weight = np.array([[20.0]])
    found, _ = workloads.exact_layer(times, sources, weight, **workloads.physics(spec))
    t = found[0, 0] - 1.0
    v = 20.0 / 3 * (np.exp(-t / spec.tau_mem) - np.exp(-t / spec.tau_syn))
    np.testing.assert_allclose(v, spec.threshold, rtol=1e-12)
    assert 0 < t < 5


def test_w1_is_the_workload_of_the_figures():
    data = workloads.make(workloads.W1())
    assert data["hidden_spikes"].mean() == pytest.approx(100, rel=0.01)
    assert np.isfinite(data["first_spikes"]).all()
    assert np.bincount(data["labels"]).tolist() == [50, 50, 50]


def test_save_and_load(tmp_path):
    workloads.save(SMALL, tmp_path / "w.npz")
    spec, data = workloads.load(tmp_path / "w.npz")
    made = workloads.make(SMALL)
    assert spec == SMALL
    assert data.keys() == made.keys()
    for name, array in made.items():
        np.testing.assert_array_equal(data[name], array)


def test_missing_library_is_a_row_with_the_cure(tmp_path, monkeypatch):
    monkeypatch.setattr(make_peers, "FOLDER", tmp_path)
    rows = benchmark.run("spyx", tmp_path / "w.npz", SMALL, "cpu")
    assert len(rows) == 1
    assert "make peers" in rows[0]["note"]
    assert rows[0]["grad_ms"] is None
    assert benchmark.table(rows, 100.0).row_count == 1


def test_gradient_that_is_not_finite_is_a_failure():
    timing = _measure.Timing(1.0, 1.0, 1.0, 1.0, 1.0)
    good = _measure.row("some", SMALL, timing, timing, [np.ones(4)], note="fine")
    bad = _measure.row("some", SMALL, timing, timing, [np.array([1.0, np.nan])])
    assert good["gradient_norms"] == [2.0] and "failed" not in good
    assert bad["failed"] and "not finite" in bad["note"]


def test_results_are_stored_with_what_repeats_them(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "RESULTS", tmp_path)
    path = benchmark.store(benchmark.Benchmark(), SMALL, [{"library": "none"}])
    record = json.loads(path.read_text())
    assert record["spec"] == dataclasses.asdict(SMALL)
    assert {"commit", "dirty", "rows"} <= record.keys()
