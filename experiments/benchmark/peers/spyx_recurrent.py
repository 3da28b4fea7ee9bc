"""W2 and W2F in spyx: time steps of 1 ms and surrogate gradients, inside spyx's
environment.

`RCuBaLIF` neurons, without recurrence `CuBaLIF`, and outputs of one `LI` for the current
and one for the voltage, with the weights of `spyx.py`. The recurrence acts one step later,
the only delay that spyx has: where the workload has a longer one this network is another,
and cheaper. The loss is the workload's, a sum over steps. The gradient is with respect to
all weight matrices; spyx would train the decays too. Binning the input spikes is not timed,
and the bins, of 90 MB with 32 samples, are not in the memory stated.

The input's connection can be applied step by step, as a `Sequential` has it, or to all
steps at once before the neurons run. Both are measured.
"""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax  # pyright: ignore[reportMissingImports]
import spyx.nn as snn  # pyright: ignore[reportMissingImports]
from flax import nnx  # pyright: ignore[reportMissingImports]

from experiments.benchmark import _measure, rates, workloads
from experiments.benchmark.peers.spyx import DT, raster


def make_network(spec, data, factor: float):
    """Layers with the workload's weights, the input's multiplied."""
    alpha, beta = np.exp(-DT / spec.tau_syn), np.exp(-DT / spec.tau_mem)
    response = (beta - alpha) * spec.tau_syn / (spec.tau_mem - spec.tau_syn)
    rngs, size = nnx.Rngs(0), (spec.num_hidden,)

    def scaled(weight):
        return jnp.asarray(weight * response / spec.threshold)

    def linear(weight):
        layer = nnx.Linear(*weight.shape, use_bias=False, rngs=rngs)
        layer.kernel[...] = scaled(weight)
        return layer

    kind = snn.CuBaLIF if spec.delay is None else snn.RCuBaLIF
    hidden = kind(size, alpha=alpha, beta=beta, rngs=rngs)
    if spec.delay is not None:
        hidden.recurrent_w[...] = scaled(data["w_recurrent"])
    outputs = [snn.LI((spec.num_outputs,), beta=x, rngs=rngs) for x in (alpha, beta)]
    into, out = linear(factor * data["w_hidden"]), linear(data["w_out"])
    return snn.Sequential(into, hidden, out, *outputs)


def hidden_spikes(network, inputs) -> float:
    """Mean number of hidden spikes per sample."""
    graph, state = nnx.split(snn.Sequential(*network.layers[:2]))

    @jax.jit
    def count(state, inputs):
        spikes, _ = snn.run(nnx.merge(graph, state), inputs)
        return spikes.sum(axis=(0, 2)).mean()

    return float(count(state, inputs))


def rows(spec, data) -> Iterator[dict]:
    """Measure the forward pass and one gradient step, both ways."""
    inputs, labels = raster(spec, data), jnp.asarray(data["labels"])
    wanted = float(data["hidden_spikes"].mean())

    def spikes(factor):
        return hidden_spikes(make_network(spec, data, factor), inputs)

    factor = rates.equal_rates(spikes, wanted)
    network = make_network(spec, data, factor)
    is_weight = lambda path, x: (
        isinstance(x, nnx.Param) and ("kernel" in path or "recurrent_w" in path)
    )
    graph, weights, rest = nnx.split(network, is_weight, ...)
    steps = inputs.shape[0]
    ends = jnp.arange(1, steps + 1) / steps  # as parts of the trial
    share = jnp.exp(-ends) / steps

    def make_loss(at_once: bool):
        def loss(weights, inputs):
            into, *others = nnx.merge(graph, weights, rest).layers
            if at_once:
                run, inputs = snn.Sequential(*others), into(inputs)
            else:
                run = snn.Sequential(into, *others)
            voltages, _ = snn.run(run, inputs)
            logits = jnp.tensordot(share, voltages, 1)
            losses = optax.losses.softmax_cross_entropy_with_integer_labels
            return losses(logits, labels).mean()

        return loss

    counted = spikes(factor)
    scaled = "" if factor == 1 else f", input weights x {factor:.3f}"
    delay = "" if spec.delay in (None, DT) else f", delay {DT:g} ms, its only one"
    for name, at_once in (("", False), (", input at once", True)):
        loss = make_loss(at_once)
        forward, _ = _measure.measure(loss, weights, inputs)
        step = jax.value_and_grad(loss)
        gradient, (value, grads) = _measure.measure(step, weights, inputs)
        yield _measure.row(
            f"spyx, {DT:g} ms steps{name}",
            spec,
            forward,
            gradient,
            jax.tree.leaves(grads),
            spikes=counted,
            loss=float(value),
            note=f"surrogate gradient, the same loss{scaled}{delay}",
            versions=_measure.versions("spyx", "flax"),
        )


if __name__ == "__main__":
    _measure.script(rows, workloads.load)
