"""The harness: what it runs, stores and reports, with a paper that is made up."""

import dataclasses
import json
import sys
from pathlib import Path

import pytest

import eventjax as ej


pytest.importorskip("tyro")

from paper_repro import __main__ as command_line, _registry, _runner  # noqa: E402
from paper_repro._orderings import differences, Ordering  # noqa: E402
from paper_repro._registry import chosen, find, papers  # noqa: E402
from paper_repro._report import lines, markdown  # noqa: E402
from paper_repro._row import Job, Paper, Row, Where  # noqa: E402
from paper_repro._store import load, result_file, stored_records  # noqa: E402
from paper_repro._targets import Target, targets_of  # noqa: E402
from paper_repro._verdict import Ours, summary, verdict  # noqa: E402


@dataclasses.dataclass(frozen=True)
class Config:
    seed: int
    size: int = 3
    later: float = 0.5
    output: Path = Path("somewhere")


TARGETS = """
[[target]]
row = "plain"
metric = "accuracy %"
mean = 90.0
std = 0.5
seeds = 10
source = "Table 1"

[[target]]
row = "groups"
metric = "accuracy %"
source = "Table 2"
note = "UNCONFIRMED"

[[target]]
row = "absent"
metric = "accuracy %"
mean = 50.0
source = "Table 3"
tolerance = 2.0
"""


class _CutOff(Exception):
    pass


def _train(config: Config, where: Where):
    """Leaves a mark when it starts, and is cut off once."""
    where.folder.mkdir(parents=True, exist_ok=True)
    mark = where.folder / "checkpoint"
    resumed = mark.exists()
    mark.write_text("half way")
    (where.folder / "picture.png").write_bytes(b"picture")
    if config.size == 99 and not resumed:
        raise _CutOff
    value = 90.0 + config.seed + (100 if where.smoke else 0)
    return {
        "metrics": {"accuracy %": value},
        "resumed": resumed,
        **ej.train.environment(),
    }


def _absent(config: Config, where: Where):
    raise FileNotFoundError(f"no file in {where.data_dir}")


def _row(name, groups, train=_train, needs=None, size=3, **rest):
    def jobs(seeds):
        return [
            Job(group, f"seed{k}", Config(k, size), ("picture.png",) if not k else ())
            for group in groups
            for k in range(seeds)
        ]

    return Row(
        name, f"the row {name}", jobs, train, lambda data: jobs(1), 2, needs, **rest
    )


@pytest.fixture
def paper(tmp_path, monkeypatch):
    folder = tmp_path / "made_up"
    folder.mkdir()
    (folder / "targets.toml").write_text(TARGETS)
    rows = (
        _row("plain", [""], details=lambda records: f"runs: {list(records[''])}"),
        _row("groups", ["one", "two"], size=99),
        _row("absent", [""], train=_absent, needs="SHD in <data>/shd"),
    )
    made = Paper("made_up", "a paper that is made up", rows, folder)
    monkeypatch.setattr(_registry, "papers", lambda: [made])
    monkeypatch.setattr(command_line, "papers", lambda: [made])
    monkeypatch.chdir(tmp_path)
    return made


def _run(name, **settings):
    settings = {
        "seeds": None,
        "data_dir": None,
        "again": False,
        "progress": False,
    } | settings
    return _runner.run(name, **settings)


def _json(paper):
    return [json.loads(json.dumps(line.as_json())) for line in lines(paper)]


def test_a_run_is_stored_once(paper, capsys):
    assert _run("made_up/plain", seeds=3) == []
    row = paper.rows[0]
    files = sorted((paper.folder / "results" / "plain").glob("*"))
    names = ["seed0-picture.png", "seed0.json", "seed1.json", "seed2.json"]
    assert [path.name for path in files] == names
    stored = json.loads(files[3].read_text())
    head = ("paper", "row", "group", "replicate", "metrics", "config")
    assert [stored[x] for x in head] == [
        "made_up", "plain", "", "seed2", {"accuracy %": 92.0},
        {"seed": 2, "size": 3, "later": 0.5},
    ]  # fmt: skip
    assert stored["machine"]["cores"] > 0 and "jax" in stored["versions"]
    assert stored["dirty"] in (True, False, None)
    assert not (stored["commit"] or "").endswith("-dirty")

    capsys.readouterr()
    times = [path.stat().st_mtime_ns for path in files]
    assert _run("made_up/plain", seeds=3) == []
    assert capsys.readouterr().out.count("stored already") == 3
    assert [path.stat().st_mtime_ns for path in files] == times
    assert list(stored_records(paper, row)[""]) == ["seed0", "seed1", "seed2"]

    # Asked to, it starts anew and does not go on from what is there.
    _run("made_up/plain/seed1", again=True)
    assert json.loads(files[2].read_text())["resumed"] is False
    with pytest.raises(ValueError, match="plain has no 'seed7', only seed0, seed1"):
        _run("made_up/plain/seed7")


def test_a_run_that_was_cut_off_goes_on(paper):
    with pytest.raises(_CutOff):
        _run("made_up/groups/two", seeds=1)
    folder = paper.folder / "results" / "groups"
    assert not folder.exists()
    assert _run("made_up/groups/two", seeds=1) == []
    assert json.loads((folder / "two" / "seed0.json").read_text())["resumed"] is True
    assert not (folder / "one").exists()


def test_orderings_are_paired_by_seed(tmp_path):
    for group, values in (("one", (70.0, 72.0, 74.0)), ("two", (69.0, 70.0))):
        folder = tmp_path / "row" / group
        folder.mkdir(parents=True)
        for seed, value in enumerate(values):
            text = json.dumps({"metrics": {"accuracy %": value}})
            (folder / f"seed{seed}.json").write_text(text)
    wanted = Ordering("row/one", "row/two", "a claim")
    found = differences([wanted], tmp_path, "accuracy %")[-1]
    # Mean 1.5, standard error 0.5, quantile 12.706
    assert found == "| row/one - row/two | +1.50 (-4.85 to +7.85) | 2 | a claim |"
    absent = dataclasses.replace(wanted, worse="row/three")
    assert differences([absent], tmp_path, "accuracy %") == []


def test_a_result_of_other_data_is_done_again(paper, capsys, monkeypatch):
    """What is stored of a sample does not stand for the whole set."""
    here: list[str | None] = ["sample"]

    def train(config, where):
        return _train(config, where) | {"dataset": here[0]}

    row = dataclasses.replace(paper.rows[0], train=train, found=lambda where: here[0])
    monkeypatch.setattr(_runner, "find", lambda name: [(paper, row, "")])
    file = paper.folder / "results" / "plain" / "seed0.json"
    for data, said in (
        ("sample", "starts"),
        ("sample", "stored already"),
        ("whole", "stored of sample, but here is whole"),
        (None, "stored already"),
    ):
        here[0] = data
        _run("made_up/plain", seeds=1)
        assert said in capsys.readouterr().out
    stored = json.loads(file.read_text())
    assert stored["dataset"] == "whole" and stored["resumed"] is False


def test_data_that_is_absent_is_said(paper, capsys, tmp_path, monkeypatch):
    said = _run("made_up/absent", data_dir=tmp_path)
    assert said == [
        "made_up/absent: not run: needs SHD in <data>/shd\n" + f"no file in {tmp_path}"
    ]
    absent = command_line.Run("made_up/absent", quiet=True)
    assert command_line.main(absent) == 1
    assert "not run: needs SHD in <data>/shd" in capsys.readouterr().err
    assert command_line.main(command_line.Run("made_up/none")) == 2
    assert "made_up has no row 'none', only plain, groups" in capsys.readouterr().err
    # A file that is missing for another reason is an error.
    row = dataclasses.replace(paper.rows[2], needs=None)
    monkeypatch.setattr(_runner, "find", lambda name: [(paper, row, "")])
    with pytest.raises(FileNotFoundError):
        _run("made_up/absent")


def test_smoke_stores_nothing(paper, capsys):
    _runner.smoke("made_up/plain", progress=False)
    assert "accuracy % 190" in capsys.readouterr().out
    assert not (paper.folder / "results").exists()
    assert not Path("runs").exists()


def test_a_result_of_other_settings_is_refused(paper):
    _run("made_up/plain", seeds=1)
    row = paper.rows[0]
    job = row.jobs(1)[0]
    path = result_file(paper, row, job)
    other = dataclasses.replace(job, config=Config(0, size=4))
    with pytest.raises(ValueError, match="size was 3, now 4. Run it with --again"):
        load(path, other)
    # Where it lies makes no difference, nor does a setting that came later.
    moved = dataclasses.replace(job, config=Config(0, output=Path("elsewhere")))
    assert load(path, moved)["row"] == "plain"
    stored = json.loads(path.read_text())
    del stored["config"]["later"]
    path.write_text(json.dumps(stored))
    assert load(path, job)["row"] == "plain"
    with pytest.raises(ValueError, match="later is 0.7, and was not there"):
        load(path, dataclasses.replace(job, config=Config(0, later=0.7)))
    path.write_text(path.read_text()[:-20])
    with pytest.raises(ValueError, match="seed0.json is damaged.*Remove it"):
        load(path, job)
    del stored["metrics"]
    path.write_text(json.dumps(stored))
    with pytest.raises(ValueError, match="it has no metrics"):
        lines(paper)
    path.rename(path.with_name("stray.json"))
    with pytest.raises(ValueError, match="stray.json is not a run of the row plain"):
        lines(paper)


def test_the_report_says_what_is_stored(paper, capsys):
    _run("made_up/plain", seeds=3)
    with pytest.raises(_CutOff):
        _run("made_up/groups/two")
    _run("made_up/groups/two", seeds=1)
    plain, two, absent = _json(paper)
    machine = plain.pop("machine")
    assert "cores of" in machine
    assert plain == {
        "paper": "made_up", "row": "plain", "group": "", "metric": "accuracy %",
        "paper_mean": 90.0, "paper_std": 0.5, "ours_mean": 91.0, "ours_std": 1.0,
        "seeds": 3, "verdict": "within",
    }  # fmt: skip
    assert (two["group"], two["seeds"], two["ours_std"]) == ("two", 1, None)
    assert (two["paper_mean"], two["verdict"]) == (None, "no figure")
    assert absent["verdict"] == "not run: needs SHD in <data>/shd"
    assert (absent["ours_mean"], absent["seeds"], absent["machine"]) == (None, 0, "")

    text = markdown(paper)
    row = (
        "| plain | accuracy % | 90.00 ± 0.50 (10) | 91.00 ± 1.00 (3) | +1.00 | within |"
    )
    assert row in text
    assert "| groups/two | accuracy % | unknown | 90.00 (1) |  | no figure |" in text
    assert "not run: needs SHD in &lt;data>/shd" in text
    assert "- absent, accuracy %: Table 3. Tolerance 2." in text
    assert "## plain\n\nruns: ['seed0', 'seed1', 'seed2']" in text
    assert text == markdown(paper)

    assert command_line.main(command_line.Report()) == 0
    assert (paper.folder / "RESULTS.md").read_text() == text
    capsys.readouterr()
    assert command_line.main(command_line.Report(json=True)) == 0
    printed = [json.loads(x) for x in capsys.readouterr().out.splitlines()]
    assert printed == _json(paper)
    assert command_line.main(command_line.List()) == 0
    assert "made_up/plain: the row plain\n    3 of 2 runs" in capsys.readouterr().out


@pytest.mark.parametrize(
    "values, std, tolerance, expected",
    [
        ([89.5], 0.5, 0.0, "within"),
        ([89.4], 0.5, 0.0, "below"),
        ([90.6], 0.5, 0.0, "above"),
        ([90.6], None, 0.6, "within"),
        ([90.0 + 0.1 + 0.2], 0.3, 0.0, "within"),  # but for rounding
        ([89.0, 91.0, 92.0], None, 0.0, "within"),  # twice the standard error is 1.8
        ([91.9, 92.0, 92.1], None, 0.0, "above"),
    ],
)
def test_the_verdict_follows_its_rule(values, std, tolerance, expected):
    target = Target("r", "m", "s", mean=90.0, std=std, tolerance=tolerance)
    assert verdict(target, summary(values)) == expected


def test_a_summary_is_that_of_a_sample():
    assert summary([1.0, 2.0, 6.0]) == Ours(3.0, pytest.approx(7.0**0.5), 3)
    assert summary([1.0]) == Ours(1.0, None, 1)


@pytest.mark.parametrize(
    "entry, text",
    [
        (
            'row="plain"\nmetric="m"\nsource="s"\nmean=1.0\npage=3',
            "unexpected .*'page'",
        ),
        ('row="plain"\nmetric="m"\nmean=1.0', "missing .*'source'"),
        ('row="no"\nmetric="m"\nsource="s"\nmean=1.0', "there is no row 'no'"),
        ('row="groups"\ngroup="x"\nmetric="m"\nsource="s"\nmean=1.0', "no group 'x'"),
        ('row="plain"\nmetric="m"\nsource="s"', "without a `mean` a `note`"),
        ('row="plain"\nmetric="accuracy %"\nsource="s"\nmean=1.0', "two of"),
    ],
)
def test_a_wrong_target_is_an_error(paper, entry, text):
    path = paper.folder / "targets.toml"
    path.write_text(f"{TARGETS}\n[[target]]\n{entry}\n")
    with pytest.raises(ValueError, match=f"target 4: .*{text}"):
        targets_of(paper)


def test_every_row_needs_a_target(paper):
    path = paper.folder / "targets.toml"
    path.write_text(TARGETS[: TARGETS.index('[[target]]\nrow = "absent"')])
    with pytest.raises(ValueError, match="there is no target of absent"):
        targets_of(paper)


def test_papers_are_found_by_their_folder(tmp_path, monkeypatch):
    folder = tmp_path / "paper_repro" / "other"
    folder.mkdir(parents=True)
    (folder / "targets.toml").write_text("")
    monkeypatch.setattr(_registry, "HERE", folder.parent)
    module = type(sys)("paper_repro.other")
    module.TITLE, module.ROWS = "another", ()  # pyright: ignore
    monkeypatch.setitem(sys.modules, "paper_repro.other", module)
    assert papers() == [Paper("other", "another", (), folder)]
    with pytest.raises(ValueError, match="no paper 'eventprop', only other"):
        find("eventprop/yin_yang")


def test_names_mean_whole_parts():
    row = _row("r", ["n1", "n16"])
    jobs = row.jobs(11)
    assert len(chosen(row, jobs, "n1")) == 11
    assert [x.path for x in chosen(row, jobs, "n1/seed1")] == ["n1/seed1"]
    assert len(chosen(row, jobs, "")) == 22
