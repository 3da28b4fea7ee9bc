"""How the first spike time of random neurons depends on weights and on input times."""

import functools as ft
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float

from ._spike_time import double_exponential, DT, Inputs, on_a_grid, ramp, rel_psp


class Slopes(eqx.Module):
    """Of one neuron, or of many with an axis in front: when it spikes first, in ms, `+inf`
    if it does not, and the derivatives of that by weights (ms) and by input times. They
    are zero for a silent neuron, and for inputs that come too late to matter."""

    time: Float[Array, "*neurons"]
    by_weight: Float[Array, "*neurons inputs"]
    by_time: Float[Array, "*neurons inputs"]

    @property
    def spikes(self) -> Bool[Array, "*neurons"]:
        return self.time < jnp.inf


def exact_slopes(spike_time: Callable, weights: Inputs, times: Inputs) -> Slopes:
    grad = jax.grad(ft.partial(_finite, spike_time), argnums=(0, 1), has_aux=True)
    (by_weight, by_time), time = grad(weights, times)
    return Slopes(time, by_weight, by_time)


def slopes_on_grid(spike_time: Callable, weights: Inputs, times: Inputs) -> Slopes:
    r"""Of a neuron in steps of `DT` with surrogate gradients, as `on_a_grid`.

    The time of an input is a place on the grid, so the derivative by it is a difference
    between two steps, $w_i (g_i[k + 1] - g_i[k]) / \Delta t$ with $g_i[k]$ the derivative
    by the weight of a spike in step $k$. A second input of weight zero one step later has
    $g_i[k + 1]$. These differences are all that tells the layer before to spike earlier or
    later, if its own spikes are on the grid, too.
    """

    def by_both(now: Inputs, later: Inputs):
        both = jnp.concatenate([now, later])
        return _finite(spike_time, both, jnp.concatenate([times, times + DT]))

    grad = jax.grad(by_both, argnums=(0, 1), has_aux=True)
    (now, later), time = grad(weights, jnp.zeros_like(weights))
    return Slopes(time, now, weights * (later - now) / DT)


def _finite(spike_time: Callable, weights: Inputs, times: Inputs) -> tuple[Any, Any]:
    """Once to be differentiated, 0 if there is no spike, and once as it is. NaN, of a
    simulation that has failed, stays."""
    time = spike_time(weights, times)
    return jnp.where(time == jnp.inf, 0.0, time), time


# For each kernel its spike time as a function of weights, times, and the time in ms in
# which inputs fire, which is also that in which a unit of weight raises the voltage by one
# where the kernel is a straight line.
KERNELS = {
    "ramp": (exact_slopes, ramp),
    "rel_psp": (exact_slopes, rel_psp),
    "double_exponential": (
        exact_slopes, lambda w, t, span: double_exponential(w, t, 2 * span),
    ),
    "surrogate": (slopes_on_grid, lambda w, t, span: on_a_grid(w, t, 2 * span)),
}  # fmt: skip


@eqx.filter_jit
def slopes(
    kernel: str,
    weights: Float[Array, "neurons inputs"],
    times: Float[Array, "neurons inputs"],
    span: float,
) -> Slopes:
    """Of many neurons, each with weights and input times of its own."""
    how, model = KERNELS[kernel]
    one = lambda w, t: how(lambda w, t: model(w, t, span), w, t)
    return jax.vmap(one)(weights, times)


def random_neurons(
    neurons: int, inputs: int, span: float, spread: float, key: jax.Array
) -> tuple[Array, Array]:
    """Weights, normal with mean 0 and standard deviation `spread`, and input times,
    uniform within `span` ms, each `[neurons, inputs]`."""
    weight_key, time_key = jr.split(key)
    weights = spread * jr.normal(weight_key, (neurons, inputs))
    return weights, jr.uniform(time_key, (neurons, inputs), maxval=span)
