"""Every row runs from end to end, on tiny made-up data."""

import math

import pytest


pytest.importorskip("matplotlib")
pytest.importorskip("tyro")
pytest.importorskip("tensorflow_datasets")
pytest.importorskip("h5py")
pytest.importorskip("jiwer")

from paper_repro import _runner  # noqa: E402
from paper_repro._registry import papers  # noqa: E402


NAMES = [f"{paper.name}/{row.name}" for paper in papers() for row in paper.rows]


@pytest.mark.parametrize("name", NAMES)
def test_smoke(name, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _runner.smoke(name, progress=False)
    ours = [x for x in capsys.readouterr().out.splitlines() if x.startswith(name)]
    ends = [x for x in ours if not x.endswith(": starts")]
    assert len(ends) == len(ours) / 2 >= 1
    assert all(math.isfinite(float(line.split()[-1])) for line in ends)
    # Nothing is left behind, not even in the folder where runs are.
    assert list(tmp_path.iterdir()) == []
