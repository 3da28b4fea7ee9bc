"""Many seeds in several processes, some of which fail."""

import json

import jax.random as jr
import numpy as np
import pytest
import sweep_runs
from sweep_runs import FRAGILE, KILLED, NOT_A_NUMBER, RAISES
from toy_training import rows_of

import eventjax as ej


SEEDS = [0, 1, KILLED, 3, RAISES, 5, NOT_A_NUMBER, FRAGILE]
BAD = {KILLED, RAISES, NOT_A_NUMBER}


def _check(results, seeds):
    assert list(results) == list(seeds)
    for seed, result in results.items():
        expected = 2.0 * jr.normal(jr.key(seed), (2,))
        np.testing.assert_allclose(result["draw"], expected, rtol=1e-12)
        assert result["more"] == [1]


def test_no_failed_seed_is_lost_and_the_others_are_kept(tmp_path):
    spared = tmp_path / "spared"
    settings = {"scale": 2.0, "spared": str(spared)}
    call = lambda log, together=4: ej.train.sweep(
        sweep_runs.run,
        SEEDS,
        folder=tmp_path / "new" / "sweep",
        settings=settings,
        together=together,
        processes=2,
        log=log,
    )
    with ej.train.MetricsLog(tmp_path / "log.jsonl") as log:
        with pytest.raises(
            ej.train.SweepFailure, match="3 of 8 seeds failed"
        ) as caught:
            call(log, together=2)
    failure = caught.value
    assert set(failure.failures) == BAD
    assert "killed by SIGKILL" in failure.failures[KILLED]
    assert "Traceback" in failure.failures[RAISES]
    assert "in run" in failure.failures[RAISES]
    assert "ArithmeticError: no such luck" in failure.failures[RAISES]
    assert "not finite: `['draw']`" in failure.failures[NOT_A_NUMBER]
    for seed in BAD:
        assert f"{seed} (" in str(failure)
    _check(failure.results, [seed for seed in SEEDS if seed not in BAD])

    # Each is stored, and what failed in a group was run by itself.
    folder = tmp_path / "new" / "sweep"
    stored = {int(x.stem[5:]) for x in folder.glob("seed-*.json") if "f" not in x.stem}
    assert stored == set(SEEDS) - BAD
    failed = json.loads((folder / f"seed-{RAISES}.failed.json").read_text())
    assert failed["error"] == failure.failures[RAISES]
    rows = rows_of(log.path)
    by_itself = [
        x["seeds"] for x in rows if x["event"] == "failed" and x["together"] == 1
    ]
    assert sorted(by_itself) == [[seed] for seed in sorted(BAD)]
    together = {x["seed"]: x["together"] for x in rows if x["event"] == "seed"}
    assert together == {0: 2, 1: 2, 3: 1, 5: 1, FRAGILE: 1}

    # Another call runs those that are missing and nothing else.
    spared.touch()
    before = {x.name: x.stat().st_mtime_ns for x in folder.iterdir()}
    with ej.train.MetricsLog(tmp_path / "log.jsonl") as log:
        _check(call(log), SEEDS)
    assert {x["seed"] for x in rows_of(log.path)} == BAD
    after = {x.name: x.stat().st_mtime_ns for x in folder.iterdir()}
    assert not list(folder.glob("*.failed.json"))
    for seed in set(SEEDS) - BAD:
        assert before[f"seed-{seed}.json"] == after[f"seed-{seed}.json"]

    # Nothing is missing, so no process is started; and it is this sweep's folder alone.
    _check(call(None), SEEDS)
    settings["scale"] = 3.0
    with pytest.raises(ValueError, match="(?s)another sweep.*2.0.*3.0"):
        call(None)


def test_each_process_has_an_environment_of_its_own(tmp_path):
    places = [{"EVENTJAX_TEST_PLACE": str(k)} for k in (5, 7)]
    results = ej.train.sweep(
        sweep_runs.where, [0, 1], folder=tmp_path, processes=places
    )
    assert sorted(result["place"] for result in results.values()) == [5, 7]
    with pytest.raises(ValueError, match="(?s)For 1 seeds, `\\['draw'\\]`.*\\(2,\\)"):
        ej.train.sweep(sweep_runs.wrong_shape, [0], folder=tmp_path / "other")


def test_what_cannot_be_run_is_an_error(tmp_path):
    call = lambda run=sweep_runs.where, seeds=(0,), **settings: ej.train.sweep(
        run, seeds, folder=tmp_path, **settings
    )
    with pytest.raises(ValueError, match="`seeds` must be .* got \\[1, 1\\]"):
        call(seeds=[1, 1])
    with pytest.raises(ValueError, match="`seeds` must be at least 0"):
        call(seeds=[-1])
    with pytest.raises(ValueError, match="`together` must be at least 1, got 0"):
        call(together=0)
    with pytest.raises(ValueError, match="`processes` must be at least 1"):
        call(processes=0)
    with pytest.raises(ValueError, match="`settings` must be of types that JSON knows"):
        call(settings={"key": jr.key(0)})
    with pytest.raises(ValueError, match="top level of a file"):
        call(run=lambda keys: keys)
    assert call(seeds=[]) == {}
