"""Training on several devices is training on one, to rounding."""

import dataclasses
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from exact_training import (
    BATCH as EXACT_BATCH,
    exact_batches,
    exact_loss,
    exact_network,
)
from jax.sharding import Mesh, SingleDeviceSharding
from toy_training import (
    assert_same,
    BATCH,
    fit,
    loss_fn,
    make_arrays,
    make_network,
    OPTIMISER,
    rows_of,
    validation,
)

import eventjax as ej


TWO = jax.devices()[:2]

# An optimiser that changes nothing; its state is the gradient.
KEEP_GRADIENT = optax.GradientTransformation(
    lambda params: jax.tree.map(jnp.zeros_like, params),
    lambda grads, state, params=None: (jax.tree.map(jnp.zeros_like, grads), grads),
)


def assert_close(one, two, rtol=1e-12):
    assert jax.tree.structure(one) == jax.tree.structure(two)
    for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(two)):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=1e-14)


def _without_seconds(rows):
    return [{**row, "seconds": 0} for row in rows]


def _gradient(loss, network, batch, devices):
    network = jax.tree.map(jnp.copy, network)
    state = KEEP_GRADIENT.init(eqx.filter(network, eqx.is_inexact_array))
    step = ej.train.make_step(loss, KEEP_GRADIENT, devices=devices)
    report, network, state = step((batch, jr.key(0)), network, state)
    return report, state


@pytest.mark.parametrize("exact", [True, False])
def test_the_gradient_is_that_of_one_device(exact):
    if exact:
        loss, network = exact_loss, exact_network()
        batch = next(exact_batches().epoch(0))
    else:
        loss, network = loss_fn, make_network()
        batch = {name: x[:BATCH] for name, x in make_arrays().items()}
    one, two = (_gradient(loss, network, batch, devices) for devices in (None, TWO))
    assert len(one[0].result._value) == (EXACT_BATCH if exact else BATCH)
    assert int(one[0].needed[0]) > 0
    # All of the report: which sample went how, what was needed, sums and counts.
    assert_close(*(jax.tree.map(np.asarray, x) for x in (one, two)))
    norms = [float(jnp.linalg.norm(x)) for x in jax.tree.leaves(one[1]) if x.ndim == 2]
    assert norms and min(norms) > 0


def test_a_run_is_that_on_one_device_full_buffers_included(tmp_path):
    arrays, settings = make_arrays(), dict(validation=validation, select_best="loss")
    network = make_network(capacity=4)
    runs, logs = [], []
    for devices in (None, TWO):
        with ej.train.MetricsLog(tmp_path / f"{len(runs)}.jsonl") as log:
            runs.append(fit(network, arrays, log=log, epochs=4, devices=devices,
                            **settings))  # fmt: skip
        logs.append(rows_of(log.path))
    one, two = runs
    assert_close(two.model, one.model)
    assert (two.epoch, two.selection) == (one.epoch, one.selection)
    assert_close(*(_without_seconds(x.history) for x in (two, one)))
    # The model handed in is left alone, and the one that comes back is on one device.
    assert_same(network, make_network(capacity=4))
    for leaf in jax.tree.leaves(eqx.filter(two.model, eqx.is_array)):
        assert isinstance(leaf.sharding, SingleDeviceSharding)

    first, *rows = logs[1]
    assert first == {"event": "devices", "step": 0, "number": 2}
    grown = [x["after"] for x in rows if x["event"] == "capacity_doubled"]
    assert grown and grown == [row["after"] for row in logs[0] if "after" in row]

    means = [
        ej.train.evaluate(one.model, loss_fn, validation(), devices=devices)
        for devices in (None, TWO)
    ]
    assert_close(*means)


def _fails(network, batch, key):
    """Where a sample's factor is not a number."""
    losses, sol, metrics = loss_fn(network, batch, key)
    code = ej.RESULTS.no_convergence._value
    codes = jnp.where(jnp.isnan(batch["factor"]), code, sol.result._value)
    return losses, eqx.tree_at(lambda s: s.result._value, sol, codes), metrics


@pytest.mark.parametrize("place", [1, 2])
def test_a_fault_on_any_device_is_everyones(place):
    arrays = make_arrays()
    arrays["factor"][[place, 4 + place]] = np.nan
    one, two = (fit(make_network(), arrays, devices=x) for x in (None, TWO))
    assert [row["skipped"] for row in two.history] == [
        row["skipped"] for row in one.history
    ]
    assert two.history[0]["skipped"] > 0
    assert_close(two.model, one.model)

    text = f"could not take a step.*2 of 12 samples, the first is {place}"
    with pytest.raises(ej.train.Failure, match=f"(?s){text}"):
        batches = [(arrays, np.ones(12, bool))]
        ej.train.evaluate(make_network(), _fails, batches, devices=TWO)


def _noisy(network, batch, key):
    """With the noise of each sample among the metrics."""
    losses, sol, metrics = loss_fn(network, batch, key)
    if key is not None:
        noise = jr.uniform(key, losses.shape)
        metrics = metrics | {"noise": noise, "square": noise**2}
    return losses, sol, metrics


def test_each_device_has_random_numbers_of_its_own():
    batch = {name: x[:BATCH] for name, x in make_arrays().items()}
    key, sums = jr.key(3), {}
    step_of = lambda devices: ej.train.make_step(_noisy, OPTIMISER, devices=devices)
    for name, devices in {"one": TWO[1:], "two": TWO}.items():
        network = make_network()
        state = OPTIMISER.init(eqx.filter(network, eqx.is_inexact_array))
        report, *_ = step_of(devices)((batch, key), network, state)
        sums[name] = [float(report.metrics[x]) for x in ("noise", "square")]
    whole = jr.uniform(key, (BATCH,))
    halves = jnp.concatenate(
        [jr.uniform(jr.fold_in(key, k), (BATCH // 2,)) for k in range(2)]
    )
    for name, noise in {"one": whole, "two": halves}.items():
        expected = [float(jnp.sum(noise)), float(jnp.sum(noise**2))]
        np.testing.assert_allclose(sums[name], expected, rtol=1e-12)


def test_the_step_is_compiled_once():
    traces = []

    def counting(network, batch, key):
        traces.append(key)
        return loss_fn(network, batch, key)

    optimiser = optax.chain(OPTIMISER, ej.train.plateau("train_loss", patience=0))
    fit(make_network(), make_arrays(), loss=counting, epochs=3, optimiser=optimiser,
        devices=TWO)  # fmt: skip
    assert len(traces) == 1


@dataclasses.dataclass(frozen=True)
class _Breaking:
    """Batches whose second epoch fails."""

    batches: ej.data.Batches

    def __len__(self):
        return len(self.batches)

    def epoch(self, number):
        if number == 1:
            raise KeyboardInterrupt
        return self.batches.epoch(number)


def test_a_run_resumes_on_any_number_of_devices(tmp_path):
    pytest.importorskip("orbax.checkpoint")
    noise = optax.add_noise(0.01, 0.5, jr.key(5))  # its state has a random key
    optimiser = optax.chain(noise, OPTIMISER)
    settings = dict(optimiser=optimiser, select_best="loss", select_on="train")
    whole = fit(make_network(), make_arrays(), epochs=4, devices=TWO, **settings)
    folder, log = tmp_path / "states", tmp_path / "log.jsonl"
    for devices, epochs in [(TWO, 1), (None, 2), (TWO, 4)]:
        with ej.train.MetricsLog(log) as file:
            again = fit(make_network(), make_arrays(), epochs=epochs, log=file,
                        devices=devices, checkpoints=folder, **settings)  # fmt: skip
    assert_close(again.model, whole.model)
    assert again.epoch == whole.epoch
    numbers = [x["number"] for x in rows_of(log) if x["event"] == "devices"]
    assert numbers == [2, 1, 2]
    assert_close(*(_without_seconds(x.history) for x in (again, whole)))

    same = tmp_path / "same"
    for epochs in (2, 4):
        again = fit(make_network(), make_arrays(), epochs=epochs, devices=TWO,
                    checkpoints=same, **settings)  # fmt: skip
    assert_same(again.model, whole.model)
    assert json.dumps(_without_seconds(again.history)) == json.dumps(
        _without_seconds(whole.history)
    )


def test_what_cannot_be_divided_is_an_error():
    network = make_network()
    for size, cure in [(5, 4), (1, 2)]:
        arrays = {k: v[:size] for k, v in make_arrays().items()}
        text = f"batch of {size} samples .* 2 devices.*batches of {cure} or another"
        with pytest.raises(ValueError, match=text):
            _gradient(loss_fn, network, arrays, TWO)
        batches = [(arrays, np.ones(size, bool))]
        with pytest.raises(ValueError, match=text):
            ej.train.evaluate(network, loss_fn, batches, devices=TWO)
    arrays = make_arrays() | {"scale": np.ones(())}
    with pytest.raises(ValueError, match="(?s)first axis.*'scale'.*\\(\\)"):
        _gradient(loss_fn, network, arrays, TWO)
    for devices in ([], [TWO[0]] * 2):
        with pytest.raises(ValueError, match="at least one device and each only once"):
            fit(network, make_arrays(), devices=devices)


def test_a_mesh_of_several_axes_is_one_row():
    batch = {name: x[:BATCH] for name, x in make_arrays().items()}
    mesh = Mesh(np.array(TWO).reshape(1, 2), ("hosts", "devices"))
    one, two = (_gradient(loss_fn, make_network(), batch, x)[1] for x in (TWO, mesh))
    assert_same(one, two)
