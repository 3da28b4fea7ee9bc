"""The code of all pages and of the README is run as it stands; figures are those stored.

Blocks of a page share a name space. They run in float64, with rank promotion and
warnings as errors; only JAX's dtype promotion is the standard one, since optax counts its
steps in integers.
"""

import ast
import importlib.util
import json
import re
import shlex
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eventjax as ej
from paper_repro._registry import find


ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.rglob("*.md")])
MEASURED = ROOT / "experiments/benchmark/results"


def blocks(page: Path, *languages: str) -> list[str]:
    pattern = rf"^```(?:{'|'.join(languages)})\n(.*?)^```"
    return re.findall(
        pattern, page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


WITH_CODE = [page for page in PAGES if blocks(page, "python")]
WITH_SHELL = [page for page in PAGES if blocks(page, "bash", "sh")]


@pytest.mark.parametrize("page", WITH_CODE, ids=name_of)
def test_code(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = "\n".join(blocks(page, "python"))
    names: dict = {"__name__": "page"}
    with jax.numpy_dtype_promotion("standard"):
        exec(compile(code, str(page), "exec"), names)  # noqa: S102
        CHECKS.get(name_of(page), lambda names: None)(names)


def check_first_network(names):
    assert names["accuracy"] > 0.9
    assert names["history"][-1] < 0.4 * names["history"][0]
    assert Path("first_network.png").stat().st_size > 10_000


def check_own_loss(names):
    assert np.mean(names["losses"][-5:]) < 0.5 * names["losses"][0]
    before, after = names["before"], names["network"].layers[0].neuron
    for name in ("tau_mem", "tau_syn", "v_threshold"):
        assert not jnp.allclose(getattr(before, name), getattr(after, name))

    # The Hessian is that of the gradient's differences.
    weight = names["network"].layers[0].connection.weight
    gradient = jax.jit(jax.grad(names["latest"]))
    direction = jnp.ones_like(weight)
    h = 1e-5
    change = gradient(weight + h * direction) - gradient(weight - h * direction)
    hessian = names["hessian"].reshape(8, 8)
    expected = (hessian @ direction.reshape(8)).reshape(4, 2)
    assert jnp.linalg.norm(hessian) > 1
    np.testing.assert_allclose(change / (2 * h), expected, rtol=1e-5, atol=1e-6)


def check_own_neuron(names):
    losses = names["losses"]
    assert losses[0] > 0.15**2
    assert losses[-1] < 0.02**2

    # The same network on a time grid fires about as often.
    network, spikes, t1 = (names[x] for x in ("network", "spikes", "t1"))
    exact = ej.simulate(network, spikes, t1, solver=names["solver"]).num_spikes[0]
    clocked = dict(solver=ej.Clocked(0.1), adjoint=ej.Surrogate())
    on_grid = ej.simulate(network, spikes, t1, **clocked).num_spikes[0]
    assert exact.sum() > 30
    np.testing.assert_allclose(on_grid.sum(), exact.sum(), rtol=0.1)


def check_equilibrium(names):
    assert names["losses"][-1] < 0.3 * names["losses"][0]


def check_paper_to_row(names):
    row, config = names["ROW"], names["Config"]
    (tiny,) = row.smoke(Path("data"))
    assert row.train(tiny.config, names["Where"](Path("runs")))["metrics"]
    assert [job.config for job in row.jobs(2)] == [config(seed=0), config(seed=1)]
    assert 50 < names["ours"].mean < 80


def check_nir(names):
    before, after = names["before"], names["after"]
    assert before.num_spikes[0] >= 20
    np.testing.assert_allclose(before.spikes[0].times, after.spikes[0].times, rtol=1e-9)
    np.testing.assert_array_equal(before.spikes[0].sources, after.spikes[0].sources)


def check_many_devices(names):
    assert len(names["fitted"].history) == 2
    assert names["difference"] < 1e-12


CHECKS = {
    "docs/getting_started.md": check_first_network,
    "docs/prototype.md": check_own_loss,
    "docs/own_neuron.md": check_own_neuron,
    "docs/api/equilibrium.md": check_equilibrium,
    "docs/paper_to_row.md": check_paper_to_row,
    "docs/nir.md": check_nir,
    "docs/many_devices.md": check_many_devices,
}


def test_checks_belong_to_pages():
    assert CHECKS.keys() <= {name_of(page) for page in WITH_CODE}


def commands(page: Path) -> list[list[str]]:
    """Of all shell blocks, without comments."""
    text = "\n".join(blocks(page, "bash", "sh")).replace("\\\n", " ")
    return [x for x in (shlex.split(y, comments=True) for y in text.splitlines()) if x]


@pytest.mark.parametrize("page", WITH_SHELL, ids=name_of)
def test_commands_exist(page):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    extras = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for words in commands(page):
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE), words
        elif words[:2] == ["python", "-m"]:
            assert importlib.util.find_spec(words[2]), words
            if words[2:4] == ["paper_repro", "run"]:
                assert list(find(words[4])), words
        elif words[:2] == ["pip", "install"]:
            for extra in re.findall(r"\[(.*)\]", words[-1]):
                assert all(f"\n{x} = [" in extras for x in extra.split(",")), words


def measured(workload: str, how: str) -> dict:
    """The stored row of a library. Rows of one name and another note come later."""
    stored = json.loads((MEASURED / f"{workload}-cpu.json").read_text(encoding="utf-8"))
    keys = ("library", "form", "who")
    (row, *_) = [
        x
        for x in stored["rows"]
        if how in (x.get(k) for k in keys) and x.get("what") != "memory"
    ]
    return row


def is_rounded(cell: str, value: float) -> bool:
    digits = len(cell.partition(".")[2])
    return f"{value:.{digits}f}" == cell


@pytest.mark.parametrize("page", ["choosing.md", "peers.md"])
def test_figures_are_those_stored(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    rows = re.findall(r"^\| (W\w+) \| (.*?) \| ([\d.]+) \| ([\d.]+) \|$", text, re.M)
    assert len(rows) >= 10
    for workload, how, grad, memory in rows:
        row = measured(workload, how)
        assert is_rounded(grad, row["grad_ms"]), (workload, how, row["grad_ms"])
        assert is_rounded(memory, row["peak_mb"]), (workload, how, row["peak_mb"])


def test_other_figures_are_those_stored():
    text = (DOCS / "choosing.md").read_text(encoding="utf-8")
    for file, count in (("pictures", 4), ("eprop", 3)):
        stored = json.loads((MEASURED / f"{file}-cpu.json").read_text(encoding="utf-8"))
        names = {x.get("form") or x.get("who") for x in stored["rows"]}
        found = re.findall(r"^\| (.*?) \| ([\d.]+) \|(?: (\d+) \|)?$", text, re.M)
        found = [x for x in found if x[0] in names]
        assert len(found) == count
        for name, grad, memory in found:
            row = measured(file, name)
            assert is_rounded(grad, row["grad_ms"]), name
            assert not memory or is_rounded(memory, row["peak_mb"]), name

    stored = json.loads((MEASURED / "scaling-W2-cpu.json").read_text(encoding="utf-8"))
    ours, grid = [x for x in stored["summary"] if x["series"] == "spikes"]
    for k in (0, 1):
        row = re.search(rf"^\| {ours['x'][k]:.0f} \| (.*) \|$", text, re.M)
        assert row is not None
        values = ours["grad_ms"], grid["grad_ms"], ours["peak_mb"], grid["peak_mb"]
        for cell, value in zip(row[1].split(" | "), values, strict=True):
            assert is_rounded(cell, value[k])


def public_names() -> list[str]:
    """What `eventjax/__init__.py` re-exports, and its rooms."""
    tree = ast.parse((ROOT / "eventjax/__init__.py").read_text(encoding="utf-8"))
    imports = [x for x in tree.body if isinstance(x, ast.ImportFrom)]
    return [x.name for y in imports for x in y.names] + ["train", "plot"]


def test_public_names_are_in_the_docs():
    text = "\n".join(x.read_text(encoding="utf-8") for x in (DOCS / "api").glob("*.md"))
    shown = set(re.findall(r"^::: eventjax\.(\w+)$", text, re.MULTILINE))
    assert set(public_names()) - shown == set()


def test_named_tests_exist():
    tests = "\n".join(x.read_text() for x in (ROOT / "tests").glob("test_*.py"))
    text = (DOCS / "exactness.md").read_text(encoding="utf-8")
    assert (files := re.findall(r"`(tests/test_\w+\.py)`", text))
    assert all((ROOT / x).exists() for x in files)
    assert all(f"def {x}(" in tests for x in re.findall(r"`(test_\w+)`", text))
