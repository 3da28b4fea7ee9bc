"""`fit` with networks of first spikes, with none at all, and what it says of them."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

import eventjax as ej


CLASSES, SIDE = 3, 6
OPTIMISER = optax.adamw(1e-2)


def make_network() -> ej.FirstSpikeNetwork:
    keys = jr.split(jr.key(0), 2)
    conv = ej.Conv2d(1, 4, 3, padding=1, key=keys[0])
    size = 4 * (SIDE // 2) ** 2
    dense = ej.Dense(size, CLASSES, mean=0.0, std=(2 / size) ** 0.5, key=keys[1])
    return ej.FirstSpikeNetwork(
        [
            ej.FirstSpikeLayer(conv, ej.RampIF(1.0)),
            ej.EarliestPool2d(2),
            ej.PotentialReadout(ej.Chain([ej.Flatten(), dense]), 1.0),
        ]
    )


def make_arrays(count: int = 24) -> dict[str, np.ndarray]:
    """A bright stripe whose place is the class."""
    rng = np.random.default_rng(0)
    label = np.arange(count, dtype=np.int32) % CLASSES
    image = rng.uniform(0, 0.3, (count, 1, SIDE, SIDE))
    for one, k in zip(image, label):
        one[0, 2 * k] += 0.6
    return {"image": image, "label": label}


def loss_fn(network, batch, key):
    del key
    spikes = ej.encoders.first_spikes(jnp.asarray(batch["image"]), 1.0)
    sol = ej.simulate_first_spikes(network, spikes)
    label = jnp.asarray(batch["label"])
    losses = optax.softmax_cross_entropy_with_integer_labels(sol.potentials, label)
    predicted = sol.potentials.argmax(axis=-1).astype(label.dtype)
    return losses, sol, {"accuracy": predicted == label}


def without_solution(network, batch, key):
    losses, _, metrics = loss_fn(network, batch, key)
    return losses, None, metrics


def fit(loss, **options):
    arrays = make_arrays()
    batches = ej.data.Batches(arrays, 8, seed=0, drop_last=True)
    return ej.train.fit(
        make_network(),
        loss,
        batches,
        OPTIMISER,
        epochs=25,
        validation=lambda: ej.data.padded_batches(arrays, 16),
        progress=False,
        key=jr.key(0),
        **options,
    )


@pytest.fixture(scope="module")
def fitted():
    return fit(loss_fn)


def test_a_network_of_first_spikes_learns(fitted):
    first, last = fitted.history[0], fitted.history[-1]
    assert last["train_loss"] < 0.7 * first["train_loss"]
    assert last["validation_accuracy"] > 0.9


def test_activity_is_that_of_the_spikes(fitted):
    """Of the first step of an epoch that changes nothing."""
    arrays = make_arrays(8)
    step = ej.train.make_step(loss_fn, OPTIMISER)
    network = make_network()
    _, sol, _ = loss_fn(network, arrays, None)
    state = OPTIMISER.init(eqx.filter(network, eqx.is_inexact_array))
    report, *_ = step((arrays, jr.key(0)), network, state)
    (counts,) = report.spike_counts
    assert counts.shape == (4 * SIDE * SIDE,)
    expected = np.asarray(sol.spikes[0].fired).sum(0).reshape(-1)
    np.testing.assert_array_equal(counts, expected)
    assert report.needed == (None,)
    assert len(fitted.history[0]["spikes_per_sample"]) == 1


def test_a_model_without_spikes_learns_as_well(fitted):
    other = fit(without_solution)
    losses = [[row["train_loss"] for row in x.history] for x in (fitted, other)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-10)
    assert other.history[0]["spikes_per_sample"] == []
