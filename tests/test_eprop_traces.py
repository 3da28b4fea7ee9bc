"""e-prop forward in time: the gradients of the factorised form, in constant memory."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from eprop_reference import draw, network, Setting, tau, with_

import eventjax as ej


STEPS, BATCH = 15, 2
FORMS = "factorised", "traces"
CLOCK = ej.Clocked(1.0)
ADAPTIVE, RANDOM = ej.feedback.Adaptive(), ej.feedback.Random()


def close(x, y):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, 1e-12, 1e-12), x, y)


def make(setting: Setting, seed: int = 0):
    """Weights, input, and derivatives by the outputs and by hidden spikes; batch first."""
    rng = np.random.default_rng(seed)
    normal = lambda n: jnp.asarray(rng.normal(size=(BATCH, STEPS, n)))
    x, error = normal(setting.inputs), normal(setting.outputs)
    own = [normal(n) for n in setting.sizes]
    return draw(setting, jax.random.key(seed)), x, error, own


def simulate(net: ej.Network, given, rule, **how) -> ej.Solution:
    record = jnp.arange(1.0, STEPS + 1)
    if not isinstance(given, ej.Spikes):
        given = ej.Frames(given, 1.0)
    how = dict(solver=CLOCK, record=record, adjoint=rule) | how
    return ej.simulate(net, given, float(STEPS), **how)


def loss(sol: ej.Solution, error, own):
    """It reads the readout and the spikes of each hidden layer."""
    parts = [sol.voltages[-1] * error]
    parts += [f.counts * x for f, x in zip(sol.frames, own)]
    return sum(jnp.sum(x) for x in parts)


CASES = {
    "LIF": ((4, 3), RANDOM),
    "SteppedALIF": ((4, 4), ej.feedback.Symmetric()),
    "STDPALIF": ((4, 4), ADAPTIVE),
    "SteppedIzhikevich": ((4,), ej.feedback.Symmetric()),
}


@pytest.mark.parametrize("kind", CASES)
def test_form(kind):
    """Both forms have the same gradients and outputs; recurrent layers, of which the loss
    reads voltages of the readout and spikes."""
    sizes, feedback = CASES[kind]
    setting = Setting(kind, sizes)
    p, x, error, own = make(setting)

    def gradient(form):
        rule = ej.EProp(feedback, shape=setting.shape, form=form)

        def of(p):
            sol = simulate(network(setting, p), x, rule)
            frames = [f.counts for f in sol.frames[:-1]]
            return loss(sol, error, own), (frames, sol.voltages)

        return jax.jit(jax.grad(of, has_aux=True))(p)

    (one, seen), (two, also) = map(gradient, FORMS)
    assert all(z.sum() >= 3 for z in seen[0])
    assert all(np.any(x != 0) for x in jax.tree.leaves((one["w"], one["r"])))
    close(two, one)
    close(also, seen)


def masked(setting: Setting, p: dict) -> ej.Network:
    """A layer without autapses, of which one is an LIF neuron."""
    (n,) = setting.sizes
    net = network(setting, p)
    inner = ej.Masked(with_(p["r"][0] + jnp.eye(n)), ~np.eye(n, dtype=bool))
    beta = jnp.array([0.3, 0.0, *[0.3] * (n - 2)])
    neuron = ej.SteppedALIF(n, tau_mem=tau(0.8), beta=beta, v_threshold=1.0)
    first, last = net.layers
    first = ej.Layer(first.connection, neuron, inner, feedback=first.feedback)
    return ej.Network([first, last])


def test_online():
    """The gradients after each step add up to that of the whole run."""
    setting = Setting("SteppedALIF")
    p, x, error, own = make(setting, 1)
    net = masked(setting, p)
    learner = ej.OnlineEProp(CLOCK, ADAPTIVE, shape=setting.shape)
    by_step = lambda x: jnp.moveaxis(x, 1, 0)

    @eqx.filter_jit
    def online(net):
        def body(state, given):
            counts, *errors = given
            state, y = learner.step(net, state, counts)
            gradient = learner.gradient(net, state, errors[0], errors[1:])
            return state, (y, state.spikes[0], gradient)

        start = learner.start(net, (BATCH,))
        given = by_step(x), by_step(error), by_step(own[0])
        _, (y, spikes, gradients) = jax.lax.scan(body, start, given)
        return by_step(y), by_step(spikes), jax.tree.map(lambda g: g.sum(0), gradients)

    y, spikes, found = online(net)
    rule = ej.EProp(ADAPTIVE, shape=setting.shape)

    def of(net):
        sol = simulate(net, x, rule)
        return loss(sol, error, own), (sol.voltages[-1], sol.frames[0].counts)

    expected, seen = eqx.filter_jit(eqx.filter_grad(of, has_aux=True))(net)
    neuron = expected.layers[0].neuron
    assert seen[1].sum() >= 3 and np.any(neuron.beta != 0)
    assert found.layers[0].neuron.beta is None  # nothing of what has no trace
    expected = eqx.tree_at(lambda g: g.layers[0].neuron.beta, expected, None)
    off = found.layers[0].recurrent.connection.weight
    assert np.all(np.diag(off) == 0) and np.count_nonzero(off) >= 6
    close((y, spikes), seen)
    close(found, expected)


def test_spikes_for_input():
    """From spikes at exact times, one of them at the very end, and with a drive: the same
    solution and gradients, numbers of bias and single samples included."""
    setting = Setting("LIF")
    p, _, error, _ = make(setting, 2)
    times = jnp.array([0.0, 1.2, 1.7, 2.5, 4.0, 7.9, 11.0, 15.0, 16.0])
    spikes = ej.Spikes(times, jnp.array([0, 1, 0, 2, 2, 1, 0, 1, 2]))
    net = eqx.tree_at(lambda n: n.layers[-1].neuron.bias, network(setting, p), 0.5)

    def run(form):
        def of(net):
            rule = ej.EProp(shape=setting.shape, form=form)
            sol = simulate(net, spikes, rule, drive=[0.1, 0.2])
            return jnp.sum(sol.voltages[-1] * error[0]), sol

        return eqx.filter_jit(eqx.filter_grad(of, has_aux=True))(net)

    (one, sol), (two, also) = map(run, FORMS)
    assert sol.num_spikes[0] >= 3 and sol.final_state[0].pending is not None
    close(two, one)
    close(also, sol)


def test_memory():
    """What a gradient needs beyond its input and the errors does not grow with time."""
    neurons, inputs, outputs = 40, 2, 1
    full = lambda *shape: with_(jnp.full(shape, 0.1))
    recurrent = full(inputs, neurons), ej.SteppedALIF(neurons), full(neurons, neurons)
    readout = full(neurons, outputs), ej.DeltaIntegrator(outputs)
    layers = [ej.Layer(*recurrent), ej.Layer(*readout)]
    weights, rest = eqx.partition(ej.Network(layers), eqx.is_array)

    def temporary(steps: int) -> int:
        def of(weights, x):
            sol = ej.simulate(
                eqx.combine(weights, rest),
                ej.Frames(x, 1.0),
                float(steps),
                record=jnp.arange(1.0, steps + 1),
                solver=CLOCK,
                adjoint=ej.EProp(form="traces"),
            )
            return jnp.sum(sol.voltages[-1] ** 2)

        x = jax.ShapeDtypeStruct((steps, inputs), jnp.float64)
        compiled = jax.jit(jax.grad(of)).lower(weights, x).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    # Copies of what is given, and not one float for each neuron
    growth = (temporary(10_000) - temporary(100)) / 9900 / 8
    assert growth < 4 * (inputs + outputs) < neurons


def test_what_has_no_traces():
    """Networks and losses that are not taken are errors that say what else to do."""
    setting = Setting("SteppedALIF")
    p, x, _, _ = make(setting)
    net = network(setting, p)
    first, last = net.layers
    start = ej.OnlineEProp(CLOCK).start
    neuron, out = first.neuron, last.connection

    def refuse(layers, match):
        with pytest.raises(ValueError, match=match):
            start(ej.Network(layers))

    refuse([first], "must be a readout of `DeltaIntegrator`")
    refuse([ej.Layer(first.connection, ej.DeltaIntegrator(4))], "the readout alone")
    slow = ej.DeltaIntegrator(2, tau_mem=jnp.array([5.0, 9.0]))
    refuse([first, ej.Layer(out, slow)], "must be a number, since all")
    back = ej.Layer(out, last.neuron, with_(jnp.eye(2)))
    refuse([first, back], "must not be recurrent")
    silent = ej.Layer(first.connection, ej.LeakyIntegrator(4))
    refuse([silent, last], "must spike to reach the next one")
    late = ej.AxonalDelay(first.connection, jnp.ones(3))
    refuse(
        [ej.Layer(late, neuron), last], "`connection` of `layers.0.` must be a `Dense`"
    )
    late = ej.AxonalDelay(first.recurrent, 2.0)
    refuse(
        [ej.Layer(first.connection, neuron, late), last], "`recurrent` of `layers.0.`"
    )

    learner = ej.OnlineEProp(CLOCK)
    state = learner.start(net, (2,))
    with pytest.raises(ValueError, match=r"`counts` must have shape \(2, 3\)"):
        learner.step(net, state, jnp.ones(3))
    with pytest.raises(ValueError, match="`by_spikes` must have one entry"):
        learner.gradient(net, state, jnp.ones((2, 2)), [None, None])

    rule = ej.EProp(shape=setting.shape, form="traces")
    with pytest.raises(ValueError, match="starts from rest"):
        held = [ej.LayerState(y.neuron.initial_state()) for y in net.layers]
        jax.eval_shape(lambda x: simulate(net, x, rule, state=held), x[0])
    with pytest.raises(ValueError, match="`record` asks for other times"):
        simulate(net, x, rule, record=np.array([1.0, 2.5]))

    def differentiate(of, given, match, error=RuntimeError):
        with pytest.raises(error, match=match):
            jax.eval_shape(jax.grad(of), given)

    def by_beta(beta):
        adaptive = eqx.tree_at(lambda n: n.layers[0].neuron.beta, net, beta)
        return jnp.sum(simulate(adaptive, x, rule).voltages[-1])

    differentiate(by_beta, jnp.ones(4), "layers.0..neuron has no gradient", ValueError)
    by_input = lambda x: jnp.sum(simulate(net, x, rule).voltages[-1])
    differentiate(by_input, x, "the input has no gradient", ValueError)

    def of(read):
        def by_weights(p):
            return jnp.sum(read(simulate(network(setting, p), x, rule)))

        return by_weights

    differentiate(
        of(lambda s: s.final_state[-1].v), p, "The final state has no gradient"
    )
    differentiate(of(lambda s: s.voltages[0]), p, "Voltages of a layer that spikes")
    differentiate(of(lambda s: s.max_voltages), p, "`max_voltages` has no gradient")


def test_feedback_of_layers_of_two_sizes():
    """Weights that learn as those of the readout need layers of its size."""
    setting = Setting("SteppedALIF", (4, 3))
    p, *_ = make(setting)
    with pytest.raises(ValueError, match="`Adaptive` feedback learns as"):
        ej.OnlineEProp(CLOCK, ADAPTIVE).start(network(setting, p))
