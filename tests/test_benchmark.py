"""The benchmark's own answers and its bookkeeping; no library is timed here."""

import dataclasses
import json

import jax
import numpy as np
import pytest
import tyro

from experiments.benchmark import (
    __main__ as benchmark,
    _measure,
    exact,
    make_peers,
    ours_spoken,
    ours_spoken_devices,
    rates,
    workloads,
)


SMALL = workloads.W1(batch=6)


SPOKEN = dict(
    num_inputs=20, events=60, num_hidden=12, num_outputs=3, t1=60.0, hidden_scale=12.0
)


def _fine_steps(spec, times, sources, weight, recurrent=None, dt=0.005, delay=0.0):
    """Spike times and neurons by fine time steps, with each step's linear flow exact,
    and the largest voltages."""
    v, i = np.zeros((2, len(times), weight.shape[1]))
    decay_v, decay_i = np.exp(-dt / spec.tau_mem), np.exp(-dt / spec.tau_syn)
    gain = (decay_v - decay_i) * spec.tau_syn / (spec.tau_mem - spec.tau_syn)
    spikes, best = [], v
    late = round(delay / dt) + 1
    ring = np.zeros((late, *v.shape))  # what arrives at the end of each step to come
    step = np.round(times / dt)
    for k in range(round(spec.t1 / dt)):
        for sample, place in zip(*np.nonzero(step == k), strict=True):
            i[sample] += weight[sources[sample, place]]
        v, i = v * decay_v + i * gain, i * decay_i
        best = np.maximum(best, v)
        for sample, neuron in zip(*np.nonzero(v >= spec.threshold), strict=True):
            spikes.append((sample, (k + 1) * dt, neuron))
            v[sample, neuron] = spec.v_reset
            if recurrent is not None:
                ring[(k + late - 1) % late, sample] += recurrent[neuron]
        i = i + ring[k % late]
        ring[k % late] = 0.0
    sample, when, neuron = np.array(spikes).reshape(-1, 3).T
    return exact._pack(len(times), sample.astype(int), when, neuron), best


def test_exact_spikes_are_those_of_fine_time_steps():
    data = workloads.make(SMALL)
    inputs = data["times"], data["sources"]
    (times, _), _ = _fine_steps(SMALL, *inputs, data["w_hidden"])
    counts = np.isfinite(times).sum(axis=1)
    np.testing.assert_allclose(counts, data["hidden_spikes"], atol=1)


def test_exact_recurrent_spikes_are_those_of_fine_time_steps():
    spec = workloads.WD(batch=2)
    data = workloads.make(spec)
    names = ("times", "sources", "w_hidden", "w_recurrent")
    (times, neurons), _ = _fine_steps(spec, *(data[name] for name in names))
    times = exact.by_neuron(times, neurons, spec.num_hidden)
    errors = _measure.spike_errors(times, data["spike_times"])
    assert errors["wrong_spikes"] < 0.03
    assert errors["spike_error_ms"] < 0.02
    assert data["hidden_spikes"].min() >= 50


@pytest.mark.parametrize("delay", [1.0, 5.0])
def test_exact_delayed_spikes_are_those_of_fine_time_steps(delay):
    spec = workloads.W2(batch=2, delay=delay, recurrent_std=0.3, **SPOKEN)
    data = workloads.make(spec)
    names = ("times", "sources", "w_hidden", "w_recurrent")
    given = [data[name] for name in names]
    (times, neurons), _ = _fine_steps(spec, *given, delay=delay)
    times = exact.by_neuron(times, neurons, spec.num_hidden)
    errors = _measure.spike_errors(times, data["spike_times"])
    assert errors["wrong_spikes"] < 0.03
    assert errors["spike_error_ms"] < 0.02
    assert data["hidden_spikes"].min() >= 20
    other = workloads.make(dataclasses.replace(spec, delay=6.0 - delay))
    assert (other["spike_times"].shape != data["spike_times"].shape) or (
        _measure.spike_errors(other["spike_times"], data["spike_times"])[
            "spike_error_ms"
        ]
        > 0.05
    )


def test_exact_spikes_by_neuron():
    times = np.array([[1.0, 2.0, 3.0, np.inf], [0.5, np.inf, np.inf, np.inf]])
    sources = np.array([[1, 0, 1, 0], [2, 0, 0, 0]])
    found = exact.by_neuron(times, sources, 3)
    nothing = [np.inf] * 3
    assert found.tolist() == [
        [[2.0, np.inf, np.inf], [1.0, 3.0, np.inf], nothing],
        [nothing, nothing, [0.5, np.inf, np.inf]],
    ]


def test_exact_integrals_are_those_of_a_fine_grid():
    spec = workloads.W2F(t1=80.0)
    rng = np.random.default_rng(0)
    times = np.sort(rng.uniform(0, 100, (2, 9)), axis=1)
    times[0, -2:] = np.inf
    sources, weight = rng.integers(0, 4, (2, 9)), rng.normal(size=(4, 3))
    found = exact.exact_integrals(times, sources, weight, **spec.physics)
    t = np.linspace(0, spec.t1, 80001)
    age = np.maximum(t[:, None] - np.where(times < 80, times, 80)[:, None], 0)
    psp = (np.exp(-age / spec.tau_mem) - np.exp(-age / spec.tau_syn)) / 3
    v = np.einsum("bte,beo->bto", psp, weight[sources])
    wanted = np.trapezoid(np.exp(-t / spec.t1)[:, None] * v, t, axis=1) / spec.t1
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_exact_largest_voltages_are_those_of_fine_time_steps():
    spec = workloads.W1(batch=3, t1=40.0)
    rng = np.random.default_rng(0)
    times = np.sort(rng.uniform(0, 50, (3, 20)), axis=1)
    sources, weight = rng.integers(0, 4, (3, 20)), rng.normal(size=(4, 5))
    never = dataclasses.replace(spec, threshold=np.inf)
    _, best = _fine_steps(never, times, sources, weight)
    found = exact.exact_max_voltages(times, sources, weight, **spec.physics)
    np.testing.assert_allclose(found, best, atol=0.005)


def test_first_spike_of_one_neuron_is_at_the_threshold():
    spec = SMALL
    times, sources = np.array([[1.0, np.inf]]), np.array([[0, 0]])
    weight = np.array([[20.0]])
    found, _ = exact.exact_layer(times, sources, weight, **spec.physics)
    t = found[0, 0] - 1.0
    v = 20.0 / 3 * (np.exp(-t / spec.tau_mem) - np.exp(-t / spec.tau_syn))
    np.testing.assert_allclose(v, spec.threshold, rtol=1e-12)
    assert 0 < t < 5


def test_w1_is_the_workload_of_the_figures():
    data = workloads.make(workloads.W1())
    assert data["hidden_spikes"].mean() == pytest.approx(100, rel=0.01)
    assert np.isfinite(data["first_spikes"]).all()
    assert np.bincount(data["labels"]).tolist() == [50, 50, 50]


def test_w3_is_like_latency_mnist():
    spec = workloads.W3(batch=10)
    data = workloads.make(spec)
    assert data["times"].shape == (10, 150)
    assert all(len(set(x)) == 150 for x in data["sources"])
    assert (np.diff(data["times"], axis=1) >= 0).all() and data["times"].max() < 20
    assert 0.35 < (data["times"] < 1).mean() < 0.5  # MNIST's share is 0.41
    assert 400 < data["hidden_spikes"].mean() < 600
    assert 8 < data["max_voltages"].mean() < 20


def test_w2_is_like_spoken_digits():
    spec = workloads.W2F(batch=20, events=2000, t1=250.0)
    data = workloads.arrays(spec)
    assert data["times"].shape == data["sources"].shape == (20, 2000)
    assert (np.diff(data["times"], axis=1) >= 0).all() and data["times"].max() < 250
    assert data["sources"].min() >= 0 and data["sources"].max() < 700
    assert (data["labels"] == np.arange(20)).all()
    # Samples of a class are more alike than those of two classes.
    again = workloads.arrays(dataclasses.replace(spec, batch=40))
    per_channel = [np.bincount(x // 10, minlength=70) for x in again["sources"]]
    alike = np.corrcoef(per_channel)
    same, other = np.diag(alike, 20), np.diag(alike, 1)
    assert np.mean(same) > np.mean(other) + 0.3


def test_w2_fires_at_10_to_20_hertz():
    spec = workloads.W2(batch=1, events=4000, t1=500.0)
    rate = workloads.make(spec)["hidden_spikes"].mean() / 256 / 0.5
    assert 10 < rate < 20


def test_w2_and_w2f_have_the_same_weights_and_inputs():
    one, two = (workloads.arrays(x(batch=1)) for x in (workloads.W2, workloads.W2F))
    assert set(one) - set(two) == {"w_recurrent"}
    assert all((one[name] == two[name]).all() for name in two)


def test_save_and_load(tmp_path):
    workloads.save(SMALL, tmp_path / "w.npz")
    spec, data = workloads.load(tmp_path / "w.npz")
    made = workloads.make(SMALL)
    assert spec == SMALL
    assert data.keys() == made.keys()
    for name, array in made.items():
        np.testing.assert_array_equal(data[name], array)


def test_exact_run_of_w2_has_the_exact_answers():
    spec = workloads.W2(batch=2, recurrent_std=0.3, **SPOKEN)
    spec = dataclasses.replace(spec, **spec.variants["5 ms delay"])
    data = workloads.make(spec)
    network = ours_spoken.make_network(spec, data, int(data["hidden_spikes"].max()))
    loss = jax.jit(ours_spoken.make_loss(network, spec.t1, ours_spoken.EXACT))
    weights, inputs = ours_spoken.weights_of(network), ours_spoken.given(data)
    value, (spikes, counts, integrals) = loss(weights, *inputs)
    times = exact.by_neuron(spikes.times, spikes.sources, spec.num_hidden)
    np.testing.assert_array_equal(counts, data["hidden_spikes"])
    np.testing.assert_allclose(times, data["spike_times"], atol=1e-3)
    np.testing.assert_allclose(integrals, data["integrals"], rtol=1e-3, atol=1e-6)
    each = np.exp(data["integrals"])
    of_label = each[np.arange(2), data["labels"]] / each.sum(axis=1)
    np.testing.assert_allclose(value, -np.log(of_label).mean(), rtol=1e-4)


@pytest.mark.parametrize("how", [ours_spoken.EXACT, ours_spoken.CLOCKED])
def test_a_batch_divided_between_devices_has_the_same_gradient(how):
    spec = workloads.W2(batch=4, recurrent_std=0.3, **SPOKEN)
    data = workloads.make(spec)
    network = ours_spoken.make_network(spec, data, int(data["hidden_spikes"].max()))
    given = ours_spoken.weights_of(network), *ours_spoken.given(data)
    (one, out), grads = jax.jit(ours_spoken.on_one_device(network, spec.t1, how)[1])(
        *given
    )
    run, step = ours_spoken_devices.divided(network, spec.t1, how)
    (two, same), mean = jax.jit(step)(*given)
    assert float(out[1].sum()) > 40
    np.testing.assert_array_equal(same[1], out[1])
    np.testing.assert_allclose(two, one, rtol=1e-5)
    np.testing.assert_allclose(jax.jit(run)(*given)[0], one, rtol=1e-5)
    for x, y in zip(mean, grads, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-5 * np.abs(y).max())


def test_clocked_rates_are_made_equal():
    assert rates.equal_rates(lambda factor: 99.0 * factor, 100.0) == 1.0
    found = rates.equal_rates(lambda factor: 80.0 * factor, 100.0)
    assert found == pytest.approx(1.25, rel=0.01)


def test_missing_library_is_a_row_with_the_cure(tmp_path, monkeypatch):
    monkeypatch.setattr(make_peers, "FOLDER", tmp_path)
    rows = benchmark.run("spyx", tmp_path / "w.npz", SMALL, "cpu")
    assert len(rows) == 1
    assert "make peers" in rows[0]["note"]
    assert rows[0]["grad_ms"] is None
    assert benchmark.table([rows[0] | {"exact_spikes": 100.0}]).row_count == 1


def test_a_script_that_fails_is_a_row_that_says_why(tmp_path, capfd):
    rows = benchmark.run("eventjax", tmp_path / "none.npz", SMALL, "cpu")
    assert len(rows) == 1 and rows[0]["failed"]
    assert "FileNotFoundError" in rows[0]["note"]


def test_rows_are_beside_ours_for_the_same_network():
    rows = [
        {"library": "eventjax", "grad_ms": 2.0},
        {"library": "eventjax, other", "grad_ms": 4.0},
        {"library": "some", "grad_ms": 8.0},
        {"library": "some, other", "grad_ms": 8.0, "beside": "eventjax, other"},
    ]
    keys = ("fwd_ms", "compile_s", "peak_mb", "spikes")
    rest = dict.fromkeys(keys) | {"workload": "W3", "batch": 1, "note": ""}
    rest |= {"exact_spikes": 100.0}
    table = benchmark.table([row | rest for row in rows])
    assert list(table.columns[3].cells) == ["1.0", "2.0", "4.0", "2.0"]


def test_rows_of_variants_are_beside_ours_of_that_variant():
    row = {"library": "some", "grad_ms": 1.0}
    assert benchmark.of_variant(row, "") == row
    assert benchmark.of_variant(row, "late") == {
        "library": "some, late",
        "grad_ms": 1.0,
        "beside": "eventjax, late",
    }


def test_spike_errors():
    one = np.array([[[1.0, 2.0, np.inf]], [[3.0, np.inf, np.inf]]])
    two = np.array([[[1.25, np.inf]], [[3.0, np.inf]]])
    errors = _measure.spike_errors(one, two)
    assert errors == {
        "spike_error_ms": 0.125,
        "largest_spike_error_ms": 0.25,
        "wrong_spikes": 0.5,
    }


def test_gradient_that_is_not_finite_is_a_failure():
    timing = _measure.Timing(1.0, 1.0, 1.0, 1.0, 1.0)
    good = _measure.row("some", SMALL, timing, timing, [np.ones(4)], note="fine")
    bad = _measure.row("some", SMALL, timing, timing, [np.array([1.0, np.nan])])
    assert good["gradient_norms"] == [2.0] and "failed" not in good
    assert bad["failed"] and "not finite" in bad["note"]


def test_every_workload_can_be_asked_for():
    for name, kind in workloads.WORKLOADS.items():
        config = tyro.cli(benchmark.Benchmark, args=[name])
        assert config.workload == name == kind.__name__


def test_results_are_stored_with_what_repeats_them(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "RESULTS", tmp_path)
    path = benchmark.store(benchmark.Benchmark(), SMALL, [{"library": "none"}])
    other = benchmark.store(benchmark.Benchmark("W2", batch=3), SMALL, [])
    assert other.name == "W2-batch3-cpu.json" and path.name == "W1-cpu.json"
    record = json.loads(path.read_text())
    assert record["spec"] == dataclasses.asdict(SMALL)
    assert {"commit", "dirty", "rows"} <= record.keys()
