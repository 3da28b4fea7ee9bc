"""Large runs keep their promises of memory and speed; a broken one is told."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

from experiments import _tables_of_speed
from experiments.benchmark import load, load_cases


SMALL = load.Load(events=10_000, neurons=40, duration=500.0, few=16, piece=100.0)
ROW = {
    "what": "events",
    "how": "in pieces",
    "events": 1,
    "spikes": 1,
    "seconds": 0.1,
    "slowdown": 1.0,
    "peak_mb": 10.0,
    "bound_mb": 20,
}


def test_pieces_and_one_call_give_the_same_spikes():
    pieces = load_cases.in_pieces(SMALL, *load_cases._of_events(SMALL))
    whole = load_cases.in_one_call(SMALL, *load_cases._of_events(SMALL))
    assert pieces["events"] == whole["events"] == SMALL.events
    assert pieces["slowdown"] > 0 and whole["slowdown"] is None
    # Times of pieces are float32, and so is where they are put in the whole.
    assert whole["spikes"] >= 20
    np.testing.assert_allclose(pieces["spikes"], whole["spikes"], atol=1)


def test_input_is_that_of_its_pieces():
    whole = load_cases.all_input(3, 50, 100.0)
    for k in range(3):
        times, sources = load_cases.piece_of_input(k, 50, 100.0)
        here = slice(50 * k, 50 * (k + 1))
        np.testing.assert_allclose(whole.times[here] - 100.0 * k, times, rtol=1e-12)
        np.testing.assert_array_equal(whole.sources[here], sources)
        assert times.max() < 100.0 and (np.diff(times) >= 0).all()


def test_memory_is_that_of_this_process():
    before = load.held_mb("VmRSS")
    kept = np.ones(40_000_000, np.uint8)
    assert load.held_mb("VmRSS") - before > 30
    assert load.held_mb("VmHWM") >= load.held_mb("VmRSS") - 1
    del kept


@pytest.mark.parametrize(
    "change, message",
    [
        ({}, None),
        ({"peak_mb": 21.0}, "21.0 MB, more than 20"),
        ({"slowdown": 1.4}, "1.4 times as long"),
        ({"spikes": 0}, "no spike"),
        ({"slowdown": None}, None),
    ],
)
def test_broken_promises_are_told(monkeypatch, capsys, change, message):
    row = {**ROW, **change}
    monkeypatch.setattr(load, "rows", lambda config: iter([row]))
    stored = []
    monkeypatch.setattr(load._measure, "store", lambda *x: stored.append(x))
    code = load.main(dataclasses.replace(SMALL, store=True))
    assert code == (message is not None) and len(stored) == (message is None)
    assert (message or "") in capsys.readouterr().err


def test_a_full_buffer_and_unknown_names_are_told(monkeypatch):
    with pytest.raises(RuntimeError, match="piece 3 did not end well"):
        load_cases._demand(jnp.zeros((), bool), "piece 3")
    with pytest.raises(ValueError, match="no case 'evens'"):
        next(load.rows(dataclasses.replace(SMALL, only=("evens",))))
    done = type("Done", (), {"returncode": 1, "stderr": "out of memory", "stdout": ""})
    monkeypatch.setattr(load.subprocess, "run", lambda *x, **y: done)
    with pytest.raises(RuntimeError, match="events, one call failed:\nout of memory"):
        load.spawned("events, one call", SMALL)


def test_table_of_stored_rows(tmp_path):
    record = {
        "rows": [ROW, {**ROW, "how": "one call", "slowdown": None}],
        "machine": {"cores": 2, "cpu": "some"},
        "versions": {"jax": "0"},
    }
    path = tmp_path / "load-cpu.json"
    path.write_text(json.dumps(record))
    text = _tables_of_speed.load(path)
    assert "| events | in pieces | 1 | 1 | 0.1 | 1.00 | 10 | 20 |" in text
    assert "| events | one call | 1 | 1 | 0.1 | - | 10 | 20 |" in text


@pytest.mark.slow
def test_every_case_in_its_own_process():
    small = dataclasses.replace(SMALL, events=100_000, neurons=1000)
    for row in load.rows(small):
        assert row["spikes"] > 0 and 0 < row["peak_mb"] <= row["bound_mb"]


@pytest.mark.slow
def test_full_load(capsys):
    assert load.main(load.Load()) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(load.CASES)
