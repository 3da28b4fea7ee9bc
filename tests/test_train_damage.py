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


def _do(kind, path, rng):
    """Damage a file or folder; without a kind it is removed."""
    if kind is not None:
        path.write_bytes(kind(path.read_bytes(), rng))
    elif path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _try_all(saved, whole, folder, kinds, rng):
    """Damage each part of the newest checkpoint in each way.

    **Returns:** which damages were refused, and which did not matter.
    """
    refused, harmless = [], []
    for part in sorted((saved / "6").rglob("*")):
        for kind in [None] if part.is_dir() else kinds:
            shutil.copytree(saved, folder)
            _do(kind, folder / part.relative_to(saved), rng)
            try:
                fitted, outcome = _fit(folder, 3), harmless
            except ej.train.Failure as failure:
                # It says what is damaged and what to do; that done, training goes on.
                assert re.match(_DAMAGED.format(folder=folder), str(failure))
                shutil.rmtree(folder / "6")
                fitted, outcome = _fit(folder, 3), refused
            assert_same(fitted.model, whole.model)
            assert _without_seconds(fitted.history) == _without_seconds(whole.history)
            outcome.append(part.relative_to(saved / "6").as_posix())
            shutil.rmtree(folder)
    return refused, harmless


_DAMAGED = (
    "The checkpoint {folder}/6 is damaged: (its notes|its arrays|`).*remove this folder "
    "to go on from the one before it that is whole, {folder}/3\\."
)


def test_a_changed_byte_is_refused_or_does_not_matter(saved, whole, tmp_path):
    rng = np.random.default_rng(0)
    refused, _ = _try_all(saved, whole, tmp_path / "copy", [_flip], rng)
    assert "notes/metadata" in refused
    assert any(name.startswith("arrays/ocdbt.process_0/d/") for name in refused)


def test_what_is_cut_short_or_missing_is_refused_or_does_not_matter(
    saved, whole, tmp_path
):
    rng = np.random.default_rng(1)
    refused, harmless = _try_all(saved, whole, tmp_path / "copy", [None, _cut], rng)
    assert {"notes", "arrays", "notes/metadata", "arrays/_METADATA"} <= set(refused)
    assert not any(name in harmless for name in ("notes/metadata", "arrays/_METADATA"))


@pytest.mark.slow
def test_much_damage_is_refused_or_does_not_matter(saved, whole, tmp_path):
    rng = np.random.default_rng(2)
    kinds = [*[_flip, _change] * 20, *[_cut] * 5, _empty, None]
    refused, harmless = _try_all(saved, whole, tmp_path / "copy", kinds, rng)
    assert refused.count("notes/metadata") >= 40
    assert len(refused) > 100
    assert len(harmless) > 0


def test_checkpoints_without_a_whole_one_are_refused(saved, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(saved, folder)
    for name in ("3", "6"):
        shutil.rmtree(folder / name)
        (folder / name).mkdir()
    text = "6 is damaged: its notes cannot be read.*from the start, as there is no whole"
    with pytest.raises(ej.train.Failure, match=text):
        _fit(folder, 3)


def test_what_another_program_has_saved_is_refused(tmp_path):
    ocp = pytest.importorskip("orbax.checkpoint")
    with ocp.CheckpointManager(tmp_path) as manager:
        items = ocp.args.Composite(state=ocp.args.StandardSave({"x": np.ones(3)}))
        manager.save(4, args=items)
    with pytest.raises(ej.train.Failure, match="4 is damaged: its notes cannot be read"):
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
