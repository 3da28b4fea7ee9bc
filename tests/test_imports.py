"""The house's rules on imports and paths, checked on the source itself."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest


ROOT = Path(__file__).resolve().parent.parent

# Small helpers: anything may import them, they import no room.
SHARED = ["_misc", "_types"]
# A room may import from those that come before it here, never from those after it.
ROOMS = """
    _spikes _solution
    _neuron _connection
    _network _first_spike_network
    surrogates masks weightings feedback
    _solver
    _adjoint
    _layer_arrivals _layer_problem _checks _given _layer_outcome
    _clocked_currents _run_clocked _run_readout _run_density _run_layer _run_traces
    _simulate _simulate_first_spikes
    losses init encoders
    graded
    equilibrium train
    plot data decoding interop
""".split()

EXTRAS = """
    array_record beartype h5py importlib_resources jiwer matplotlib nir orbax PIL rich
    soundfile tensorflow_datasets tyro
""".split()


def _modules_imported(path: Path, root: Path) -> list[str]:
    """Full names of what a file imports, wherever in the file it does so.

    `from a import b` counts as `a.b`: whether `b` is a module or a name makes no
    difference to the rules below.
    """
    package = path.relative_to(root).parent.parts
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = package[: len(package) + 1 - node.level] if node.level else ()
            base = ".".join([*parts, *([node.module] if node.module else [])])
            names += [f"{base}.{alias.name}" for alias in node.names]
    return names


def _wrong_way_imports(root: Path) -> tuple[int, list[str]]:
    """Number of imports between modules of eventjax, and those against the order."""
    order = [*SHARED, *ROOMS]
    seen, wrong = 0, []
    for path in sorted((root / "eventjax").rglob("*.py")):
        room = path.relative_to(root / "eventjax").parts[0].removesuffix(".py")
        if room == "__init__":
            continue  # the one place that gathers everything
        where = path.relative_to(root).as_posix()
        if room not in order:
            wrong.append(f"{where}: give `{room}` a place in ROOMS")
            continue
        for name in _modules_imported(path, root):
            package, _, rest = name.partition(".")
            if package != "eventjax":
                continue
            seen += 1
            target = rest.partition(".")[0]
            if target not in order:
                wrong.append(f"{where}: `{name}`; import from the room that has it")
            elif order.index(target) > order.index(room):
                wrong.append(f"{where}: `{name}` comes after `{room}`")
    return seen, wrong


def _private_uses(root: Path, folder: str) -> tuple[int, list[str]]:
    """Number of imports of eventjax in a folder, and uses of what is private in it."""
    seen, wrong = 0, []
    for path in sorted((root / folder).rglob("*.py")):
        where = path.relative_to(root).as_posix()
        for name in _modules_imported(path, root):
            package, *rest = name.split(".")
            if package == "eventjax":
                seen += 1
                if any(part.startswith("_") for part in rest):
                    wrong.append(f"{where}: `{name}`")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and re.match(r"_[^_]", node.attr):
                chain = ast.unparse(node).split(".")
                if chain[0] in ("ej", "eventjax"):
                    wrong.append(f"{where}: `{'.'.join(chain)}`")
    return seen, wrong


def test_imports_run_one_way():
    seen, wrong = _wrong_way_imports(ROOT)
    assert seen > 0
    assert wrong == []


@pytest.mark.parametrize(
    "file, line",
    [
        ("_neuron/_lif.py", "from .._simulate import simulate"),
        ("_neuron/_lif.py", "from eventjax._network import Layer"),
        ("_solver/_closed_form.py", "import eventjax.losses"),
        ("_spikes.py", "from ._solution import Solution"),
        ("losses/_rate.py", "from .. import train"),
        ("losses/_rate.py", "from .. import LIF"),
        ("_adjoint/_direct.py", "def late():\n    from .._simulate import simulate"),
        ("_misc.py", "from ._spikes import Spikes"),
        ("_unknown.py", ""),
    ],
)
def test_a_wrong_import_is_seen(tmp_path, file, line):
    path = tmp_path / "eventjax" / file
    path.parent.mkdir(parents=True)
    path.write_text(line)
    _, wrong = _wrong_way_imports(tmp_path)
    assert len(wrong) == 1


@pytest.mark.parametrize(
    "file, line",
    [
        ("_simulate.py", "from ._solver import ClosedForm"),
        ("_neuron/_lif.py", "from ._base import AbstractNeuron"),
        ("_neuron/_lif.py", "from .._misc import exprel"),
        ("train/_fit.py", "from eventjax.losses import rate"),
    ],
)
def test_a_right_import_passes(tmp_path, file, line):
    path = tmp_path / "eventjax" / file
    path.parent.mkdir(parents=True)
    path.write_text(line)
    assert _wrong_way_imports(tmp_path) == (1, [])


@pytest.mark.parametrize("folder", ["experiments", "paper_repro"])
def test_users_of_the_library_stay_public(folder):
    seen, wrong = _private_uses(ROOT, folder)
    assert seen > 0 or not (ROOT / folder).exists()
    assert wrong == []


@pytest.mark.parametrize(
    "line",
    [
        "from eventjax._simulate import simulate",
        "from eventjax import _simulate",
        "import eventjax as ej\n\nej._simulate.simulate",
        "import eventjax as ej\n\nej.losses._rate",
    ],
)
def test_a_private_use_is_seen(tmp_path, line):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "demo.py").write_text(line)
    seen, wrong = _private_uses(tmp_path, "experiments")
    assert seen == 1
    assert len(wrong) == 1


def test_import_needs_no_extra():
    code = f"""
import sys
import eventjax
print(*sorted(set({EXTRAS}) & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_no_machine_paths():
    pattern = re.compile(r"(?<![\w.])/(?:work|tmp|root)/")
    folders = [".ci", "docs", "eventjax", "experiments", "paper_repro", "tests"]
    files = [path for path in ROOT.iterdir() if path.is_file()]
    files += [path for folder in folders for path in (ROOT / folder).rglob("*")]
    read, found = 0, []
    for path in files:
        try:
            text = path.read_text(encoding="utf-8")
        except (UnicodeDecodeError, OSError):
            continue  # pictures, arrays, folders
        read += 1
        if pattern.search(text):
            found.append(path.relative_to(ROOT).as_posix())
    assert read > 10
    assert found == []
