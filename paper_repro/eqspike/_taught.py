"""A network that has learnt a little, for rows that look at what happens in it."""

import jax
import jax.numpy as jnp
import jax.random as jr

import eventjax as ej
from paper_repro._row import Where

from ._config import Settings
from ._data import Arrays, CLASSES, load
from ._network import make_network
from ._train import make_loss, make_optimiser


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
