"""The scaling series: what is measured, its exponents and where they are shown."""

import dataclasses
import json

import numpy as np
import pytest

from experiments import _tables_of_speed, tables
from experiments.benchmark import scaling, workloads


TINY = workloads.W2F(
    batch=2, num_inputs=20, events=60, num_hidden=12, t1=60.0, hidden_scale=12.0
)


def _row(spec, who):
    """Linear in spikes and batch, quadratic in neurons."""
    work = spec.events * spec.batch * spec.num_hidden ** (2 if who == "eventjax" else 1)
    row = {"hidden_spikes": spec.events / 2, "most_hidden_spikes": spec.events}
    return row | {"grad_ms": work / 1e4, "peak_mb": work / 1e5}


@pytest.fixture(scope="module")
def rows():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scaling, "measure", lambda spec, who, *_: _row(spec, who))
        return list(scaling.measurements(workloads.W2(batch=8), 1.0))


def test_one_quantity_grows_sixteen_times_and_all_series_meet():
    base = workloads.W2(batch=8)
    for name, specs in scaling.series(base).items():
        assert base in specs.values()
        first, *_, last = specs
        assert last / first == pytest.approx(16), name
    ends = {name: list(x.values()) for name, x in scaling.series(base).items()}
    assert [x.num_hidden for x in ends["neurons"]] == [64, 128, 256, 512, 1024]
    assert [x.batch for x in ends["batch"]] == [8, 16, 32, 64, 128]
    assert [x.events for x in ends["spikes"]] == [500, 1000, 2000, 4000, 8000]
    rates = {x.events / x.t1 for x in ends["duration"]}
    assert rates == {8.0} and ends["duration"][-1].t1 == 4000.0


def test_exponents_are_those_of_the_work(rows):
    found = {(x["series"], x["who"]): x for x in scaling.summary(rows)}
    assert len(found) == 8
    for (name, who), line in found.items():
        wanted = 2 if (name, who) == ("neurons", "eventjax") else 1
        assert line["grad_ms_exponent"] == pytest.approx(wanted, abs=0.01)
        assert line["peak_mb_exponent"] == pytest.approx(wanted, abs=0.01)
    assert found["spikes", "Clocked"]["x"] == [750.0, 12000.0]


def test_least_work_is_that_of_the_text():
    found = scaling.least_work(workloads.W2F(), 4100.0)
    assert found["pairs"] == 65_536_000
    assert f"{found['bytes'] / 1e9:.2f} GB" in scaling.__doc__.replace("\n", " ")
    assert f"{found['operations'] / 1e9:.2f} billion" in scaling.__doc__
    recurrent = scaling.least_work(workloads.W2(), 4000.0)
    assert recurrent["pairs"] == found["pairs"] * 1.5


def test_a_step_on_the_grid_is_measured():
    row = scaling.measure(TINY, "Clocked", 1, seconds=0.01)
    assert row["most_hidden_spikes"] >= row["hidden_spikes"] > 5
    assert row["grad_ms"] > 0 and row["peak_mb"] > 0


def test_a_gradient_that_is_not_finite_is_an_error(monkeypatch):
    def measured(step, weights, spikes, labels, seconds):
        del step, spikes, labels, seconds
        return None, ((0.0, (None, np.ones(2), None)), [x + np.nan for x in weights])

    monkeypatch.setattr(scaling._measure, "measure", measured)
    with pytest.raises(ValueError, match="gradient of eventjax is not finite"):
        scaling.measure(TINY, "eventjax", 16, 1.0)


def test_stored_series_are_shown(rows, tmp_path, monkeypatch):
    monkeypatch.setattr(scaling, "RESULTS", tmp_path)
    places = {"scaling": (tmp_path / "scaling-W2-cpu.json", _tables_of_speed.scaling)}
    monkeypatch.setattr(tables, "FROM_FILES", places)
    assert "scaling" not in tables.tables()
    base = workloads.W2(batch=8)
    path = scaling.store(scaling.Scaling(), base, rows)
    record = json.loads(path.read_text())
    assert record["spec"] == dataclasses.asdict(base) and record["rows"] == rows
    assert path.with_suffix(".png").stat().st_size > 10_000
    shown = tables.tables()["scaling"]()
    assert "| neurons | 64 to 1024 | **eventjax** |" in shown and "| 2.00 |" in shown
    assert scaling.table(rows).row_count == 8


def test_memory_is_shown_where_it_is_asked_for(tmp_path):
    row = {"library": "eventjax", "note": "", "grad_ms": 2.0, "fwd_ms": 1.0}
    row |= {"compile_s": 3.0, "peak_mb": 12.34, "spikes": 5.0}
    row |= {"machine": {"cpu": "some", "cores": 2}, "versions": {"jax": "1"}}
    path = tmp_path / "W2-cpu.json"
    path.write_text(json.dumps({"rows": [row]}))
    assert "| 12.3 |" in _tables_of_speed.with_memory(path)
    assert "| 12.3 |" not in _tables_of_speed.workload(path)
