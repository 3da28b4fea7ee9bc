"""A run that is killed at random moments and started anew is one that was left alone."""

import json

import pytest


pytest.importorskip("orbax.checkpoint")
pytest.importorskip("tyro")

from experiments import interruptions  # noqa: E402


def _check(outcome, times):
    assert outcome["differences"] == []
    killed = outcome["killed"]
    assert sum(killed.values()) == times
    assert outcome["attempts"] == times + outcome["runs"]
    # Both before and after it there are checkpoints.
    assert [step for step in outcome["enlarged_at"] if 10 < step < 86]


def test_two_kills_change_nothing(tmp_path):
    outcome = interruptions.interrupt(interruptions.Settings(times=2), tmp_path)
    _check(outcome, 2)
    # What would be compared if a bit were another: left by the run, and known by name.
    left = interruptions.interrupted_run.left_by(tmp_path / "whole")
    names = ("model.layers.0.connection.weight", "opt_state.0.count")
    assert {f"last checkpoint, {name}" for name in names} <= set(left)
    assert {"epoch 4, train_loss", "best, weight", "event 0, step"} <= set(left)


@pytest.mark.slow
def test_twenty_kills_change_nothing(tmp_path):
    outcome = interruptions.interrupt(interruptions.Settings(times=20), tmp_path)
    _check(outcome, 20)
    assert outcome["killed"]["step"] > 0
    assert outcome["killed"]["write"] > 0


def test_a_difference_is_seen(monkeypatch, tmp_path, capsys):
    outcome = {
        "killed": {"step": 1},
        "runs": 1,
        "differences": ["run 1: epoch 2, step"],
    }
    monkeypatch.setattr(interruptions, "interrupt", lambda *_: outcome)
    monkeypatch.setattr(interruptions, "RESULTS", tmp_path / "outcome.json")
    interruptions.main(interruptions.Settings(times=1, store=True))
    shown = capsys.readouterr().out
    assert "not as in the run that was left alone: run 1: epoch 2, step" in shown
    stored = json.loads((tmp_path / "outcome.json").read_text())
    assert stored["equal"] is False
    assert stored["differences"] == outcome["differences"]
    assert {"killed", "config", "versions", "machine"} <= set(stored)
