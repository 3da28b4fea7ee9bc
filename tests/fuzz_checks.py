"""What is asked of every run in fuzzing, whatever the neurons."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from fuzz_networks import BATCH, start, T1

import eventjax as ej


@dataclasses.dataclass
class Tally:
    """What was looked at."""

    networks: int = 0
    patterns: int = 0
    spikes: int = 0
    runs: int = 0

    def add(self, sol: ej.Solution, runs: int) -> None:
        self.networks += 1
        self.patterns += BATCH
        self.spikes += int(sum(x.sum() for x in sol.num_spikes if x is not None))
        self.runs += runs


TALLY = Tally()


@eqx.filter_jit
def _run(network, spikes, t0, t1, state, solver):
    return ej.simulate(
        network, spikes, t1, t0=t0, state=state, solver=solver, throw=False
    )


def run(
    network, spikes, t0=0.0, t1=T1, state=None, solver=ej.ClosedForm()
) -> ej.Solution:
    state = start(network, spikes.capacity) if state is None else state
    at = lambda t: jnp.asarray(t, spikes.times.dtype)
    sol = _run(network, spikes, at(t0), at(t1), state, solver)
    return jax.tree.map(lambda x: np.asarray(x) if eqx.is_array(x) else x, sol)


def okay(sol: ej.Solution) -> np.ndarray:
    return np.asarray(sol.result == ej.RESULTS.successful)


def check_form(sol: ej.Solution, network: ej.Network, t0: float, t1: float) -> None:
    """Of each sample: an error that says so, or finite values and spikes in order."""
    good, left = okay(sol), np.ones(BATCH, bool)
    parts = network.layers, sol.spikes, sol.num_spikes, sol.final_state
    for layer, spikes, count, end in zip(*parts, strict=True):
        for leaf in jax.tree.leaves(end.neuron):
            assert np.isfinite(leaf[good]).all()
        if spikes is None or count is None:
            continue
        assert np.all(count[good] <= layer.capacity)
        left &= count <= layer.capacity
        times, sources = spikes.times, spikes.sources
        there = np.arange(layer.capacity) < np.minimum(count, layer.capacity)[:, None]
        np.testing.assert_array_equal(there[good], np.isfinite(times[good]))
        assert np.all(there | (np.isposinf(times) & (sources == 0)))
        inside = (times >= t0) & (times <= t1)
        assert np.all((inside & (sources >= 0) & (sources < layer.neuron.size))[there])
        rising = np.where(there, times, np.inf)
        assert np.all(rising[:, 1:] >= rising[:, :-1])
    # Only one more thing can go wrong here: too much in flight for the state.
    full = np.asarray(sol.result == ej.RESULTS.in_flight_exceeded)
    np.testing.assert_array_equal(good, left & ~full)
    first, *rest = sol.final_state
    late = [first.returning, *(x for y in rest for x in (y.arriving, y.returning))]
    assert not full.any() or any(x is not None for x in late)


def train(spikes: ej.Spikes, sample: int, order=None) -> tuple[np.ndarray, np.ndarray]:
    """Spikes of a sample neuron by neuron: simultaneous ones have no order."""
    times, sources = (np.asarray(x[sample]) for x in (spikes.times, spikes.sources))
    there = np.isfinite(times)
    times, sources = times[there], sources[there]
    sources = sources if order is None else order[sources]
    place = np.lexsort((times, sources))
    return times[place], sources[place]


def compare(one: ej.Solution, two: ej.Solution, which, shift=0.0, order=None) -> None:
    """The same spikes in some samples."""
    for layer, (x, y) in enumerate(zip(one.spikes, two.spikes, strict=True)):
        if x is None:
            continue
        for sample in np.flatnonzero(which & okay(one) & okay(two)):
            want = train(x, sample)
            got = train(y, sample, order if layer == 0 else None)
            np.testing.assert_array_equal(got[1], want[1])
            np.testing.assert_allclose(got[0] - shift, want[0], rtol=0, atol=1e-6)


def ties_reordered(spikes: ej.Spikes, seed: int) -> ej.Spikes:
    """Events at the same time in another order."""
    rng = np.random.default_rng(seed)
    times, sources = np.asarray(spikes.times), np.array(spikes.sources)
    for row, when in zip(sources, times, strict=True):
        order = np.lexsort((rng.uniform(size=len(when)), when))
        there = np.isfinite(when)
        row[:] = np.where(there, row[order], 0)
    return ej.Spikes(spikes.times, jnp.asarray(sources))


def joined(one: ej.Solution, two: ej.Solution) -> ej.Solution:
    """Both halves of a run as one."""
    spikes = tuple(
        None if x is None else jax.tree.map(np.asarray, x.merge(y))  # of numpy arrays
        for x, y in zip(one.spikes, two.spikes, strict=True)
    )
    return eqx.tree_at(lambda s: s.spikes, two, spikes, is_leaf=lambda x: x is None)


@eqx.filter_jit
def slopes(network, spikes, which, adjoint):
    def loss(given):
        network, times = given
        given = ej.Spikes(times, spikes.sources)
        sol = ej.simulate(network, given, T1, adjoint=adjoint, throw=False)
        out, end = sol.spikes[0], sol.final_state[0]
        there = jnp.isfinite(out.times) & which[:, None]
        angle = jnp.where(there, out.times, 0.0) / 3
        angle += out.sources.astype(angle.dtype)
        voltages = jnp.where(which[:, None], jnp.tanh(end.v), 0.0)
        return jnp.sum(jnp.where(there, jnp.sin(angle), 0.0)) + jnp.sum(voltages)

    return eqx.filter_grad(loss)((network, spikes.times))


def same_slopes(network: ej.Network, spikes: ej.Spikes, which) -> None:
    """Eventprop and Direct agree, in some samples."""
    one, two = (
        slopes(network, spikes, which, x) for x in (ej.Eventprop(), ej.Direct())
    )
    for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        scale = float(jnp.max(jnp.abs(y))) + 1.0
        np.testing.assert_allclose(x, y, rtol=1e-7, atol=1e-8 * scale)
