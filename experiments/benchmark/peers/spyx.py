"""W1 in spyx: time steps of 1 ms and surrogate gradients, inside spyx's environment.

`CuBaLIF` neurons with alpha = exp(-dt/tau_syn) and beta = exp(-dt/tau_mem). A spike's
current is multiplied by the exact one-step response of V to it, so the weights are
those of the workload. Spikes leave on the next step and the reset subtracts the
threshold: this is what a clocked library makes of the same network. The loss is the
cross-entropy of output spike counts, spyx's `integral_crossentropy`; it has none on
spike times. The gradient is with respect to both weight matrices; spyx would train the
decays too. Binning the input spikes is not timed.
"""

import jax
import jax.numpy as jnp
import numpy as np
import spyx.fn  # pyright: ignore[reportMissingImports]
import spyx.nn as snn  # pyright: ignore[reportMissingImports]
from flax import nnx  # pyright: ignore[reportMissingImports]

from experiments.benchmark import _measure, workloads


DT = 1.0  # ms


def make_network(spec, data):
    """The two-layer network with the workload's weights."""
    alpha, beta = np.exp(-DT / spec.tau_syn), np.exp(-DT / spec.tau_mem)
    response = (beta - alpha) * spec.tau_syn / (spec.tau_mem - spec.tau_syn)
    rngs = nnx.Rngs(0)
    layers = []
    for weight in (data["w_hidden"], data["w_out"]):
        linear = nnx.Linear(*weight.shape, use_bias=False, rngs=rngs)
        linear.kernel[...] = jnp.asarray(weight * response / spec.threshold)
        size = (weight.shape[1],)
        layers += [linear, snn.CuBaLIF(size, alpha=alpha, beta=beta, rngs=rngs)]
    return snn.Sequential(*layers)


def raster(spec, data):
    """Input spikes counted in bins of `DT`, `[steps, batch, inputs]`."""
    steps = round(spec.t1 / DT)
    out = np.zeros((steps, spec.batch, spec.num_inputs), np.float32)
    step = np.minimum(np.round(data["times"] / DT).astype(int), steps - 1)
    np.add.at(out, (step, np.arange(spec.batch)[:, None], data["sources"]), 1.0)
    return jnp.asarray(out)


def rows(spec, data) -> list[dict]:
    """Measure the forward pass and one gradient step."""
    is_weight = lambda path, x: isinstance(x, nnx.Param) and "kernel" in path
    network = make_network(spec, data)
    graph, weights, rest = nnx.split(network, is_weight, ...)
    inputs, labels = raster(spec, data), jnp.asarray(data["labels"])
    cross_entropy = spyx.fn.integral_crossentropy(time_axis=0)

    def loss(weights):
        outputs, _ = snn.run(nnx.merge(graph, weights, rest), inputs)
        return cross_entropy(outputs, labels)

    def hidden_spikes(weights):
        layers = nnx.merge(graph, weights, rest).layers
        return snn.run(snn.Sequential(*layers[:2]), inputs)[0].sum(axis=(0, 2))

    forward, _ = _measure.measure(loss, weights)
    gradient, (value, grads) = _measure.measure(jax.value_and_grad(loss), weights)
    return [
        _measure.row(
            f"spyx, {DT:g} ms steps",
            spec,
            forward,
            gradient,
            jax.tree.leaves(grads),
            spikes=float(jax.jit(hidden_spikes)(weights).mean()),
            loss=float(value),
            note="surrogate gradient, loss on output counts",
            versions=_measure.versions("spyx", "flax"),
        )
    ]


if __name__ == "__main__":
    _measure.script(rows, workloads.load)
