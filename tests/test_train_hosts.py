"""Two real processes train one model together, and one of them dies."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from exact_training import exact_fit
from toy_training import rows_of


pytest.importorskip("orbax.checkpoint")

SCRIPT = pathlib.Path(__file__).with_name("train_in_hosts.py")
PATIENCE = 400  # s; what it takes is a tenth of that


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """The folder they wrote to, and of each its exit code and what it printed."""
    folder = tmp_path_factory.mktemp("hosts")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    paths = [str(SCRIPT.parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    processes = [
        subprocess.Popen(
            [sys.executable, SCRIPT, str(k), str(port), folder],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for k in range(2)
    ]
    try:
        # Process 1 first, which dies: then it is seen how long the other one lives on.
        texts = {1: processes[1].communicate(timeout=PATIENCE)[0]}
        start = time.monotonic()
        texts[0] = processes[0].communicate(timeout=PATIENCE)[0]
        alone = time.monotonic() - start
    finally:
        for process in processes:
            process.kill()
    return folder, [process.returncode for process in processes], texts, alone


def test_they_train_what_one_process_trains(ended):
    folder, codes, texts, _ = ended
    assert "trained" in texts[0] and "trained" in texts[1], texts
    weight = np.load(folder / "weight0.npz")["weight"]
    one = exact_fit(epochs=2, devices=jax.devices()[:2], progress=False)
    expected = one.model.layers[0].connection.weight
    np.testing.assert_allclose(weight, expected, rtol=1e-12)

    # Their checkpoint is one of the same run in one process.
    same = exact_fit(epochs=2, checkpoints=folder / "states", progress=False)
    np.testing.assert_array_equal(weight, same.model.layers[0].connection.weight)
    rows = json.loads((folder / "history0.json").read_text())["rows"]
    assert rows == same.history
    losses = [[row["train_loss"] for row in x] for x in (rows, one.history)]
    np.testing.assert_allclose(*losses, rtol=1e-12)


def test_only_the_first_writes(ended):
    folder, _, texts, _ = ended
    assert "epoch 2/2" in texts[0] and "epoch" not in texts[1]
    assert not [x.name for x in folder.glob("*1.*") if x.suffix != ".txt"]
    rows = rows_of(folder / "log0.jsonl")
    assert [row["event"] for row in rows] == ["devices", "epoch", "resumed", "epoch"]
    assert rows[0]["number"] == 2


def test_what_differs_between_them_is_refused(ended):
    folder = ended[0]
    for k in range(2):
        text = (folder / f"refused{k}.txt").read_text()
        assert "different values of `batches`. Each" in text
        text = (folder / f"own{k}.txt").read_text()
        assert "all processes share" in text and "processes [1] do not see" in text


def test_one_that_dies_does_not_leave_the_other_hanging(ended):
    _, codes, texts, alone = ended
    assert codes[1] == -signal.SIGKILL
    assert codes[0] not in (0, None)
    assert "died" in texts[0] or "Connection" in texts[0]
    assert alone < 100  # s; the heartbeat's limit is 10 s
