import jax.numpy as jnp
from jaxtyping import PyTree

from ._event_problem import AbstractEngine, Attempt, never_spikes


class FlowEngine(AbstractEngine):
    """From event to event by the neurons' closed forms. Each attempt is right."""

    def start(self, neuron, t0, t1, state, drive) -> None:
        return None

    def attempt(self, neuron, t, state: PyTree, drive, limit, memory: None) -> Attempt:
        to_limit = limit - t
        nobody = jnp.zeros(drive.shape, bool)
        no, yes = jnp.array(False), jnp.array(True)
        if never_spikes(neuron):
            after = neuron.flow(state, drive, to_limit)
            return Attempt(to_limit, yes, no, no, nobody, after, None, no)
        crossing = neuron.crossing(state, drive, to_limit)
        first = jnp.min(crossing)
        crosses = jnp.isfinite(first)
        h = jnp.where(crosses, jnp.minimum(first, to_limit), to_limit)
        mask = crosses & (crossing == first)
        after = neuron.flow(state, drive, h)
        standing = crosses & (first == 0)
        return Attempt(h, yes, crosses, standing, mask, after, None, no)

    def advance(self, neuron, t, state: PyTree, drive, h) -> PyTree:
        return neuron.flow(state, drive, h)

    def any_mode(self) -> "FlowEngine":
        return self

    def max_steps(self, num_events: int) -> int:
        return num_events
