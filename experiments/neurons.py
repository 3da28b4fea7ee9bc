"""Yin-Yang with every neuron of the library, each under a solver that suits it.

One hidden layer of the neurons in question and three leaky integrators, of which the one
with the highest voltage names the class; the input is that of `experiments.yin_yang`.
Without arguments all neurons are trained in turn, which takes some minutes each; what is
stored already is kept, unless `--again` is given. At the end one figure shows all of them.

    python -m experiments.neurons
    python -m experiments.neurons --neuron ALIF --seed 1
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import jax.random as jr
import optax

import eventjax as ej

from ._common import from_command_line, Record, spikes_of
from .yin_yang import encode, Settings as YinYang


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How one kind of neuron is made, solved and taught."""

    make: Callable[[int], Any]
    solver: Any = ej.ClosedForm()
    adjoint: Any = ej.Eventprop()
    learning_rate: float = 1e-2
    hidden: int = 60
    epochs: int = 15


DIFFRAX = dict(solver=ej.DiffraxEvent(rtol=1e-4, atol=1e-4, max_steps=1024))
GRID = dict(solver=ej.Clocked(0.5), adjoint=ej.Surrogate(), hidden=100, epochs=30)
RECIPES = {
    "LIF": Recipe(lambda n: ej.LIF(n), hidden=100, epochs=30),
    "ALIF": Recipe(lambda n: ej.ALIF(n), **GRID),
    "Refractory": Recipe(lambda n: ej.Refractory(ej.LIF(n), 3.0), hidden=100, epochs=8),
    "DeltaQIF": Recipe(lambda n: ej.DeltaQIF(n)),
    "DeltaLIF": Recipe(lambda n: ej.DeltaLIF(n), **GRID),
    "GatedUnit": Recipe(lambda n: ej.GatedUnit(n), **GRID),
    "QIF": Recipe(lambda n: ej.QIF(n), **DIFFRAX, epochs=10),
    "EIF": Recipe(lambda n: ej.EIF(n), **DIFFRAX, epochs=12),
    "Izhikevich": Recipe(
        lambda n: ej.Izhikevich(n), **DIFFRAX, epochs=10, learning_rate=3e-2
    ),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Times are in ms."""

    neuron: Literal["all", *RECIPES] = "all"  # pyright: ignore
    again: bool = False  # also train what is stored already
    seed: int = 0
    hidden: int | None = None  # by default as in `RECIPES`, as `epochs`
    epochs: int | None = None
    batch: int = 50
    last_rate: float = 0.02  # of the learning rate, at the end
    spikes_per_neuron: float = 2.0  # at the start
    t1: float = 50.0
    train_size: int = 5000
    output: Path = Path("runs/neurons")


def make_network(settings: Settings, recipe: Recipe, spikes: ej.Spikes) -> ej.Network:
    """Weights are scaled until the hidden neurons fire as often as asked for."""
    k1, k2 = jr.split(jr.fold_in(jr.key(settings.seed), 0))
    hidden = recipe.hidden
    layer = ej.Layer(
        ej.Dense(5, hidden, mean=1.0, std=0.6, key=k1),
        recipe.make(hidden),
        capacity=4 * hidden,
    )
    network = ej.init.calibrate(
        ej.Network([layer]),
        spikes,
        settings.t1,
        settings.spikes_per_neuron,
        solver=recipe.solver,
        adjoint=recipe.adjoint,
    )
    readout = ej.Layer(
        # A readout whose voltage only falls is largest at the start and learns nothing.
        ej.Dense(hidden, 3, mean=10 / hidden, std=2 / hidden**0.5, key=k2),
        ej.LeakyIntegrator(3),
    )
    return ej.Network([*network.layers, readout])


def make_loss(settings: Settings, recipe: Recipe):
    def loss_fn(network: ej.Network, batch: dict[str, jax.Array], key: Any):
        sol = ej.simulate(
            network,
            spikes_of(batch),
            settings.t1,
            solver=recipe.solver,
            adjoint=recipe.adjoint,
            throw=False,
        )
        losses = ej.losses.max_voltage_cross_entropy(sol.max_voltages, batch["label"])
        predicted = sol.max_voltages.argmax(axis=-1).astype(batch["label"].dtype)
        return losses, sol, {"accuracy": predicted == batch["label"]}

    return loss_fn


def run(
    settings: Settings, *, resume: bool = False, progress: bool = True
) -> dict[str, Any]:
    """Train one kind of neuron. The best epoch of the validation data is tested."""
    recipe = RECIPES[settings.neuron]
    given = {"hidden": settings.hidden, "epochs": settings.epochs}
    given = {name: x for name, x in given.items() if x is not None}
    recipe = dataclasses.replace(recipe, **given)
    settings = dataclasses.replace(settings, hidden=recipe.hidden, epochs=recipe.epochs)
    folder = settings.output / settings.neuron / f"seed{settings.seed}"
    record = Record(folder, settings, resume=resume)
    train, validation, test = (
        encode(part["features"], part["label"], YinYang())
        for part in (
            ej.data.yin_yang(size, seed)
            for size, seed in ((settings.train_size, 42), (1000, 41), (1000, 40))
        )
    )
    batches = ej.data.Batches(train, settings.batch, seed=settings.seed, drop_last=True)
    steps = recipe.epochs * len(batches)
    rate = optax.cosine_decay_schedule(
        recipe.learning_rate, steps, alpha=settings.last_rate
    )
    few = spikes_of({name: x[:50] for name, x in train.items()})
    loss_fn = make_loss(settings, recipe)
    padded = lambda arrays: ej.data.padded_batches(arrays, 250)
    with record.log:
        fitted = ej.train.fit(
            make_network(settings, recipe, few),
            loss_fn,
            batches,
            optax.adam(rate),
            epochs=recipe.epochs,
            validation=lambda: padded(validation),
            select_best="accuracy",
            learning_rate=rate,
            log=record.log,
            checkpoints=record.checkpoints,
            progress=progress,
            key=jr.fold_in(jr.key(settings.seed), 1),
        )
    means = ej.train.evaluate(fitted.model, loss_fn, padded(test))
    return record.finish(fitted, means)


def run_all(settings: Settings, resume: bool) -> None:
    names = RECIPES if settings.neuron == "all" else (settings.neuron,)
    for name in names:
        stored = settings.output / name / f"seed{settings.seed}" / "results.json"
        if stored.exists() and not settings.again:
            print(f"{name}: stored already")
            continue
        results = run(dataclasses.replace(settings, neuron=name), resume=resume)
        print(f"{name}: test accuracy {100 * results['test']['accuracy']:.1f} %")


def plot(folder: Path, seed: int) -> None:
    """Draw all learning curves that are stored in one figure."""
    stored = {
        name: path
        for name in RECIPES
        if (path := folder / name / f"seed{seed}" / "results.json").exists()
    }
    ej.plot.compare_curves(stored, save=folder / "neurons.png")


if __name__ == "__main__":
    settings, resume = from_command_line(Settings(), Settings(), __doc__)
    run_all(settings, resume)
    plot(settings.output, settings.seed)
    print(f"results and the figure are in {settings.output}")
