"""Runs files of NIR in spyx, inside spyx's environment.

The command line names a JSON file with a list of jobs: `graph`, the file of NIR; `inputs`,
an `.npy` raster `[steps, sources]`; `dt` in seconds; `out`, an `.npz` file to write, with
the raster of each layer as `layer_0` and so on. The versions go to standard output.

`spyx.nir.from_nir` makes the network and gives the spikes of its last layer; those of the
layers before come of the same network, cut off after them.
"""

import json
import pathlib
import sys

import jax.numpy as jnp
import nir
import numpy as np
import spyx.nir  # pyright: ignore[reportMissingImports]
import spyx.nn as snn  # pyright: ignore[reportMissingImports]

from experiments.benchmark import _measure


def run(graph: nir.NIRGraph, inputs: np.ndarray, dt: float) -> list[np.ndarray]:
    """The raster of each layer, `[steps, neurons]`."""
    given = jnp.asarray(inputs, jnp.float32)[:, None]
    model, last = spyx.nir.from_nir(graph, given, dt=dt)
    ends = [k for k, module in enumerate(model.layers) if hasattr(module, "threshold")]
    parts = [snn.Sequential(*model.layers[: k + 1]) for k in ends[:-1]]
    rasters = [*(snn.run(part, given)[0] for part in parts), last]
    return [np.asarray(x[:, 0]) > 0 for x in rasters]


if __name__ == "__main__":
    for job in json.loads(pathlib.Path(sys.argv[1]).read_text()):
        rasters = run(nir.read(job["graph"]), np.load(job["inputs"]), job["dt"])
        np.savez(job["out"], **{f"layer_{k}": x for k, x in enumerate(rasters)})
    print(json.dumps(_measure.versions("spyx", "flax", "nir")))
