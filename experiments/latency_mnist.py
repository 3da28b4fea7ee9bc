"""Latency-coded MNIST: the highest voltage of ten leaky integrators names the digit.

Each bright pixel fires once, the brighter the earlier, within 20 ms. Gradients reach the
hidden spikes through the exact time of the highest output voltage. Without arguments 30
epochs; `--paper` takes the 100 epochs of Wunderlich and Pehle, Scientific Reports 11:12829
(2021), whose settings these are and who report 97.6 +/- 0.1 % on the test set (10 seeds),
96.0 % after five epochs. `--resume` goes on with a run that was interrupted.

MNIST's four files must lie in the subfolder `mnist` of `--data-dir`, or of the folder that
the environment variable EVENTJAX_DATA_DIR names.

    python -m experiments.latency_mnist --data-dir ~/data
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import jax
import jax.random as jr
import optax

import eventjax as ej

from ._common import (
    Arrays,
    dense_layers,
    example_arrays,
    from_command_line,
    Record,
    spike_arrays,
    spikes_of,
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Times are in ms."""

    seed: int = 0
    hidden: int = 350
    epochs: int = 30
    batch: int = 5
    learning_rate: float = 5e-3
    decay: float = 0.95  # of the learning rate, per epoch
    dropout: float = 0.2  # share of input spikes that are left out in training
    weight_in: tuple[float, float] = (0.078, 0.045)  # mean and standard deviation
    weight_out: tuple[float, float] = (0.2, 0.37)
    tau_mem: float = 20.0
    tau_syn: float = 5.0
    t_dark: float = 20.0  # when the darkest pixel would spike; the brightest does at 0
    t1: float = 40.0  # end of the simulation
    train_size: int = 55000  # the first 5000 of 60000 are kept for validation
    test_size: int = 10000
    data_dir: Path | None = None
    output: Path = Path("runs/latency_mnist")


MOST_BRIGHT = 351  # no image has more pixels above 1; if one had, it would be an error
PAPER = Settings(epochs=100, output=Path("runs/latency_mnist_paper"))


def make_network(settings: Settings, key: jax.Array) -> ej.Network:
    taus = dict(tau_mem=settings.tau_mem, tau_syn=settings.tau_syn)
    return dense_layers(
        sizes=(784, settings.hidden, 10),
        weights=(settings.weight_in, settings.weight_out),
        neurons=(ej.LIF(settings.hidden, **taus), ej.LeakyIntegrator(10, **taus)),
        capacities=(6 * settings.hidden, None),
        key=key,
    )


def make_loss(settings: Settings):
    def loss_fn(network: ej.Network, batch: dict[str, jax.Array], key: Any):
        spikes = spikes_of(batch)
        if key is not None:  # in training
            spikes = ej.encoders.drop_spikes(spikes, settings.dropout, key=key)
        sol = ej.simulate(network, spikes, settings.t1, throw=False)
        losses = ej.losses.max_voltage_cross_entropy(sol.max_voltages, batch["label"])
        predicted = sol.max_voltages.argmax(axis=-1).astype(batch["label"].dtype)
        return losses, sol, {"accuracy": predicted == batch["label"]}

    return loss_fn


def load(split: str, settings: Settings) -> Arrays:
    data = ej.data.load("mnist", split, data_dir=settings.data_dir)
    pixels = data["image"].reshape(-1, 784)
    spikes = ej.encoders.latency(
        pixels / 255, settings.t_dark, 0.0, threshold=1 / 255, capacity=MOST_BRIGHT
    )
    return spike_arrays(spikes, data["label"])


def run(
    settings: Settings, *, resume: bool = False, progress: bool = True, load=load
) -> dict[str, Any]:
    train = load(f"train[5000:{5000 + settings.train_size}]", settings)
    validation = load("train[:5000]", settings)
    test = load(f"test[:{settings.test_size}]", settings)
    folder = settings.output / f"seed{settings.seed}"
    record = Record(folder, settings, resume=resume)
    batches = ej.data.Batches(train, settings.batch, seed=settings.seed, drop_last=True)
    rate = optax.exponential_decay(
        settings.learning_rate, len(batches), settings.decay, staircase=True
    )
    init_key, train_key = jr.split(jr.key(settings.seed))
    loss_fn = make_loss(settings)
    with record.log:
        fitted = ej.train.fit(
            make_network(settings, init_key),
            loss_fn,
            batches,
            optax.adam(rate),
            epochs=settings.epochs,
            validation=lambda: ej.data.padded_batches(validation, 250),
            learning_rate=rate,
            log=record.log,
            checkpoints=record.checkpoints,
            progress=progress,
            key=train_key,
        )
    means = ej.train.evaluate(fitted.model, loss_fn, ej.data.padded_batches(test, 250))
    results = record.finish(fitted, means)
    few = {name: array[:10] for name, array in test.items()}
    ej.train.save_arrays(
        folder / "arrays.npz", **example_arrays(fitted.model, few, settings.t1)
    )
    plot(folder)
    return results


def plot(folder: Path) -> None:
    """Draw what `run` has stored. Can be called again without a new run."""
    ej.plot.learning_curve(folder / "results.json", save=folder / "learning_curve.png")
    for draw in (ej.plot.raster, ej.plot.voltage):
        draw(folder / "arrays.npz", save=folder / f"{draw.__name__}.png")


if __name__ == "__main__":
    settings, resume = from_command_line(Settings(), PAPER, __doc__)
    try:
        results = run(settings, resume=resume)
    except FileNotFoundError as error:
        sys.exit(f"{error}\nGive the folder with MNIST in --data-dir; see --help.")
    print(f"results in {settings.output / f'seed{settings.seed}'}")
    print(f"test accuracy: {100 * results['test']['accuracy']:.1f} %")
