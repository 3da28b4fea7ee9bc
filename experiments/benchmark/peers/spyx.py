"""W1 and W3 in spyx: time steps of 1 ms and surrogate gradients, inside spyx's
environment.

`CuBaLIF` neurons with alpha = exp(-dt/tau_syn) and beta = exp(-dt/tau_mem). A spike's
current is multiplied by the exact one-step response of V to it, so the weights are
those of the workload. Spikes leave on the next step and the reset subtracts the
threshold: this is what a clocked library makes of the same network. Where that changes
the number of hidden spikes by more than 3 %, the hidden weights are multiplied by a
factor that restores it, which the note states.

Outputs of W1 are `CuBaLIF` neurons with the cross-entropy of their spike counts, spyx's
`integral_crossentropy`; it has none on spike times. Outputs of W3 are leaky integrators,
one `LI` for the current and one for the voltage, with the cross-entropy of their largest
voltages. The gradient is with respect to both weight matrices; spyx would train the
decays too. Binning the input spikes is not timed.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax  # pyright: ignore[reportMissingImports]
import spyx.fn  # pyright: ignore[reportMissingImports]
import spyx.nn as snn  # pyright: ignore[reportMissingImports]
from flax import nnx  # pyright: ignore[reportMissingImports]

from experiments.benchmark import _measure, rates, workloads


DT = 1.0  # ms


def make_network(spec, data, factor: float):
    """The two-layer network with the workload's weights, the hidden ones multiplied."""
    alpha, beta = np.exp(-DT / spec.tau_syn), np.exp(-DT / spec.tau_mem)
    response = (beta - alpha) * spec.tau_syn / (spec.tau_mem - spec.tau_syn)
    rngs = nnx.Rngs(0)

    def linear(weight):
        layer = nnx.Linear(*weight.shape, use_bias=False, rngs=rngs)
        layer.kernel[...] = jnp.asarray(weight * response / spec.threshold)
        return layer

    def spiking(size):
        return snn.CuBaLIF((size,), alpha=alpha, beta=beta, rngs=rngs)

    outputs = [spiking(spec.num_outputs)]
    if not spec.spiking_outputs:
        size = (spec.num_outputs,)
        outputs = [snn.LI(size, beta=x, rngs=rngs) for x in (alpha, beta)]
    hidden = [linear(factor * data["w_hidden"]), spiking(spec.num_hidden)]
    return snn.Sequential(*hidden, linear(data["w_out"]), *outputs)


def raster(spec, data):
    """Input spikes counted in bins of `DT`, `[steps, batch, inputs]`."""
    steps = round(spec.t1 / DT)
    out = np.zeros((steps, spec.batch, spec.num_inputs), np.float32)
    step = np.minimum(np.round(data["times"] / DT).astype(int), steps - 1)
    np.add.at(out, (step, np.arange(spec.batch)[:, None], data["sources"]), 1.0)
    return jnp.asarray(out)


def hidden_spikes(network, inputs) -> float:
    """Mean number of hidden spikes per sample."""
    graph, state = nnx.split(network)

    @jax.jit
    def count(state):
        hidden = snn.Sequential(*nnx.merge(graph, state).layers[:2])
        return snn.run(hidden, inputs)[0].sum(axis=(0, 2)).mean()

    return float(count(state))


def rows(spec, data) -> list[dict]:
    """Measure the forward pass and one gradient step."""
    inputs, labels = raster(spec, data), jnp.asarray(data["labels"])
    wanted = float(data["hidden_spikes"].mean())

    def spikes(factor):
        return hidden_spikes(make_network(spec, data, factor), inputs)

    factor = rates.equal_rates(spikes, wanted)
    network = make_network(spec, data, factor)
    is_weight = lambda path, x: isinstance(x, nnx.Param) and "kernel" in path
    graph, weights, rest = nnx.split(network, is_weight, ...)
    of_counts = spyx.fn.integral_crossentropy(time_axis=0)
    of_voltages = optax.losses.softmax_cross_entropy_with_integer_labels

    def loss(weights):
        outputs, _ = snn.run(nnx.merge(graph, weights, rest), inputs)
        if spec.spiking_outputs:
            return of_counts(outputs, labels)
        return of_voltages(outputs.max(axis=0), labels).mean()

    forward, _ = _measure.measure(loss, weights)
    gradient, (value, grads) = _measure.measure(jax.value_and_grad(loss), weights)
    what = "output counts" if spec.spiking_outputs else "largest voltages"
    scaled = "" if factor == 1 else f", hidden weights x {factor:.3f}"
    return [
        _measure.row(
            f"spyx, {DT:g} ms steps",
            spec,
            forward,
            gradient,
            jax.tree.leaves(grads),
            spikes=spikes(factor),
            loss=float(value),
            note=f"surrogate gradient, loss on {what}{scaled}",
            versions=_measure.versions("spyx", "flax"),
        )
    ]


if __name__ == "__main__":
    _measure.script(rows, workloads.load)
