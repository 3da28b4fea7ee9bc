import json
import sys

import numpy as np
import pytest

import eventjax as ej


pytest.importorskip("matplotlib")


def _results(path):
    history = [
        {
            "epoch": k,
            "train_loss": 1.0 / k,
            "validation_loss": None if k == 2 else 1.1 / k,
            "train_accuracy": 1 - 0.5 / k,
            "validation_accuracy": 1 - 0.6 / k,
            "spikes_per_sample": [20.0 + k, 5.0, None],
            "dead_fraction": [0.1, 0.0, None],
        }
        for k in range(1, 5)
    ]
    results = {
        "history": history,
        "selection": {"epoch": 4},
        "test": {"accuracy": 0.85},
    }
    path.write_text(json.dumps(results))
    return path


def _arrays(path):
    rng = np.random.default_rng(0)
    times = np.sort(rng.uniform(0, 30, (2, 12)), axis=-1)
    times[:, -2:] = np.inf
    x = np.linspace(0, 1, 9)
    plane = np.hypot(*np.meshgrid(x, x))[..., None] + np.array([0.0, 0.3, 0.1])
    plane[0, 0], plane[3, 3, 1] = np.nan, np.inf
    np.savez(
        path,
        sizes=[5, 20, 3],
        **{f"times_{k}": times for k in range(3)},
        **{
            f"sources_{k}": rng.integers(0, n, (2, 12))
            for k, n in enumerate((5, 20, 3))
        },
        voltage_times=np.linspace(0, 30, 20),
        voltages=rng.uniform(0, 1, (2, 20, 3)),
        voltage_spikes=np.array([[3.0, np.inf, 20.0]] * 2),
        threshold=1.0,
        label=np.array([0, 2]),
        map_x=x,
        map_y=x,
        map_times=plane,
        points=rng.uniform(0, 1, (10, 2)),
        labels=rng.integers(0, 3, 10),
        points_correct=np.arange(10) > 2,
    )
    return path


PLOTS = {
    "learning_curve": ("results.json", 3),
    "raster": ("arrays.npz", 3),
    "voltage": ("arrays.npz", 1),
    "spike_time_map": ("arrays.npz", 5),  # with the colour bar
}


@pytest.fixture
def folder(tmp_path):
    _results(tmp_path / "results.json")
    _arrays(tmp_path / "arrays.npz")
    return tmp_path


@pytest.mark.parametrize("name", PLOTS)
def test_a_figure_is_returned_and_saved(folder, name):
    file, panels = PLOTS[name]
    before = set(folder.iterdir())
    saved = folder / "pictures" / f"{name}.png"
    figure = getattr(ej.plot, name)(folder / file, save=saved)
    assert len(figure.axes) == panels
    assert any(axes.get_xlabel() for axes in figure.axes)
    assert all(axes.get_ylabel() for axes in figure.axes[:1])
    assert saved.read_bytes().startswith(b"\x89PNG")
    assert list(saved.parent.iterdir()) == [saved]
    assert set(folder.iterdir()) - before == {saved.parent}
    assert "matplotlib.pyplot" not in sys.modules


def test_the_plot_shows_the_numbers(folder):
    figure = ej.plot.learning_curve(folder / "results.json")
    loss, error, _ = figure.axes
    np.testing.assert_allclose(loss.lines[0].get_ydata(), [1, 1 / 2, 1 / 3, 1 / 4])
    np.testing.assert_allclose(error.lines[-1].get_ydata(), 15.0)
    figure = ej.plot.voltage(folder / "arrays.npz", sample=1)
    with np.load(folder / "arrays.npz") as stored:
        traces = [line.get_ydata() for line in figure.axes[0].lines[:3]]
        np.testing.assert_array_equal(traces, stored["voltages"][1].T)


def test_files_that_do_not_fit_are_an_error(folder):
    (folder / "other.json").write_text("{}")
    with pytest.raises(ValueError, match="no `history`"):
        ej.plot.learning_curve(folder / "other.json")
    np.savez(folder / "other.npz", times_0=np.zeros((1, 2)))
    with pytest.raises(ValueError, match="no `sizes`, `sources_0`, only times_0"):
        ej.plot.raster(folder / "other.npz")
    with pytest.raises(ValueError, match="`map_x`"):
        ej.plot.spike_time_map(folder / "other.npz")
    for plot in (ej.plot.raster, ej.plot.voltage):
        with pytest.raises(ValueError, match="`sample` must lie in 0 to 1, got 2"):
            plot(folder / "arrays.npz", sample=2)
