"""What a training step on pictures costs.

    python -m experiments.benchmark.pictures
    python -m experiments.benchmark.pictures --store

The value and the gradient, by all weights, of the same three convolutions with rectifiers,
with neurons that spike once (STD-ED, and plain automatic differentiation of the same), and
with neurons on a grid (MPD-ED, and the surrogate gradient without its mask).
"""

import dataclasses
import functools as ft
import json
import math
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import tyro

import eventjax as ej
from experiments.benchmark import _measure


RESULTS = pathlib.Path(__file__).resolve().parent / "results"
BESIDE = "rectifiers"  # whose time is 1


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Measure training steps on pictures."""

    batch: int = 64
    shape: tuple[int, int, int] = (1, 28, 28)
    """Channels, height and width."""
    channels: tuple[int, ...] = (32, 64, 128)
    """Of the convolutions, 3 by 3 with stride 2."""
    classes: int = 10
    steps: int = 3
    """Of the grid."""
    seconds: float = 3.0
    """About how long to time each step."""
    store: bool = False
    """Write the measurements to experiments/benchmark/results/."""


def linear_maps(config: Pictures) -> list[ej.AbstractLinearMap]:
    """The last one leads to the outputs."""
    channels, *size = config.shape
    maps: list[Any] = []
    for k, following in enumerate(config.channels):
        options = dict(stride=2, padding=1, key=jr.key(k))
        maps.append(ej.Conv2d(channels, following, 3, **options))
        channels, size = following, [(n + 1) // 2 for n in size]
    inputs = channels * math.prod(size)
    std = (2 / inputs) ** 0.5
    dense = ej.Dense(inputs, config.classes, mean=0.0, std=std, key=jr.key(99))
    return [*maps, ej.Chain([ej.Flatten(), dense])]


# How each makes outputs `[batch, classes]` of the linear maps and pictures of [0, 1].


def rectifiers(maps, pixels, config: Pictures):
    x = pixels
    for linear_map in maps[:-1]:
        x = jax.nn.relu(linear_map.apply(x))
    return maps[-1].apply(x)


def first_spikes(maps, pixels, config: Pictures, adjoint: ej.AbstractRampAdjoint):
    neuron = ej.RampIF(1.0)
    layers = [ej.FirstSpikeLayer(x, neuron) for x in maps[:-1]]
    network = ej.FirstSpikeNetwork([*layers, ej.PotentialReadout(maps[-1], 1.0)])
    spikes = ej.encoders.first_spikes(pixels, 1.0)
    return ej.simulate_first_spikes(network, spikes, adjoint=adjoint).potentials


def on_a_grid(maps, pixels, config: Pictures, mask: Any):
    layers, size = [], config.shape
    for linear_map in maps[:-1]:
        connection = ej.ImageConnection(linear_map, size)
        neuron = ej.AdaptiveLIF(connection.out_size, 1.0, tau_mem=2.0)
        layers.append(ej.Layer(connection, neuron))
        size = connection.out_shape
    flat = pixels.reshape(pixels.shape[0], 1, -1)
    frames = jnp.broadcast_to(flat, (flat.shape[0], config.steps, flat.shape[2]))
    sol = ej.simulate(
        ej.Network(layers),
        ej.Frames(frames, 1.0),
        float(config.steps),
        solver=ej.Clocked(1.0),
        adjoint=ej.MPDED(mask),
        throw=False,
    )
    counts = sol.frames[-1].counts.mean(axis=-2)
    return maps[-1].apply(counts.reshape(-1, *size))


def forms() -> dict[str, tuple[str, Callable]]:
    """How each is described, and what makes its outputs."""

    def times(adjoint):
        return ft.partial(first_spikes, adjoint=adjoint)

    def grid(mask):
        return ft.partial(on_a_grid, mask=mask)

    return {
        BESIDE: ("the same convolutions, no spikes", rectifiers),
        "STDED(dual=True)": ("single spikes", times(ej.STDED(dual=True))),
        "STDED()": ("single spikes", times(ej.STDED())),
        "Direct()": ("single spikes", times(ej.Direct())),
        "MPDED(masks.Spike())": ("on a grid", grid(ej.masks.Spike())),
        "MPDED(masks.Dense())": ("on a grid", grid(ej.masks.Dense())),
    }


def measure(config: Pictures) -> list[dict[str, Any]]:
    """A row for each form."""
    rng = np.random.default_rng(0)
    pixels = rng.uniform(size=(config.batch, *config.shape)).astype(np.float32)
    labels = jnp.asarray(rng.integers(0, config.classes, config.batch, np.int32))
    maps, rows = linear_maps(config), []
    for name, (how, outputs) in forms().items():

        def loss(maps, pixels, outputs=outputs):
            logits = outputs(maps, pixels, config)
            loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return loss.mean()

        step = jax.value_and_grad(loss)
        forward, _ = _measure.measure(loss, maps, pixels, seconds=config.seconds)
        gradient, out = _measure.measure(step, maps, pixels, seconds=config.seconds)
        if not all(np.isfinite(x).all() for x in jax.tree.leaves(out)):
            raise ValueError(f"the gradient of {name} is not finite")
        rows.append(
            {
                "form": name,
                "how": how,
                "forward_ms": round(forward.fastest_ms, 3),
                "grad_ms": round(gradient.fastest_ms, 3),
                "compile_s": round(gradient.compile_s, 2),
                "peak_mb": round(gradient.memory_mb, 3),
            }
        )
    return rows


def main(config: Pictures) -> None:
    rows = measure(config)
    for row in rows:
        print(json.dumps(row))
    if config.store:
        record = {
            "config": dataclasses.asdict(config),
            "rows": rows,
            "machine": _measure.machine(),
            "versions": _measure.versions("eventjax", "equinox"),
        }
        path = RESULTS / f"pictures-{jax.default_backend()}.json"
        path.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Pictures, description=__doc__))
