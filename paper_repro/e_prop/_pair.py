"""A neuron with one spike, and inputs at all lags from it: the STDP window of e-prop."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import eventjax as ej


def dense(weight: jax.Array) -> ej.Dense:
    """With given weights."""
    made = ej.Dense(*weight.shape, key=jax.random.key(0))
    return eqx.tree_at(lambda x: x.weight, made, weight)


def window(
    neuron: ej.AbstractNeuron, rule: ej.EProp, drive: np.ndarray, dt: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What e-prop, with a learning signal of one, adds to the weight of a synapse whose
    input spikes once, by when it does. The synapse has no weight, so it disturbs nothing.

    **Arguments:**

    - `neuron`: one neuron.
    - `drive`: what it receives in each step, `[steps]`.
    - `dt`: length of a step in ms.

    **Returns:** for inputs in each step, by how many steps the spike comes later,
    `[steps]`; the sum of the eligibility trace, `[steps]`; and the neuron's voltage after
    each step, `[steps]`.

    **Raises:** `ValueError` unless the drive leads to one spike.
    """
    steps = len(drive)
    counts = np.concatenate([np.eye(steps), drive[:, None]], axis=1)
    frames = ej.Frames(jnp.asarray(counts, jnp.result_type(float))[None], dt)
    weight = jnp.zeros((steps + 1, 1)).at[steps].set(1.0)

    @jax.jit  # given the frames: as a constant they would be folded for seconds
    def run(weight: jax.Array, frames: ej.Frames):
        sol = ej.simulate(
            ej.Network([ej.Layer(dense(weight), neuron)]),
            frames,
            steps * dt,
            record=dt * jnp.arange(1, steps + 1).astype(weight.dtype),
            solver=ej.Clocked(dt),
            adjoint=rule,
        )
        spikes = sol.frames[0].counts
        return jnp.sum(spikes), (spikes[0, :, 0], sol.voltages[0][0, :, 0])

    change, (spikes, v) = jax.grad(run, has_aux=True)(weight, frames)
    when = np.flatnonzero(np.asarray(spikes))
    if len(when) != 1:
        raise ValueError(
            f"The drive must lead to one spike, got {len(when)}: change its strength."
        )
    return when[0] - np.arange(steps), np.asarray(change[:-1, 0]), np.asarray(v)


def closed_form(
    lag: np.ndarray, v: np.ndarray, neuron: ej.STDPALIF, gamma: float, dt: float
) -> np.ndarray:
    """The window of `STDPALIF` without adaptation, spike and input alone: before the spike
    a sum over the voltage's way to the threshold, after it a trough as long as the
    refractory time, and nothing then.

    **Arguments:** `lag` and `v` as from `window`.
    """
    threshold = float(neuron.v_threshold)
    alpha, delta = math.exp(-dt / float(neuron.tau_mem)), round(neuron.refractory / dt)
    psi = gamma * np.maximum(0, 1 - np.abs(v - threshold) / threshold)
    when = int(np.flatnonzero(lag == 0)[0])
    out = np.zeros(len(lag))
    for k, n in enumerate(lag):
        if n >= 0:
            out[k] = np.sum(alpha ** np.arange(n + 1) * psi[when - n : when + 1])
        elif n >= -delta:
            trough = 1 - alpha ** (delta + n + 1)
            out[k] = neuron.refractory_slope * trough / (1 - alpha)
    return out


def trace(
    neuron: ej.AbstractNeuron, rule: ej.EProp, spikes: np.ndarray, weight: float, drive
) -> dict[str, list[float]]:
    """The eligibility trace of one synapse over time: how its weight changes each spike.

    **Arguments:**

    - `spikes`: of the input, 0 or 1, `[steps]`, in steps of 1 ms.
    - `weight`: of the synapse.
    - `drive`: what the neuron receives in each step besides.
    """
    steps = len(spikes)
    frames = ej.Frames(jnp.asarray(spikes, jnp.result_type(float))[None, :, None], 1.0)

    @jax.jit
    def run(weight: jax.Array):
        sol = ej.simulate(
            ej.Network([ej.Layer(dense(weight[None, None]), neuron)]),
            frames,
            float(steps),
            drive=[drive],
            record=jnp.arange(1, steps + 1).astype(weight.dtype),
            solver=ej.Clocked(1.0),
            adjoint=rule,
        )
        return sol.frames[0].counts[0, :, 0], sol.voltages[0][0, :, 0]

    start = jnp.asarray(weight, jnp.result_type(float))
    (out, v), (e, _) = jax.jvp(run, (start,), (jnp.ones_like(start),))
    named = dict(input=spikes, spikes=out, voltage=v, eligibility=e)
    return {name: np.asarray(x, float).tolist() for name, x in named.items()}
