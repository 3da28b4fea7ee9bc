"""e-prop on a time grid: the same gradients as autodiff of cut graphs and as the recursions
of eligibility traces."""

import itertools as it

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from eprop_reference import draw, network, run, Setting, tau, traces, with_

import eventjax as ej


STEPS, BATCH = 20, 2
KINDS = ["LIF", "SteppedALIF", "STDPALIF", "SteppedIzhikevich"]
FEEDBACK = {
    "symmetric": ej.feedback.Symmetric(),
    "random": ej.feedback.Random(),
    "adaptive": ej.feedback.Adaptive(),
}


def close(x, y, part=1e-12):
    """To a part of the largest value of each array."""

    def one(x, y):
        np.testing.assert_allclose(x, y, rtol=0, atol=part * np.abs(y).max() + 1e-300)

    jax.tree.map(one, x, y)


def make(setting: Setting, seed: int = 0):
    k1, k2, k3 = jax.random.split(jax.random.key(seed), 3)
    x = jax.random.normal(k1, (STEPS, BATCH, setting.inputs))
    return draw(setting, k2), x, jax.random.normal(k3, (STEPS, BATCH, setting.outputs))


def simulate(setting: Setting, p: dict, x, rule) -> ej.Solution:
    frames = ej.Frames(jnp.moveaxis(x, 0, 1), 1.0)
    times = jnp.arange(1.0, STEPS + 1)
    return ej.simulate(
        network(setting, p),
        frames,
        float(STEPS),
        solver=ej.Clocked(1.0),
        adjoint=rule,
        record=times,
    )


def outputs(sol: ej.Solution):
    """`[steps, batch, outputs]`, and spikes of hidden layers in the same order."""
    first = lambda x: jnp.moveaxis(x, 1, 0)
    return first(sol.voltages[-1]), [first(f.counts) for f in sol.frames[:-1]]


FAST = {
    ("LIF", "random"),
    ("SteppedALIF", "symmetric"),
    ("STDPALIF", "adaptive"),
    ("SteppedIzhikevich", "random"),
}
GRAPHS = [
    x if x in FAST else pytest.param(*x, marks=pytest.mark.slow)
    for x in it.product(KINDS, FEEDBACK)
]


@pytest.mark.parametrize(("kind", "feedback"), GRAPHS)
def test_routed_graph(kind, feedback):
    """With each feedback gradients are those of the graph that is routed by hand, and
    those of the written-out recursions; two layers, values included."""
    setting = Setting(kind, (4, 4))
    p, x, error = make(setting)
    rule = ej.EProp(FEEDBACK[feedback], shape=setting.shape)

    def loss(of):
        def total(p):
            y, zs = of(p)
            return jnp.sum(y * error), (y, zs)

        return jax.jit(jax.grad(total, has_aux=True))

    ours, (y, zs) = loss(lambda p: outputs(simulate(setting, p, x, rule)))(p)
    theirs, (y2, zs2) = loss(lambda p: run(setting, p, x, rule=feedback))(p)
    assert all(z.sum() >= 5 for z in zs)
    # Its traces grow by orders of magnitude at each upstroke, and so does rounding
    part = 5e-12 if kind == "SteppedIzhikevich" else 1e-12
    close((y, zs), (y2, zs2))
    close(ours, theirs, part)
    if feedback == "random":
        assert all(np.all(b == 0) for b in ours["b"])
    matrices = [p["out"]] * 2 if feedback == "symmetric" else p["b"]
    recursions = jax.jit(lambda *args: traces(setting, *args))
    w, r = zip(*recursions(p, x, error, matrices), strict=True)
    off = lambda x: x * (1 - jnp.eye(4))
    close([off(x) for x in ours["r"]], [off(x) for x in r], part)
    close(ours["w"], list(w), part)


@pytest.mark.parametrize("kind", KINDS)
def test_one_layer_is_bptt_without_recurrent_paths(kind):
    """Identity (i), with the loop that all rules share as the other side."""
    setting = Setting(kind)
    p, x, error = make(setting, 1)
    rule = ej.EProp(shape=setting.shape)

    class Cut(ej.AbstractClockedAdjoint):
        def check(self, solver):
            pass

        @property
        def paths(self):
            return ej.Paths(reset=False, recurrent=False)

        def spike(self, distance):
            return rule.spike(distance)

    def gradient(rule):
        of = lambda p: jnp.sum(outputs(simulate(setting, p, x, rule))[0] * error)
        return jax.jit(jax.grad(of))(p)

    close(gradient(rule), gradient(Cut()))


@pytest.mark.parametrize("kind", KINDS)
def test_total_learning_signal_is_bptt(kind):
    """Identity (ii): with dE/dz, through all neurons, for a learning signal."""
    setting = Setting(kind)
    p, x, error = make(setting, 2)
    probe = [jnp.zeros((STEPS, BATCH, n)) for n in setting.sizes]

    def loss(p, probe):
        return jnp.sum(run(setting, p, x, probe=probe)[0] * error)

    full, signal = jax.jit(jax.grad(loss, (0, 1)))(p, probe)

    @jax.jit
    def ours(p):
        rule = ej.EProp(shape=setting.shape)
        _, pull = jax.vjp(lambda p: outputs(simulate(setting, p, x, rule))[1], p)
        return pull(signal)[0]

    found = ours(p)
    close((found["w"], found["r"]), (full["w"], full["r"]))
    surrogate = ej.Surrogate(setting.shape)
    of = lambda p: jnp.sum(outputs(simulate(setting, p, x, surrogate))[0] * error)
    close(jax.jit(jax.grad(of))(p), full | {"b": jax.tree.map(jnp.zeros_like, p["b"])})


REGRESSION = {
    "SteppedALIF": ([3, 7, 12, 19], 4.421597, 18.804376),
    "STDPALIF": ([3, 8, 14, 20], 2.351470, 9.679599),
}


@pytest.mark.parametrize("kind", REGRESSION)
def test_regression_vector(kind):
    neuron = getattr(ej, kind)(1, tau_mem=tau(0.8), tau_adapt=tau(0.975))
    x = np.zeros((1, 24, 1))
    x[0, [2, 3, 7, 8, 9, 13, 14, 19, 20], 0] = 1
    ones = jnp.ones((1, 1))
    layers = [
        ej.Layer(with_(0.5 * ones), neuron),
        ej.Layer(with_(ones), ej.DeltaIntegrator(1, tau_mem=tau(0.8))),
    ]
    rule = ej.EProp(shape=ej.surrogates.Triangle(1.6, 0.3))

    def sums(net):
        sol = ej.simulate(
            net,
            ej.Frames(jnp.asarray(x), 1.0),
            24.0,
            drive=[0.45, None],
            record=jnp.arange(1.0, 25.0),
            solver=ej.Clocked(1.0),
            adjoint=rule,
        )
        return (sol.frames[0].counts.sum(), sol.voltages[1].sum()), sol

    jacobian, sol = eqx.filter_jit(eqx.filter_jacrev(sums, has_aux=True))(
        ej.Network(layers)
    )
    spikes, e, bar = REGRESSION[kind]
    assert list(np.nonzero(sol.frames[0].counts[0, :, 0])[0]) == spikes
    found = [j.layers[0].connection.weight[0, 0] for j in jacobian]
    np.testing.assert_allclose(found, [e, bar], rtol=0, atol=6e-7)


def test_stdp_window():
    """The weight change of a pair of spikes, by the lag between them, has the closed form
    of the specification."""
    alpha, thr, gamma, delta, post = 0.9, 1.0, 0.3, 5, 30
    neuron = ej.STDPALIF(
        1, tau_mem=tau(alpha), beta=0.0, v_threshold=thr, refractory=float(delta)
    )
    lags = np.arange(-20, delta + 3)  # of the input after the spike
    x = np.zeros((len(lags), 60, 2))
    x[np.arange(len(lags)), post + lags, 0] = 1
    # The other input drives the neuron over its threshold once
    ramp = np.arange(post + 1) / post
    x[:, : post + 1, 1] = 0.15 * ramp
    weight = jnp.array([[0.0], [1.0]])
    net = ej.Network([ej.Layer(with_(weight), neuron)])
    rule = ej.EProp(shape=ej.surrogates.Triangle(thr, gamma))

    def run(net):
        sol = ej.simulate(
            net,
            ej.Frames(jnp.asarray(x), 1.0),
            60.0,
            record=jnp.arange(1.0, 61.0),
            solver=ej.Clocked(1.0),
            adjoint=rule,
        )
        return jnp.sum(sol.frames[0].counts, (1, 2)), sol

    jacobian, sol = eqx.filter_jit(eqx.filter_jacrev(run, has_aux=True))(net)
    spikes = np.asarray(sol.frames[0].counts[:, :, 0])
    when = np.argmax(spikes[0])
    assert spikes.sum() == len(lags) and np.all(spikes[:, when] == 1)
    lags = lags + post - when
    v = np.asarray(sol.voltages[0][0, :, 0])
    psi = gamma * np.maximum(0, 1 - np.abs(v - thr) / thr)
    for n, found in zip(lags, jacobian.layers[0].connection.weight[:, 0, 0]):
        if n <= 0:
            k = np.arange(-n + 1)
            expected = np.sum(alpha**k * psi[when + n + k])
        elif n <= delta:
            expected = -gamma * (1 - alpha ** (delta - n + 1)) / (1 - alpha)
        else:
            continue  # for the next spike, of which there is none
        np.testing.assert_allclose(found, expected, rtol=1e-10)
    assert (lags < 0).sum() > 5 and (lags > 0).sum() > 5


def test_bad_input():
    setting = Setting("SteppedALIF", (4, 3))
    p, x, _ = make(setting)
    with pytest.raises(ValueError, match="give all layers one size"):
        simulate(setting, p, x, ej.EProp(shape=setting.shape))
    bare = p | {"b": [None, None]}
    with pytest.raises(ValueError, match="ej.init.add_feedback"):
        simulate(setting, bare, x, ej.EProp(ej.feedback.Random()))
    drawn = ej.init.add_feedback(network(setting, bare), key=jax.random.key(0))
    assert [y.feedback is None for y in drawn.layers] == [False, False, True]
    assert drawn.layers[1].feedback.shape == (3, 2)
    frames = ej.Frames(jnp.moveaxis(x, 0, 1), 1.0)
    spiking = ej.Network(drawn.layers[:-1])
    how = dict(solver=ej.Clocked(1.0), adjoint=ej.EProp(ej.feedback.Random()))
    with pytest.raises(ValueError, match="add a layer of `DeltaIntegrator`"):
        ej.simulate(spiking, frames, float(STEPS), **how)
    with pytest.raises(ValueError, match="`EProp` does not work with the solver"):
        spikes = ej.Spikes(jnp.array([1.0]), jnp.array([0]))
        one, _, _ = make(Setting("LIF"))
        ej.simulate(network(Setting("LIF"), one), spikes, 5.0, adjoint=ej.EProp())
    with pytest.raises(ValueError, match="`feedback` must have shape"):
        ej.Layer(ej.Dense(2, 3, key=jax.random.key(0)), ej.LIF(3), feedback=x[0])
    with pytest.raises(ValueError, match="`refractory` must be 0 or positive"):
        ej.SteppedALIF(3, refractory=-1.0)
    with pytest.raises(ValueError, match="has no ODE"):
        neuron = ej.SteppedALIF(3)
        neuron.vector_field(0.0, neuron.initial_state(), 0.0)
    with pytest.raises(ValueError, match="`mask` must be a NumPy array"):
        ej.Masked(ej.Dense(2, 3, key=jax.random.key(0)), jnp.ones((2, 3)))


def test_masked():
    """A synapse that is not there has no effect and no gradient, on a grid and exactly."""
    dense = ej.Dense(3, 4, key=jax.random.key(0))
    mask = np.ones((3, 4), bool)
    mask[1, 2] = False
    masked = ej.Masked(dense, mask)
    zero = with_(dense.weight.at[1, 2].set(0.0))
    spikes = ej.Spikes(jnp.array([1.0, 2.0, 3.0, 4.0]), jnp.array([0, 1, 2, 1]))

    def times(connection, solver):
        net = ej.Network([ej.Layer(connection, ej.LeakyIntegrator(4))])
        rule = ej.Surrogate() if isinstance(solver, ej.Clocked) else ej.Eventprop()
        sol = ej.simulate(
            net, spikes, 20.0, record=jnp.array([20.0]), solver=solver, adjoint=rule
        )
        return jnp.sum(sol.voltages[0])

    for solver in (ej.ClosedForm(), ej.Clocked(0.5)):
        of = eqx.filter_jit(eqx.filter_value_and_grad(lambda c: times(c, solver)))
        value, gradient = of(masked)
        same, plain = of(zero)
        np.testing.assert_allclose(value, same, rtol=1e-12)
        expected = np.where(mask, plain.weight, 0.0)
        np.testing.assert_allclose(gradient.connection.weight, expected, rtol=1e-12)
        assert plain.weight[1, 2] != 0
