"""Runs on a time grid: against exact runs, against a loop written out, against parts."""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from convergence import slopes
from networks import dense, random_lif, random_spikes, random_weight

import eventjax as ej
from eventjax._solver._step import advance


BATCH, INPUTS, NEURONS, OUTPUTS, T1 = 2, 4, 5, 3, 24.0
GRID = ej.Clocked(0.5)
RULE = ej.Surrogate()


def lif_layer(rng, in_size: int, size: int, delay=None, back=None) -> ej.Layer:
    """`back`: the delays of a recurrent connection, 0.0 for none, `None` for no
    connection."""
    lif = random_lif(rng, size)
    into = dense(random_weight(rng, lif, in_size, 6 / in_size, 2 / in_size), delay)
    recurrent = None
    if back is not None:
        weight = random_weight(rng, lif, size, 0.0, 0.2)
        recurrent = dense(weight, None if np.ndim(back) == 0 and back == 0 else back)
    return ej.Layer(into, ej.LIF(size, **lif), recurrent, capacity=64)


def readout(rng, delay=None) -> ej.Layer:
    connection = dense(rng.normal(1.0, 0.5, (NEURONS, OUTPUTS)), delay)
    return ej.Layer(connection, ej.LeakyIntegrator(OUTPUTS))


def delays(rng, low: float, high: float, size: int):
    return jnp.asarray(rng.uniform(low, high, size).round(1))


def make_case(back: str, seed: int = 4) -> tuple[ej.Network, ej.Spikes]:
    """A network with delays of all kinds, and input for it."""
    rng = np.random.default_rng(seed)
    kinds: dict[str, Any] = {
        "none": None,
        "undelayed": 0.0,
        "one": 2.4,
        "many": delays(rng, 1, 4, NEURONS),
    }
    layers = [
        lif_layer(rng, INPUTS, NEURONS, delays(rng, 0, 3, INPUTS), kinds[back]),
        readout(rng, None if back == "none" else delays(rng, 0, 3, NEURONS)),
    ]
    return ej.Network(layers), random_spikes(rng, BATCH, 9, INPUTS, 0.8 * T1)


def run(network, spikes, t1=T1, solver=GRID, adjoint=RULE, **more) -> ej.Solution:
    return ej.simulate(network, spikes, t1, solver=solver, adjoint=adjoint, **more)


@pytest.mark.parametrize("back", ["undelayed", "one", "many"])
def test_first_order(back):
    network, spikes = make_case(back)
    dts = [0.04, 0.02, 0.01, 0.005, 0.0025]
    record = np.linspace(3.0, T1, 9)
    times, voltages = slopes(network, spikes, T1, dts, record)
    assert 0.8 < times < 1.3
    assert 0.8 < voltages < 1.3


def by_hand(
    network, spikes, drive, detach_reset, recurrent_steps, forward_steps, steps, dt
):
    """The same network as a loop that is written out, with textbook formulas: frames of
    the LIF layer and the course of the readout's voltages."""
    hidden, out = network.layers
    neuron = hidden.neuron
    times, sources = np.asarray(spikes.times), np.asarray(spikes.sources)
    frame = np.floor((times + np.asarray(hidden.connection.delay)[sources]) / dt)
    raster = np.zeros((steps, BATCH, INPUTS))
    for b in range(BATCH):
        for k, source in zip(frame[b], sources[b], strict=True):
            if k < steps:
                raster[int(k), b, source] += 1

    def go(v, i, bias, tau_mem, tau_syn):
        decay_mem, decay_syn = jnp.exp(-dt / tau_mem), jnp.exp(-dt / tau_syn)
        gain = tau_syn / (tau_mem - tau_syn) * (decay_mem - decay_syn)
        return bias + (v - bias) * decay_mem + i * gain, i * decay_syn

    row = lambda x: x[None]
    back = getattr(hidden.recurrent, "connection", hidden.recurrent).weight
    bias = row(neuron.bias) + drive
    bias_out = jnp.asarray(out.neuron.bias)

    def step(carry, raster):
        v, i, v_out, i_out, past = carry  # past[k]: the frame before the last k
        v, i = go(v, i, bias, row(neuron.tau_mem), row(neuron.tau_syn))
        i = i + raster @ hidden.connection.connection.weight
        i = i + past[recurrent_steps - 1] @ back
        x = v - row(neuron.v_threshold)
        soft = x / (1 + jnp.abs(x) / 0.25)  # has the derivative of SuperSpike(0.25)
        z = jnp.where(x >= 0, 1.0, 0.0) + soft - jax.lax.stop_gradient(soft)
        kill = jax.lax.stop_gradient(z) if detach_reset else z
        v = v * (1 - kill) + row(neuron.v_reset) * kill
        v_out, i_out = go(
            v_out, i_out, bias_out, out.neuron.tau_mem, out.neuron.tau_syn
        )
        i_out = i_out + past[forward_steps - 1] @ out.connection.connection.weight
        past = jnp.concatenate([z[None], past[:-1]])
        return (v, i, v_out, i_out, past), (z, v_out)

    zeros, zeros_out = jnp.zeros((BATCH, NEURONS)), jnp.zeros((BATCH, OUTPUTS))
    past = jnp.zeros((max(recurrent_steps, forward_steps), BATCH, NEURONS))
    start = zeros, zeros, zeros_out, zeros_out, past
    _, (frames, course) = jax.lax.scan(step, start, jnp.asarray(raster))
    return jnp.moveaxis(frames, 0, 1), jnp.moveaxis(course, 0, 1)


@pytest.mark.parametrize(
    "back, detach_reset, recurrent_steps", [("undelayed", True, 1), ("one", False, 5)]
)
def test_gradient_is_that_of_a_loop_by_hand(back, detach_reset, recurrent_steps):
    steps, dt = 40, 0.5
    network, spikes = make_case(back)
    weight = network.layers[1].connection.connection
    network = eqx.tree_at(
        lambda n: n.layers[1].connection, network, ej.AxonalDelay(weight, 1.0)
    )
    adjoint = ej.Surrogate(ej.surrogates.SuperSpike(0.25), detach_reset)
    rng = np.random.default_rng(0)
    reads = rng.normal(size=(BATCH, steps, NEURONS)), rng.normal(size=(BATCH, OUTPUTS))
    drive = jnp.asarray(rng.uniform(0, 0.5, (BATCH, NEURONS)))
    fixed = lambda n: [n.layers[0].connection.delay]
    if back == "one":
        fixed = lambda n: [n.layers[0].connection.delay, n.layers[0].recurrent.delay]

    def combine(dynamic):
        return eqx.combine(dynamic, static)

    is_free = jax.tree.map(eqx.is_inexact_array, network)
    is_free = eqx.tree_at(fixed, is_free, replace_fn=lambda _: False)
    dynamic, static = eqx.partition(network, is_free)

    def ours(dynamic, drive):
        sol = run(
            combine(dynamic), spikes, steps * dt, adjoint=adjoint, drive=[drive, None]
        )
        frames, end = sol.frames[0].counts, sol.final_state[1].v
        loss = jnp.sum(frames * reads[0]) + jnp.sum(sol.max_voltages * reads[1])
        return loss + jnp.sum(end), (frames, sol.max_voltages, end)

    def theirs(dynamic, drive):
        frames, course = by_hand(
            combine(dynamic),
            spikes,
            drive,
            detach_reset,
            recurrent_steps,
            forward_steps=2,
            steps=steps,
            dt=dt,
        )
        most = jnp.maximum(jnp.max(course, axis=1), 0.0)  # 0 at the start
        end = course[:, -1]
        loss = jnp.sum(frames * reads[0]) + jnp.sum(most * reads[1]) + jnp.sum(end)
        return loss, (frames, most, end)

    gradient = lambda f: jax.jit(jax.grad(f, (0, 1), has_aux=True))(dynamic, drive)
    (one, values), (two, expected) = gradient(ours), gradient(theirs)
    assert values[0].sum() > 20
    for x, y in zip(values, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-11, atol=1e-11)
    leaves = jax.tree.leaves(one), jax.tree.leaves(two)
    assert len(leaves[0]) == 9
    for x, y in zip(*leaves, strict=True):
        assert np.abs(x).max() > 1e-3
        np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-9)

    # Forward mode says the same.
    tangent = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), dynamic)
    f = lambda dynamic: ours(dynamic, drive)[0]
    slope = jax.jit(lambda d, t: jax.jvp(f, (d,), (t,))[1])(dynamic, tangent)
    dot = sum(jnp.sum(x * y) for x, y in zip(leaves[0], jax.tree.leaves(tangent)))
    np.testing.assert_allclose(slope, dot, rtol=1e-9)


@pytest.mark.parametrize("back", ["none", "undelayed", "many"])
def test_one_run_is_two_halves(back):
    network, spikes = make_case(back)
    middle, solver = 11.5, ej.Clocked(0.5, max_delay=3.0 if back == "none" else 5.0)
    # Some input on the grid, and on the very end of the first half.
    times = jnp.sort(jnp.round(spikes.times * 2).at[:, 4].set(2 * middle) / 2, axis=1)
    spikes = ej.Spikes(times, spikes.sources)
    network = eqx.tree_at(
        lambda n: n.layers[0].connection.delay, network, jnp.zeros(INPUTS)
    )

    @eqx.filter_jit
    def halves(network):
        one = run(network, spikes, middle, solver)
        nothing = ej.Spikes(jnp.full((BATCH, 1), jnp.inf), jnp.zeros((BATCH, 1), int))
        state = one.final_state
        return one, run(network, nothing, T1, solver, t0=middle, state=state)

    one, two = halves(network)
    whole = eqx.filter_jit(run)(network, spikes, solver=solver)
    assert two.frames[0].t0 == middle
    assert one.frames[0].counts.shape == (BATCH, 23, NEURONS)
    counts = jnp.concatenate([s.frames[0].counts for s in (one, two)], axis=1)
    np.testing.assert_array_equal(counts, whole.frames[0].counts)
    assert counts.sum() > 10
    for k in range(2):
        assert (whole.final_state[k].pending is None) == (back == "none" and k == 1)
    for x, y in zip(
        jax.tree.leaves(two.final_state), jax.tree.leaves(whole.final_state)
    ):
        np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-12)
    highest = [np.asarray(s.max_voltages) for s in (one, two, whole)]
    np.testing.assert_allclose(np.maximum(*highest[:2]), highest[2])


def test_batch_is_vmap_and_one_trace():
    network, spikes = make_case("many")
    network = eqx.tree_at(
        lambda n: [n.layers[0].recurrent.delay, n.layers[1].connection.delay],
        network,
        [2.0, 1.0],
    )
    record = jnp.linspace(0.0, T1, 5)
    traced = eqx.debug.assert_max_traces(
        lambda network, spikes: run(network, spikes, record=record), max_traces=1
    )
    batched = eqx.filter_jit(traced)
    mapped = eqx.filter_jit(
        jax.vmap(lambda spikes: run(network, spikes, record=record))
    )(spikes)
    sols = batched(network, spikes), mapped
    more = jax.tree.map(lambda x: x * 1.01 if eqx.is_array(x) else x, network)
    batched(more, spikes)
    parts = [(x.frames, x.final_state, x.voltages, x.max_voltages) for x in sols]
    for x, y in zip(*map(jax.tree.leaves, parts), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(sols[0].num_spikes[0], mapped.num_spikes[0])


class Plain(ej.AbstractNeuron):
    """LIF neurons of which only the differential equation is known."""

    inner: ej.LIF
    size: int = eqx.field(static=True)

    def initial_state(self):
        return self.inner.initial_state()

    def vector_field(self, t, state, drive):
        return self.inner.vector_field(t, state, drive)

    def receive(self, state, current):
        return self.inner.receive(state, current)

    def threshold(self, t, state):
        return self.inner.threshold(t, state)

    def reset(self, t, state):
        return self.inner.reset(t, state)


@pytest.mark.parametrize(
    "integrator", [diffrax.Euler(), diffrax.Heun(), diffrax.Tsit5()]
)
def test_a_step_is_that_of_the_integrator(integrator):
    rng = np.random.default_rng(5)
    neuron = Plain(ej.LIF(3, **random_lif(rng, 3)), 3)
    state = ej.LIFState(*jnp.asarray(rng.normal(size=(2, 3))))
    drive, dt = jnp.asarray(rng.normal(size=3)), 0.7
    term = diffrax.ODETerm(lambda t, y, args: neuron.vector_field(t, y, args))

    def theirs():
        memory = integrator.init(term, 2.0, 2.7, state, drive)
        return integrator.step(term, 2.0, 2.7, state, drive, memory, False)[0]

    ours = advance(integrator, neuron, jnp.asarray(2.0), state, drive, dt)
    for x, y in zip(jax.tree.leaves(ours), jax.tree.leaves(jax.jit(theirs)())):
        np.testing.assert_allclose(x, y, rtol=1e-13)
    exact = neuron.inner.flow(state, drive, dt)
    error = np.abs(ours.v - exact.v).max()
    order = {"Euler": 1, "Heun": 2, "Tsit5": 5}[type(integrator).__name__]
    assert error < 0.3 ** (order + 1)


@pytest.mark.parametrize("kind", ["closed", "plain"])
def test_record(kind):
    """Between grid points the neurons go on from the one before; on them the voltage is
    that after what happens there."""
    network, spikes = make_case("none")
    hidden = network.layers[0]
    neuron = hidden.neuron if kind == "closed" else Plain(hidden.neuron, NEURONS)
    network = ej.Network([ej.Layer(hidden.connection, neuron)])
    times = [3.0, 0.0, 3.2, 7.49, 7.5, T1]
    go = eqx.filter_jit(lambda n, record: run(n, spikes, record=record))
    sol = go(network, jnp.asarray(times))
    grid = go(network, GRID.dt * jnp.arange(49.0)).voltages[0]
    np.testing.assert_allclose(sol.voltages[0][:, 5], sol.final_state[0].v)
    np.testing.assert_array_equal(sol.voltages[0][:, 1], 0.0)
    np.testing.assert_allclose(sol.voltages[0][:, [0, 4]], grid[:, [6, 15]])
    state = eqx.filter_jit(run)(network, spikes, 3.0).final_state[0].neuron
    go_on = jax.vmap(lambda s: advance(GRID.integrator, neuron, 3.0, s, 0.0, 3.2 - 3.0))
    np.testing.assert_allclose(sol.voltages[0][:, 2], go_on(state).v, rtol=1e-12)
    # Where a neuron has spiked it has been reset.
    fired = np.asarray(sol.frames[0].counts) > 0
    assert fired.sum() > 10
    v_reset = np.broadcast_to(hidden.neuron.v_reset, fired.shape)
    np.testing.assert_allclose(grid[:, 1:][fired], v_reset[fired], rtol=1e-14)


def test_neurons_without_closed_form():
    network, spikes = make_case("one")
    hidden = network.layers[0]
    plain = ej.Layer(hidden.connection, Plain(hidden.neuron, NEURONS), hidden.recurrent)
    network = ej.Network([hidden]), ej.Network([plain])
    solver = ej.Clocked(0.1)
    one, two = (jax.jit(lambda n=n: run(n, spikes, solver=solver))() for n in network)
    assert one.num_spikes[0].sum() > 20
    np.testing.assert_array_equal(one.frames[0].counts, two.frames[0].counts)
    assert one.max_voltages is None
    np.testing.assert_allclose(one.final_state[0].v, two.final_state[0].v, atol=1e-3)


def test_first_spike_times():
    network, spikes = make_case("none")
    network = ej.Network(network.layers[:1])

    def loss(network, reads_times):
        sol = run(network, spikes)
        times = sol.first_spike_times
        loss = jnp.sum(sol.frames[0].counts)
        if reads_times:
            loss = jnp.sum(jnp.where(jnp.isfinite(times), times, 0.0))
        return loss, (times, sol.frames[0].counts)

    where = lambda n: n.layers[0].connection.connection.weight

    def gradient(weight, reads_times):
        f = lambda w: loss(eqx.tree_at(where, network, w), reads_times)
        return jax.grad(f, has_aux=True)(weight)

    weight = where(network)
    _, (times, counts) = jax.jit(gradient, static_argnums=1)(weight, False)
    counts = np.asarray(counts)
    first = np.where(counts.any(1), counts.argmax(1) * GRID.dt, np.inf)
    np.testing.assert_allclose(times, first)
    with pytest.raises(RuntimeError, match="First spike times .* have no gradient"):
        jax.jit(gradient, static_argnums=1)(weight, True)
