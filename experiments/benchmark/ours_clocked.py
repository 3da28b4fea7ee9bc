"""The workload in eventjax as a clocked library would run it, to compare like with like.

`Clocked` with steps of 1 ms and surrogate gradients; the loss is the cross-entropy of
output spike counts with smoothed labels, as in spyx.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

import eventjax as ej
from experiments.benchmark import _measure


DT = 1.0  # ms
SMOOTHING = 0.3  # of the labels


def row(spec, weights, rest, spikes: ej.Spikes, labels) -> dict:
    """Measure the forward pass and one gradient step with respect to `weights`."""
    solver, adjoint = ej.Clocked(DT), ej.Surrogate()
    targets = optax.smooth_labels(jax.nn.one_hot(labels, spec.num_outputs), SMOOTHING)

    def loss(weights):
        network = eqx.combine(weights, rest)
        sol = ej.simulate(network, spikes, spec.t1, solver=solver, adjoint=adjoint)
        counts = jnp.sum(sol.frames[-1].counts, axis=-2)
        return optax.softmax_cross_entropy(counts, targets).mean(), sol.num_spikes

    forward, _ = _measure.measure(loss, weights)
    step = jax.value_and_grad(loss, has_aux=True)
    gradient, ((value, counts), grads) = _measure.measure(step, weights)
    return _measure.row(
        f"eventjax, Clocked({DT:g} ms), Surrogate",
        spec,
        forward,
        gradient,
        jax.tree.leaves(grads),
        spikes=float(counts[0].mean()),
        output_spikes=float(counts[1].mean()),
        loss=float(value),
        note="surrogate gradient, loss on output counts",
        versions=_measure.versions("eventjax", "equinox"),
    )
