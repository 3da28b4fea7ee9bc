"""A checkpoint that is damaged, and a disk that is full."""

import contextlib
import re
import shutil

import equinox as eqx
import jax.random as jr
import numpy as np
import optax
import pytest
from toy_training import assert_same, fit, make_arrays, make_network, RATE

import eventjax as ej


pytest.importorskip("orbax.checkpoint")
resource = pytest.importorskip("resource")  # not on Windows

# Orbax reads many arrays at once and, if one fails, does not wait for the others.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)

OPTIMISER = optax.adam(RATE)


def _model():
    """With a leaf so large that it fills most of its file, and does not compress."""
    where, noise = lambda n: n.layers[1].neuron.v_reset, jr.uniform(jr.key(1), (3, 999))
    return eqx.tree_at(where, make_network(), noise)


def _fit(folder, epochs, **settings):
    settings = dict(checkpoints=folder, optimiser=OPTIMISER) | settings
    return fit(_model(), make_arrays(), epochs=epochs, **settings)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Checkpoints of steps 3 and 6."""
    folder = tmp_path_factory.mktemp("saved")
    _fit(folder, 2)
    return folder


@pytest.fixture(scope="module")
def whole():
    return _fit(None, 3)


def _without_seconds(rows):
    return [{**row, "seconds": 0} for row in rows]


def _flip(content, rng):
    where = rng.integers(len(content))
    new = bytes([content[where] ^ (1 << rng.integers(8))])
    return content[:where] + new + content[where + 1 :]


def _change(content, rng):
    where = rng.integers(len(content))
    new = bytes([(content[where] + rng.integers(1, 256)) % 256])
    return content[:where] + new + content[where + 1 :]


def _cut(content, rng):
    return content[: rng.integers(len(content))]


def _empty(content, rng):
    return b""


def _remove(path):
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _damage(path, rng):
    change = [None, _flip, _change, _cut, _empty][rng.integers(5)]
    if path.is_dir() or change is None:
        _remove(path)
    else:
        path.write_bytes(change(path.read_bytes(), rng))


# It says what is damaged, and what to do.
_DAMAGED = (
    "The checkpoint {folder}/6 is damaged: {what}.*remove this folder to go on from the "
    "one before it that is whole, {folder}/3\\."
)


def _try_all_parts(saved, whole, folder, rng, times):
    """Damage each file and folder of the newest checkpoint, one at a time.

    **Returns:** what was refused, and what does not matter.
    """
    refused, harmless = [], []
    for part in sorted((saved / "6").rglob("*")):
        for _ in range(1 if part.is_dir() else times):
            shutil.copytree(saved, folder)
            _damage(folder / part.relative_to(saved), rng)
            try:
                fitted, outcome = _fit(folder, 3), harmless
            except ej.train.Failure as failure:
                text = _DAMAGED.format(folder=folder, what="(its notes|its arrays|`)")
                assert re.match(text, str(failure))
                shutil.rmtree(folder / "6")
                fitted, outcome = _fit(folder, 3), refused
            assert_same(fitted.model, whole.model)
            assert _without_seconds(fitted.history) == _without_seconds(whole.history)
            outcome.append(part.relative_to(saved / "6").as_posix())
            shutil.rmtree(folder)
    return refused, harmless


def test_damage_is_refused_or_does_not_matter(saved, whole, tmp_path):
    rng = np.random.default_rng(0)
    refused, _ = _try_all_parts(saved, whole, tmp_path / "copy", rng, 1)
    assert {"arrays", "arrays/d", "notes"} <= set(refused)


@pytest.mark.slow
def test_much_damage_is_refused_or_does_not_matter(saved, whole, tmp_path):
    rng = np.random.default_rng(1)
    refused, harmless = _try_all_parts(saved, whole, tmp_path / "copy", rng, 20)
    print(f"{len(refused)} refused, {len(harmless)} did not matter:", set(harmless))
    assert refused.count("notes/metadata") > 15
    assert len(refused) > 60
    assert len(harmless) > 0


def _cut_short(content):
    return content[: len(content) // 2]


def _flip_a_bit(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def _other_step(content):
    return content.replace(b'"step": 6', b'"step": 5')


@pytest.mark.parametrize(
    "file, change, text",
    [
        ("notes/metadata", _cut_short, "its notes cannot be read"),
        ("notes/metadata", _other_step, "its notes do not have their checksum"),
        ("arrays/_METADATA", _cut_short, "its arrays cannot be read"),
        ("arrays/*/d/*", _flip_a_bit, "`model.* does not have its checksum"),
    ],
)
def test_a_damaged_checkpoint_is_an_error(saved, tmp_path, file, change, text):
    folder = tmp_path / "copy"
    shutil.copytree(saved, folder)
    largest = max((folder / "6").glob(file), key=lambda path: path.stat().st_size)
    assert change(largest.read_bytes()) != largest.read_bytes()
    largest.write_bytes(change(largest.read_bytes()))
    with pytest.raises(
        ej.train.Failure, match=_DAMAGED.format(folder=folder, what=text)
    ):
        _fit(folder, 3)


def test_checkpoints_without_a_whole_one_are_refused(saved, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(saved, folder)
    for name in ("3", "6"):
        shutil.rmtree(folder / name)
        (folder / name).mkdir()
    text = (
        "6 is damaged: its notes cannot be read.*from the start, as there is no whole"
    )
    with pytest.raises(ej.train.Failure, match=text):
        _fit(folder, 3)


def test_what_another_program_has_saved_is_refused(tmp_path):
    ocp = pytest.importorskip("orbax.checkpoint")
    with ocp.CheckpointManager(tmp_path) as manager:
        items = ocp.args.Composite(state=ocp.args.StandardSave({"x": np.ones(3)}))
        manager.save(4, args=items)
    with pytest.raises(
        ej.train.Failure, match="4 is damaged: its notes cannot be read"
    ):
        _fit(tmp_path, 3)


@contextlib.contextmanager
def _no_room_for_more_than(size):
    """No file can grow beyond `size` bytes, as on a disk that is full: the write fails
    with an error of the operating system, in part done. Needs no rights and no disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_loses_nothing_that_is_saved(saved, whole, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(saved, folder)
    text = f"{folder}/9 could not be written: .*\n.*there is room in {folder}"
    with _no_room_for_more_than(10_000):
        with pytest.raises(ej.train.Failure, match=text):
            _fit(folder, 5, keep=1)
        assert {"3", "6"} <= {path.name for path in folder.iterdir()}
    again = _fit(folder, 3, keep=1)  # there is room now
    assert_same(again.model, whole.model)
    assert _without_seconds(again.history) == _without_seconds(whole.history)
    assert [path.name for path in folder.iterdir()] == ["9"]


def test_a_full_disk_leaves_results_as_they_were(tmp_path):
    noise = np.random.default_rng(0).normal(size=9999)
    ej.train.save_json(tmp_path / "a.json", {"run": 1})
    ej.train.save_arrays(tmp_path / "a.npz", run=1)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with _no_room_for_more_than(10_000):
        for name in ("a", "b"):
            with pytest.raises(OSError, match="large") as error:
                ej.train.save_json(tmp_path / f"{name}.json", {"values": noise})
            assert f"{name}.json could not be written" in error.value.__notes__[0]
            with pytest.raises(OSError, match="large"):
                ej.train.save_arrays(tmp_path / f"{name}.npz", values=noise)
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert after == before
