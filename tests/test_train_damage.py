"""A checkpoint that is damaged, and a disk that is full."""

import contextlib
import resource
import shutil

import equinox as eqx
import jax.random as jr
import numpy as np
import optax
import pytest
from toy_training import assert_same, fit, make_arrays, make_network, RATE

import eventjax as ej


pytest.importorskip("orbax.checkpoint")

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


def _damaged_copies(saved, folder, kinds, rng):
    """Copies of a folder with one file of the newest checkpoint changed or gone, or a
    folder of it emptied or gone."""
    parts = sorted((saved / "6").rglob("*"))
    for part in parts:
        for kind in kinds:
            if part.is_dir() and kind is not None:
                continue
            copy = folder / f"{len(list(folder.iterdir()))}"
            shutil.copytree(saved, copy)
            file = copy / part.relative_to(saved)
            if part.is_dir():
                shutil.rmtree(file)
            elif kind is None:
                file.unlink()
            else:
                file.write_bytes(kind(file.read_bytes(), rng))
            yield copy, f"{part.relative_to(saved)}, {kind and kind.__name__}"
    copy = folder / "empty"
    shutil.copytree(saved, copy)
    shutil.rmtree(copy / "6")
    (copy / "6").mkdir()
    yield copy, "an empty folder"


@pytest.mark.parametrize(
    "kinds, seed",
    [
        ((_flip,), 0),
        ((None,), 1),
        pytest.param((*(_flip, _change) * 20, *(_cut,) * 5), 2, marks=pytest.mark.slow),
    ],
)
def test_damage_is_refused_or_does_not_matter(saved, whole, tmp_path, kinds, seed):
    rng = np.random.default_rng(seed)
    refused, harmless = [], []
    for copy, what in _damaged_copies(saved, tmp_path, kinds, rng):
        try:
            fitted = _fit(copy, 3)
        except ej.train.Failure as failure:
            text = f"The checkpoint {copy / '6'} is damaged: its notes|its arrays|`"
            assert str(failure).startswith(tuple(text.split("|")[:1])), what
            assert f"the one before it that is whole, {copy / '3'}." in str(failure)
            refused.append(what)
            shutil.rmtree(copy / "6")
            fitted = _fit(copy, 3)
        else:
            harmless.append(what)
        assert_same(fitted.model, whole.model)
        assert _without_seconds(fitted.history) == _without_seconds(whole.history)
        shutil.rmtree(copy)
        (tmp_path / f"{len(refused) + len(harmless) - 1}").mkdir(exist_ok=True)
    print(refused, harmless, sep="\n")
    assert any("notes/metadata" in what for what in refused)
    assert len(refused) >= len(harmless) / 2
