"""The same window on a time grid: spikes are at the ends of its steps."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from ._neuron import Neuron
from ._state import Activity


def steps_in_window(neuron: Neuron, dt: float) -> int:
    """How many steps a window has; an error if that is no whole number."""
    steps = round(neuron.refractory / dt)
    if steps < 1 or abs(steps * dt - neuron.refractory) > 1e-6 * neuron.refractory:
        raise ValueError(
            f"a window, which is as long as `refractory`, {neuron.refractory} ms, must be "
            f"a whole number of steps `dt`, got {dt} ms."
        )
    return steps


def clocked_spikes(
    neuron: Neuron,
    at: Activity,
    others: list[Activity],
    parts: list[Array],
    drive: Array,
    own: Array,
    dt: float,
) -> tuple[Array, Array]:
    """Spikes of a layer within one window, in ms from its start or `inf`, and voltages at
    its end. Between the ends of steps voltages and traces are exact; spikes have to wait
    for the end of a step."""
    steps, dtype = steps_in_window(neuron, dt), at.v.dtype
    mem, syn = neuron.tau_mem, neuron.tau_syn
    time = lambda n: n * (neuron.refractory / steps)
    step_of = lambda spikes: jnp.where(
        jnp.isfinite(spikes), jnp.round(spikes * (steps / neuron.refractory)), -1.0
    )
    arrive, release = [step_of(x.spikes) for x in others], step_of(at.spikes)
    d = jnp.asarray(neuron.refractory / steps, dtype)
    keep, fade = jnp.exp(-d / mem), jnp.exp(-d / syn)
    gain = syn / (syn - mem) * (fade - keep)
    product = lambda x, w: jnp.matmul(x, w, precision="highest")

    current = own * at.arrived
    for x, w in zip(others, parts):
        current = current + product(x.arrived, w)

    def step(carry, n):
        v, current, spikes = carry
        # What arrives at the start of this step, and refractory times that end then.
        for when, w in zip(arrive, parts):
            current = current + product((when == n).astype(dtype), w / syn)
        current = current + jnp.where(release == n, own / syn, 0.0)
        held = (release > n) | jnp.isfinite(spikes)
        v = jnp.where(held, 0.0, v * keep + drive * (1 - keep) + current * gain)
        spikes = jnp.where(v >= neuron.v_threshold, time(n + 1), spikes)
        v = jnp.where(jnp.isfinite(spikes), 0.0, v)
        return (v, current * fade, spikes), None

    start = at.v, current, jnp.full_like(at.v, jnp.inf)
    (v, _, spikes), _ = lax.scan(step, start, jnp.arange(steps, dtype=dtype))
    return spikes, v
