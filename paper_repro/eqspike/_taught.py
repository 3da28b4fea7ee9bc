"""A network that has learnt a little, for rows that look at what happens in it."""

import dataclasses
from typing import Self

import jax
import jax.numpy as jnp
import jax.random as jr

import eventjax as ej
from paper_repro._row import Where

from ._config import Settings
from ._data import Arrays, CLASSES, load
from ._network import make_network
from ._train import make_loss, make_optimiser


@dataclasses.dataclass(frozen=True)
class Taught(Settings):
    """A short training, and how many test pictures are looked at after it."""

    train_size: int = 2000
    test_size: int = 1000
    epochs: int = 1
    batch: int = 20
    pictures: int = 40

    @property
    def tiny(self) -> Self:
        """For a trial of the whole path."""
        few = dict(free=40.0, nudged=30.0, batch=10, hidden=(5,), pictures=4)
        return dataclasses.replace(self, **few)


def taught(
    config: Settings, where: Where
) -> tuple[ej.equilibrium.Network, dict[str, Arrays]]:
    """After `config.epochs` of training, and the data."""
    parts = load(config, where)
    size = min(config.batch, len(parts["train"]["label"]))
    batches = ej.data.Batches(parts["train"], size, seed=config.seed, drop_last=True)
    init_key, key = jr.split(jr.key(config.seed))
    fitted = ej.train.fit(
        make_network(config, init_key),
        make_loss(config.shared),
        batches,
        make_optimiser(config.shared, len(batches))[1],
        epochs=config.epochs,
        progress=where.progress,
        key=key,
    )
    return fitted.model, parts


def currents_and_targets(
    part: Arrays, count: int, config: Settings
) -> tuple[jax.Array, jax.Array]:
    """Of the first pictures of a part: inputs, and rates that outputs should have."""
    pixels = jnp.asarray(part["image"][:count] / 255, jnp.float32)
    right = jax.nn.one_hot(part["label"][:count], CLASSES, dtype=pixels.dtype)
    return pixels, config.off + (config.on - config.off) * right
