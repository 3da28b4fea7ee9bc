"""When a single neuron spikes first: four models of it.

Each takes weights and times of its inputs, all of which fire, and gives a time, all in ms;
`+inf` for a neuron that is silent.
"""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

import eventjax as ej

from ._stdbp import stdbp_layer


Inputs = Float[Array, " inputs"]
Time = Float[Array, ""]

TAU_MEM, TAU_SYN = 7.0, 4.0  # ms; the postsynaptic potential is largest after 5.22
DT = 0.5  # ms, of the time grid of surrogate gradients


def _dense(weights: Inputs) -> ej.Dense:
    """To one neuron."""
    dense = ej.Dense(weights.size, 1, mean=0.0, std=1.0, key=jr.key(0))
    return eqx.tree_at(lambda c: c.weight, dense, weights[:, None])


def _all_fire(times: Inputs) -> ej.FirstSpikes:
    return ej.FirstSpikes(times, jnp.ones(times.shape, bool))


def ramp(weights: Inputs, times: Inputs, window: float) -> Time:
    """`RampIF` under `STDED`, times from the start of the input's window; `+inf` also for
    a saturated neuron, which spikes when its window opens whatever its input."""
    layer = ej.FirstSpikeLayer(_dense(weights), ej.RampIF(window))
    network = ej.FirstSpikeNetwork([layer])
    sol = ej.simulate_first_spikes(network, _all_fire(times), adjoint=ej.STDED())
    time = sol.spikes[0].times[0]
    return jnp.where(time > window, time, jnp.inf)


def rel_psp(weights: Inputs, times: Inputs, rise: float = 1.0) -> Time:
    """The same kernel at a fixed threshold of 1, without windows."""
    return stdbp_layer(_dense(weights / rise), _all_fire(times)).spikes.times[0]


def double_exponential(weights: Inputs, times: Inputs, t1: float) -> Time:
    """`LIF` with exact spike times and gradients up to `t1`."""
    lif = ej.LIF(1, tau_mem=TAU_MEM, tau_syn=TAU_SYN)
    network = ej.Network([ej.Layer(_dense(weights), lif, capacity=64)])
    sol = ej.simulate(
        network, ej.Spikes.from_dense(times), t1, adjoint=ej.Eventprop(), throw=False
    )
    time = sol.first_spike_times[0]
    # With more spikes than places nothing would be certain: NaN is hard to overlook.
    return jnp.where(sol.okay, time, jnp.nan)


def on_a_grid(weights: Inputs, times: Inputs, t1: float) -> Time:
    r"""`LIF` in steps of `DT` with surrogate gradients. The first spike time is a sum over
    the steps in which the neuron has not spiked yet,

    $$t = \Delta t \sum_k \prod_{j \le k} (1 - s_j),$$

    which is the start of the step in which it does, and has a derivative by each $s_j$;
    that of $s_j$ by the voltage is the surrogate."""
    lif = ej.LIF(1, tau_mem=TAU_MEM, tau_syn=TAU_SYN)
    network = ej.Network([ej.Layer(_dense(weights), lif)])
    sol = ej.simulate(
        network, ej.Spikes.from_dense(times), t1,
        solver=ej.Clocked(DT), adjoint=ej.Surrogate(), throw=False,
    )  # fmt: skip
    counts = sol.frames[0].counts[:, 0]
    time = DT * jnp.sum(jnp.cumprod(1 - counts))
    time = jnp.where(jnp.any(counts > 0), time, jnp.inf)
    return jnp.where(sol.okay, time, jnp.nan)
