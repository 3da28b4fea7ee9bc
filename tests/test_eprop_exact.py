"""e-prop with exact spike times: the event form equals its formula and other exact
gradients with paths cut by hand, and the density form is the limit of e-prop on a grid."""

import eprop_formula as formula
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import dense

import eventjax as ej
from eventjax._adjoint._density import course, Timeline
from eventjax._layer_problem import initial_layer_state
from eventjax._run_density import _follow
from eventjax._spikes import sort_events


INPUTS, SIZE, OUTPUTS, BATCH, T1 = 3, 3, 2, 2, 30.0
RECORD = np.array([15.0, 8.0, 29.0, 23.0])
TAU_OUT = np.array([10.0, 14.0]), np.array([4.0, 3.0])


def parameters(rng) -> dict:
    """Of `ALIF`; those of `LIF` are among them."""
    return dict(
        tau_mem=rng.uniform(10, 15, SIZE),
        tau_syn=rng.uniform(4, 6, SIZE),
        v_threshold=rng.uniform(0.9, 1.1, SIZE),
        v_reset=rng.uniform(-0.3, 0.1, SIZE),
        bias=rng.uniform(0.0, 0.4, SIZE),
        tau_adapt=rng.uniform(30, 60, SIZE),
        beta=rng.uniform(0.2, 0.4, SIZE),
    )


LIF_NAMES = "tau_mem", "tau_syn", "v_threshold", "v_reset", "bias"


def make(kind: str, layers: int, seed: int, readout: str = "LeakyIntegrator"):
    """Weights, and a function that makes a network of them."""
    rng = np.random.default_rng(seed)
    ps = [parameters(rng) for _ in range(layers)]
    w = dict(
        w=[rng.uniform(0.5, 2.2 - k, (INPUTS, SIZE)) for k in range(layers)],
        r=[rng.normal(-0.1, 0.5, (SIZE, SIZE)) * (1 - np.eye(SIZE)) for _ in ps],
        b=[rng.normal(size=(SIZE, OUTPUTS)) for _ in ps],
        out=rng.normal(size=(SIZE, OUTPUTS)),
    )
    names = LIF_NAMES if kind == "LIF" else ps[0]

    def network(w) -> ej.Network:
        neurons = [
            getattr(ej, kind)(SIZE, **{x: jnp.asarray(p[x]) for x in names}) for p in ps
        ]
        hidden = [
            ej.Layer(dense(a), neuron, dense(r), feedback=b)
            for a, neuron, r, b in zip(w["w"], neurons, w["r"], w["b"])
        ]
        taus = dict(tau_mem=jnp.asarray(TAU_OUT[0]))
        if readout == "LeakyIntegrator":
            taus["tau_syn"] = jnp.asarray(TAU_OUT[1])
        last = getattr(ej, readout)(OUTPUTS, **taus)
        return ej.Network([*hidden, ej.Layer(dense(w["out"]), last)])

    return ps, jax.tree.map(jnp.asarray, w), network


def draw_input(seed: int, batch: int = BATCH, count: int = 14) -> ej.Spikes:
    rng = np.random.default_rng(seed)
    times = np.sort(rng.uniform(0, 25, (batch, count)), axis=1)
    sources = rng.integers(0, INPUTS, times.shape, dtype=np.int32)
    return ej.Spikes(jnp.asarray(times), jnp.asarray(sources))


def gradient(network, adjoint, spikes, **how):
    """A function of weights and the cotangents of what a loss reads: recorded voltages, and
    whatever else there is of the readout."""

    def loss(w, errors, others):
        sol = ej.simulate(
            network(w), spikes, T1, record=jnp.asarray(RECORD), adjoint=adjoint, **how
        )
        total = jnp.sum(sol.voltages[-1] * errors)
        read = jax.tree.leaves(sol.final_state[-1].neuron)
        for x in (sol.max_voltages, sol.voltage_integrals, *read):
            total = total if x is None else total + jnp.sum(x * others)
        return total, sol

    return jax.jit(jax.value_and_grad(loss, has_aux=True))


def draw_errors(seed: int):
    rng = np.random.default_rng(seed)
    errors = jnp.asarray(rng.normal(size=(BATCH, len(RECORD), OUTPUTS)))
    return errors, jnp.asarray(rng.normal(size=(BATCH, OUTPUTS)))


def close(x, y, rtol=1e-9):
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol, rtol * np.abs(y).max()),
        x,
        y,
    )


def by_formula(ps, w, spikes, sol, errors, matrices, slope_of) -> dict:
    """Gradients by all hidden weights, from the spikes of the run."""
    totals = {"w": [], "r": []}
    for k, p in enumerate(ps):
        below = spikes if k == 0 else sol.spikes[k - 1]
        weight = np.concatenate([w["w"][k], w["r"][k]])
        total = np.zeros_like(weight)
        for sample in range(BATCH):
            events = []
            for one in (below, sol.spikes[k]):
                there = np.isfinite(one.times[sample])
                events.append((one.times[sample][there], one.sources[sample][there]))
            (times, sources), sent = events
            given = (
                np.concatenate([times, sent[0]]),
                np.concatenate([sources, INPUTS + sent[1]]),
            )
            args = matrices[k], errors[sample], RECORD, slope_of
            total += formula.layer_gradient(p, weight, given, sent, *args)
        totals["w"].append(total[:INPUTS])
        totals["r"].append(total[INPUTS:])
    return totals


@pytest.fixture(scope="module")
def lif():
    """A recurrent layer of `LIF`: weights, input, the rule's gradient and the exact one."""
    ps, w, network = make("LIF", 1, 1)
    spikes = draw_input(1)
    how = dict(integrate=ej.weightings.Uniform())
    rule = ej.EventEProp(ej.feedback.Adaptive())
    run = gradient(network, rule, spikes, **how)
    exact = gradient(network, ej.Eventprop(), spikes, **how)
    return ps, w, spikes, run, exact


def test_event_form_of_lif_is_its_formula(lif):
    """With feedback weights of its own, which get the gradient of the readout's; values
    are those of an ordinary run."""
    ps, w, spikes, run, exact = lif
    p = [q | {"beta": np.zeros(SIZE)} for q in ps]
    errors, others = draw_errors(1)
    (value, sol), grad = run(w, errors, 0 * others)
    assert sol.num_spikes[0].tolist() == [19, 19]
    slope_of = lambda h: formula.kernel_slope(h, *TAU_OUT)
    expected = by_formula(p, w, spikes, sol, errors, w["b"], slope_of)
    close({x: grad[x] for x in "wr"}, expected)
    (same, ordinary), full = exact(w, errors, 0 * others)
    assert value == same
    assert eqx.tree_equal(sol.voltages, ordinary.voltages)
    assert jnp.array_equal(sol.max_voltages, ordinary.max_voltages)
    close(grad["out"], full["out"])
    close(grad["b"], [full["out"]])
    assert np.abs(full["r"][0] - grad["r"][0]).max() > 1e-3


def test_event_form_without_paths_to_cut_is_exact(lif):
    """Not recurrent, fed back by the readout's weights; the loss reads all that there is of
    the readout."""
    _, w, _, run, exact = lif
    w = w | {"r": [0 * w["r"][0]], "b": [w["out"]]}
    args = draw_errors(2)
    (value, sol), grad = run(w, *args)
    assert np.all(sol.num_spikes[0] >= 8)
    (same, _), full = exact(w, *args)
    assert value == same
    close(
        {x: grad[x] for x in ("w", "r", "out")}, {x: full[x] for x in ("w", "r", "out")}
    )


def test_event_form_of_alif_in_two_layers():
    """Random feedback, and a readout of `DeltaIntegrator`."""
    ps, w, network = make("ALIF", 2, 2, "DeltaIntegrator")
    spikes = draw_input(2)
    rule = ej.EventEProp(ej.feedback.Random())
    errors, others = draw_errors(3)
    (_, sol), grad = gradient(network, rule, spikes)(w, errors, 0 * others)
    assert [n.tolist() for n in sol.num_spikes[:2]] == [[8, 7], [4, 4]]
    slope_of = lambda h: -np.exp(-h / TAU_OUT[0]) / TAU_OUT[0]
    expected = by_formula(ps, w, spikes, sol, errors, w["b"], slope_of)
    close({x: grad[x] for x in "wr"}, expected)
    assert all(np.all(np.abs(x).max(0) > 0) for x in expected["w"] + expected["r"])
    assert all(np.all(x == 0) for x in grad["b"])


def test_event_form_is_direct_with_arrivals_held_fixed():
    """Gradients of all parameters, delays and input times from a loss on spike times."""
    ps, w, _ = make("LIF", 1, 3)
    spikes = draw_input(3)
    neuron = ej.LIF(SIZE, **{x: jnp.asarray(ps[0][x]) for x in LIF_NAMES})
    rng = np.random.default_rng(3)
    rate = jnp.asarray(rng.normal(size=(BATCH, 32)))
    args = w["w"][0], w["r"][0], neuron, jnp.asarray(rng.uniform(0.5, 2, SIZE))

    def read(network, spikes, adjoint):
        sol = ej.simulate(network, spikes, T1, adjoint=adjoint)
        times = sol.spikes[0].times
        there = jnp.isfinite(times)
        return jnp.sum(jnp.where(there, times, 0.0) * rate), sol.spikes[0]

    @eqx.filter_jit
    def ours(args, times):
        def loss(args):
            (weight, back, neuron, delay), times = args
            layer = ej.Layer(dense(weight), neuron, dense(back, delay))
            given = ej.Spikes(times, spikes.sources)
            return read(ej.Network([layer]), given, ej.EventEProp())

        return eqx.filter_value_and_grad(loss, has_aux=True)((args, times))

    @eqx.filter_jit
    def theirs(args, times, own):
        def loss(args):
            (weight, back, neuron, delay), times = args
            layer = ej.Layer(dense(jnp.concatenate([weight, back])), neuron)
            there = jnp.isfinite(own.times)
            arrival = jnp.where(there, own.times, 0.0) + delay[own.sources]
            sources = jnp.where(there, INPUTS + own.sources, 0)
            returning = ej.Spikes(
                *sort_events(jnp.where(there, arrival, jnp.inf), sources)
            )
            given = ej.Spikes(times, spikes.sources).merge(returning)
            return read(ej.Network([layer]), given, ej.Direct())

        return eqx.filter_value_and_grad(loss, has_aux=True)((args, times))

    (value, own), grad = ours(args, spikes.times)
    assert own.count().tolist() == [16, 16]
    (same, _), expected = theirs(args, spikes.times, own)
    np.testing.assert_allclose(value, same, rtol=1e-12)
    close(grad, expected)
    assert all(np.abs(x).max() > 1e-3 for x in jax.tree.leaves(grad))


# The density form.

SHAPE = ej.surrogates.Gaussian(0.3, 0.3)


def on_a_line(times, received, source, neuron, fine: int, count: int = 80) -> Timeline:
    """Events of one sample, with `fine` pieces between any two; the rest is at the end."""
    edges = np.concatenate([[0.0], times])
    pieces = np.arange(1, fine + 1) / fine
    all_times = (edges[:-1, None] + np.diff(edges)[:, None] * pieces).reshape(-1)
    place = fine * np.arange(1, len(times) + 1) - 1
    given = np.zeros((count, 1, neuron.size))
    given[place, 0] = received
    sources = np.full((count, 1), -1, np.int32)
    sources[place, 0] = source
    rest = np.full(count - len(all_times), times[-1])
    line = np.concatenate([all_times, rest])[:, None]
    return Timeline(jnp.asarray(line), jnp.asarray(given), jnp.asarray(sources))


def follow(neuron, shape=SHAPE):
    """A function of the timeline: what a smooth learning signal makes of the density, and
    its gradient by what arrives, by event times, and by the neuron."""

    def loss(neuron, received, times, line):
        line = Timeline(times, received, line.source)
        state = jax.tree.map(lambda x: x[None], neuron.initial_state())
        drive = jnp.zeros((1, neuron.size))
        end = course(neuron, line, state, drive, jnp.zeros(()), shape, 1)
        signal = jnp.cos(end.density.times / 5)[:, :, None]
        return jnp.sum(signal * end.density.spiked)

    def run(line):
        of = eqx.filter_grad(lambda args: loss(args[0], args[1], args[2], line))
        return of((neuron, line.received, line.times))

    return eqx.filter_jit(run)


TIMES = np.array([3.0, 7.0, 9.0, 11.0, 20.0])
RECEIVED = np.array([[3.0], [2.0], [0.0], [1.5], [0.0]])
SOURCE = np.array([-1, -1, 0, -1, -1])


def test_density_has_order_four():
    neuron = ej.ALIF(1, tau_adapt=40.0, beta=0.6)
    run = follow(neuron)
    events = TIMES, RECEIVED, SOURCE, neuron
    ours = []
    for fine in (1, 2, 4, 16):
        received = run(on_a_line(*events, fine))[1]
        place = fine * np.arange(1, len(TIMES) + 1) - 1
        ours.append(received[place, 0, 0][np.array([0, 1, 3])])
    errors = [np.abs(x - ours[-1]).max() for x in ours[:-1]]
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.all(orders > 3.5), orders


def test_density_of_lif_is_its_integral():
    """The integral over a fine grid, with differences of voltages for their derivatives; a
    spike resets the voltage, and its time counts as given. Also `ALIF` without beta."""
    tau_mem, tau_syn, bias, reset = 12.0, 5.0, 0.3, -0.2
    how = dict(tau_mem=jnp.array([tau_mem]), v_reset=jnp.array([reset]))
    how |= dict(tau_syn=tau_syn, bias=bias)
    neuron = ej.LIF(1, **how)
    grad = follow(neuron)(on_a_line(TIMES, RECEIVED, SOURCE, neuron, 16))
    also = ej.ALIF(1, beta=0.0, **how)
    again = follow(also)(on_a_line(TIMES, RECEIVED, SOURCE, also, 16))
    close((again[0].tau_mem, again[1]), (grad[0].tau_mem, grad[1]), 1e-12)

    edges = np.concatenate([[0.0], TIMES])
    nodes, weights = np.polynomial.legendre.leggauss(40)
    half = np.diff(edges)[:, None] / 2
    t, weight = (
        (edges[:-1, None] + half * (nodes + 1)).ravel(),
        (half * weights).ravel(),
    )

    def voltage(w, when, tau_mem, reset):
        kick = lambda t, t_i: formula.kernel(np.maximum(t - t_i, 0), tau_mem, tau_syn)
        v = bias * (1 - np.exp(-t / tau_mem))
        v = v + sum(x * kick(t, s) for x, s in zip(w, when))
        at = TIMES[2]
        before = bias * (1 - np.exp(-at / tau_mem))
        before += sum(x * kick(at, s) for x, s in zip(w, when))
        return v + (t > at) * (reset - before) * np.exp(-(t - at) / tau_mem)

    arrivals = np.array([0, 1, 3])
    x0 = np.concatenate([RECEIVED[arrivals, 0], TIMES[arrivals], [tau_mem, reset]])
    of = lambda x: voltage(x[:3], x[3:6], x[6], x[7])
    density = np.cos(t / 5) * np.asarray(SHAPE(jnp.asarray(of(x0) - 1.0)))
    expected = []
    for k in range(len(x0)):
        step = 1e-5 * np.eye(len(x0))[k]
        change = (of(x0 + step) - of(x0 - step)) / 2e-5
        expected.append(np.sum(weight * density * change))
    place = 16 * (arrivals + 1) - 1
    found = [grad[1][place, 0, 0], grad[2][place, 0]]
    found = np.concatenate([*found, grad[0].tau_mem, grad[0].v_reset])
    np.testing.assert_allclose(found, expected, rtol=4e-6)


def test_density_follows_the_exact_course():
    """Voltages, at times in any order, and the final state; own spikes come back late."""
    ps, w, _ = make("ALIF", 1, 2)
    neuron = ej.ALIF(SIZE, **{x: jnp.asarray(y) for x, y in ps[0].items()})
    back = dense(w["r"][0], jnp.asarray([0.5, 1.0, 8.0]))
    layer = ej.Layer(dense(w["w"][0]), neuron, back)
    spikes, record = draw_input(5), jnp.asarray(RECORD)
    rule = ej.DensityEProp(shape=SHAPE)

    @jax.jit
    def run(spikes):
        sol = ej.simulate(ej.Network([layer]), spikes, T1, record=record)
        start = initial_layer_state(layer, BATCH, record.dtype)
        at = jnp.broadcast_to(record[None], (BATCH, len(RECORD)))
        times = jnp.zeros(()), jnp.asarray(T1)
        return sol, *_follow(
            layer, sol.spikes[0], spikes, start, None, *times, at, rule
        )

    sol, found, voltages = run(spikes)
    assert np.all(sol.num_spikes[0] >= 5)
    np.testing.assert_allclose(voltages, sol.voltages[0], rtol=0, atol=1e-12)
    close(found.state, sol.final_state[0].neuron, 1e-11)


def test_density_is_the_limit_of_steps():
    """To first order in the length of the steps."""
    _, w, network = make("ALIF", 1, 2)
    batch = 64
    spikes = draw_input(4, batch)
    rng = np.random.default_rng(4)
    errors = jnp.asarray(rng.normal(size=(batch, len(RECORD), OUTPUTS)))

    def gradient(adjoint, solver):
        def loss(w):
            sol = ej.simulate(
                network(w),
                spikes,
                T1,
                record=jnp.asarray(RECORD),
                adjoint=adjoint,
                solver=solver,
            )
            return jnp.sum(sol.voltages[-1] * errors), sol

        grad, sol = jax.jit(jax.grad(loss, has_aux=True))(w)
        flat = np.concatenate([np.ravel(x) for x in jax.tree.leaves(grad)])
        return flat, np.sum(sol.num_spikes[0])

    exact, count = gradient(ej.DensityEProp(shape=SHAPE), ej.ClosedForm())
    lengths, errors_of = [0.2, 0.1, 0.05, 0.025], []
    for dt in lengths:
        shape = ej.surrogates.Gaussian(0.3, 0.3 * dt)
        found, other = gradient(ej.EProp(shape=shape), ej.Clocked(dt))
        assert abs(other - count) <= 20
        errors_of.append(np.linalg.norm(found - exact) / np.linalg.norm(exact))
    slope = np.polyfit(np.log(lengths), np.log(errors_of), 1)[0]
    assert 0.8 < slope < 1.2 and errors_of[-1] < 0.03, (slope, errors_of)
    assert count == 792


def test_density_gives_spike_times_no_gradient():
    """An error, not a zero; those that a loss does not read are none."""
    _, w, network = make("LIF", 1, 1)

    def of(w, read):
        rule = ej.DensityEProp(ej.feedback.Random())
        sol = ej.simulate(network(w), draw_input(1), T1, adjoint=rule, throw=False)
        return jnp.sum(read(sol))

    shape = lambda read: jax.eval_shape(jax.grad(lambda w: of(w, read)), w)
    shape(lambda sol: sol.final_state[-1].v)
    with pytest.raises(RuntimeError, match="no gradient under `DensityEProp`"):
        shape(lambda sol: sol.spikes[0].times)


class Drift(ej.AbstractNeuron):
    """Never spikes, and is no readout that a rule knows."""

    size: int = eqx.field(static=True, default=2)

    def initial_state(self):
        return ej.VoltageState(jnp.zeros(self.size))

    def vector_field(self, t, state, drive):
        return ej.VoltageState(-(state.v**3))

    def receive(self, state, current):
        return ej.VoltageState(state.v + current)

    def threshold(self, t, state):
        return None

    def reset(self, t, state):
        return state


def test_bad_input():
    _, w, network = make("LIF", 1, 1)
    net, spikes = network(w), draw_input(1)
    hidden, readout = net.layers
    key = jax.random.key(0)

    def raises(match, net, adjoint, solver=ej.ClosedForm()):
        with pytest.raises(ValueError, match=match):
            run = lambda s: ej.simulate(net, s, T1, adjoint=adjoint, solver=solver)
            eqx.filter_eval_shape(run, spikes)

    event, density = ej.EventEProp(), ej.DensityEProp()
    grid = ej.Clocked(0.5)
    raises("`EventEProp` does not .* `Clocked`: use .* `EProp", net, event, grid)
    raises("`DensityEProp` does not .* `Clocked`: use .* `EProp", net, density, grid)
    diffrax = ej.DiffraxEvent()
    raises("`DensityEProp` does not .* `DiffraxEvent`: use", net, density, diffrax)
    raises("`EProp` does not .* `ClosedForm`: use .* `EventEProp", net, ej.EProp())

    other = ej.Network([hidden, ej.Layer(readout.connection, Drift())])
    raises("takes a readout of `LeakyIntegrator`.*`Drift`", other, event)
    raises("the last layer, of `LIF`, spikes", ej.Network([hidden]), density)
    delayed = dense(w["out"], jnp.ones(SIZE))
    late = ej.Network([hidden, ej.Layer(delayed, readout.neuron)])
    raises("a readout without delays", late, event)
    qif = ej.Network([ej.Layer(hidden.connection, ej.QIF(SIZE)), readout])
    raises("is for `LIF` and `ALIF`, but `layers.0.` is of `QIF`", qif, density)
    wide = ej.Layer(ej.Dense(3, 5, key=key), ej.LIF(5), feedback=jnp.ones((5, 2)))
    two = ej.Network([wide, ej.Layer(ej.Dense(5, 3, key=key), ej.LIF(3)), readout])
    raises("give all layers one size", two, event)
    two = eqx.tree_at(
        lambda n: n.layers[1].feedback,
        two,
        jnp.ones((3, 2)),
        is_leaf=lambda x: x is None,
    )
    raises("`Adaptive` feedback", two, ej.EventEProp(ej.feedback.Adaptive()))
    with pytest.raises(ValueError, match="`max_jump` must be above 1"):
        ej.EventEProp(max_jump=0.5)
    with pytest.raises(ValueError, match="`substeps` must be at least 1"):
        ej.DensityEProp(substeps=0)
    wrong = ej.DensityEProp(shape=jnp.sum)
    raises("`shape` must keep the shape", net, wrong)
