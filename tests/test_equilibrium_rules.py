"""Rules of `ej.equilibrium`: each update against its definition, and all of them against
finite differences of the loss."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

import eventjax as ej
from eventjax.equilibrium import (
    ContinualEP,
    EqSpike,
    HardSigmoid,
    initial_state,
    LIFRate,
    Network,
    Neuron,
    Nudge,
    pair_kernel,
    pair_kernel_zero,
    RateEP,
    run_phase,
    Sigmoid,
    spike_timing,
)
from eventjax.equilibrium._spike_update import window_update
from eventjax.equilibrium._traces import pass_window


BATCH, BETA = 3, 0.4
# On a grid, which is compiled sooner: what is tested is what is made of the spikes.
GRID = dict(solver=ej.Clocked(0.25), free=40.0, nudged=30.0)


def make(sizes=(5, 8, 6, 3), seed: int = 0, **values) -> Network:
    values = dict(gain=1.2) | values
    return Network(sizes, key=jr.key(seed), **values)


def examples(sizes=(5, 3), batch: int = BATCH, seed: int = 0):
    rng = np.random.default_rng(seed)
    return (
        jnp.asarray(rng.uniform(0, 1, (batch, sizes[0]))),
        jnp.asarray(rng.uniform(0.1, 0.6, (batch, sizes[1]))),
    )


@eqx.filter_jit
def gradient(rule, network, inputs, targets, weight=None, key=None):
    """Of the mean loss, or of a weighted sum."""

    def loss(network):
        mean, outcome = rule(network, inputs, targets, key=key)
        return mean if weight is None else jnp.sum(weight * outcome.losses)

    return eqx.filter_grad(loss)(network)


def cosines(one, two) -> list[float]:
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(two))
    norm = jnp.linalg.norm
    return [float(jnp.vdot(x, y) / (norm(x) * norm(y))) for x, y in pairs]


def assert_close(one, two, **how):
    for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_allclose(x, y, **how)


# -- the spike-driven update


def derivative(neuron: Neuron, spikes: np.ndarray, t: float) -> float:
    """g at a time, from all spikes before it."""
    since = t - spikes[spikes < t]
    syn, late = neuron.tau_syn, neuron.tau_filter
    x = np.exp(-since / syn) / syn
    r = (np.exp(-since / syn) - np.exp(-since / late)) / (syn - late)
    return float(np.sum(x - r)) / late


def by_definition(network, rule, inputs, targets, beta):
    """The update of each sample from a list of all spikes, one by one. Two that fall
    together count once, and from one side."""
    neuron, solver = network.neuron, rule.solver
    run = eqx.filter_jit(run_phase)
    free = run(network, inputs, rule.free, solver=solver, record=True)
    nudge = Nudge(targets, jnp.asarray(beta))
    args = network, inputs, rule.nudged
    nudged = run(*args, state=free.state, nudge=nudge, solver=solver, record=True)
    trains = []
    for k in range(len(network.weights)):
        early, late = (p.recording.times(neuron)[k] for p in (free, nudged))
        trains.append(np.concatenate([early, late + rule.free]))

    weights = [np.zeros((BATCH, *w.shape)) for w in network.weights]
    for k, change in enumerate(weights[1:], start=1):
        for sample, i, j in np.ndindex(change.shape):
            up, down = trains[k][:, sample, i], trains[k - 1][:, sample, j]
            for own, other, both in ((up, down, 1), (down, up, 0)):
                for t in own[np.isfinite(own) & (own > rule.free)]:
                    change[sample, i, j] += derivative(neuron, other, t)
                    if both and t in other:
                        change[sample, i, j] += float(pair_kernel(neuron, 0.0))
    gone = [b.r - a.r for a, b in zip(free.state, nudged.state)]
    weights[0] = np.asarray(gone[0])[:, :, None] * np.asarray(inputs)[:, None, :]
    total = sum(int(c.sum()) for c in nudged.counts)
    return weights, [np.asarray(x) for x in gone], total


@pytest.fixture(scope="module")
def defined():
    network, (inputs, targets) = make(), examples()
    rule = EqSpike(beta=BETA, **GRID)
    each = {
        beta: by_definition(network, rule, inputs, targets, beta)
        for beta in (BETA, 0.0, -BETA)
    }
    return network, inputs, targets, each


@pytest.mark.parametrize(
    "how, parts",
    [
        ({}, {BETA: 1}),
        (dict(control=True), {BETA: 1, 0.0: -1}),
        pytest.param(
            dict(symmetric=True), {BETA: 0.5, -BETA: -0.5}, marks=pytest.mark.slow
        ),
    ],
)
def test_update_is_that_of_all_spikes(defined, how, parts):
    network, inputs, targets, each = defined
    assert each[BETA][2] > 200
    # Samples count as their losses do.
    weight = jnp.array([0.2, 0.0, 0.5])
    rule = EqSpike(beta=BETA, **GRID, **how)
    got = gradient(rule, network, inputs, targets, weight)
    for place, name in ((0, "weights"), (1, "biases")):
        for k, leaf in enumerate(getattr(got, name)):
            sums = sum(c * each[b][place][k] for b, c in parts.items())
            want = -np.tensordot(weight, sums, axes=1) / BETA
            np.testing.assert_allclose(leaf, want, atol=1e-10)
            assert np.max(np.abs(want)) > 1e-3


def test_mean_loss_and_update(defined):
    network, inputs, targets, each = defined
    rule = EqSpike(beta=BETA, **GRID)
    update, free, made = eqx.filter_jit(rule.update)(network, inputs, targets)
    mean = [x.mean(axis=0) / BETA for x in (*each[BETA][0], *each[BETA][1])]
    assert_close((*update.weights, *update.biases), tuple(mean), atol=1e-10)
    assert sum(int(c.sum()) for c in made.counts) == each[BETA][2]

    loss, outcome = eqx.filter_jit(rule)(network, inputs, targets)
    want = 0.5 * jnp.sum((targets - free.state[-1].r) ** 2, axis=1)
    np.testing.assert_allclose(np.asarray(outcome.losses), want, rtol=1e-12)
    np.testing.assert_allclose(loss, jnp.mean(want), rtol=1e-12)
    assert_close(outcome.counts, free.counts)


def test_immediate_updates(defined):
    """Window by window, with a network that is changed for real."""
    network, inputs, targets, each = defined
    step, weight = 0.02, jnp.full(BATCH, 1 / BATCH / BETA)
    rule = EqSpike(beta=BETA, immediate=step, **GRID)
    got = gradient(rule, network, inputs, targets)
    state = eqx.filter_jit(run_phase)(network, inputs, 40.0, solver=rule.solver).state

    @eqx.filter_jit
    def window(network, state):
        how = dict(state=state, nudge=Nudge(targets, BETA), solver=rule.solver)
        new = run_phase(network, inputs, 1.0, **how).state
        pairs = zip(state[1:], state, new[1:], new)
        weights = [
            window_update(network.neuron, up, down, after.spikes, before.spikes, weight)
            for up, down, after, before in pairs
        ]
        gone = [weight[:, None] * (b.r - a.r) for a, b in zip(state, new)]
        change = (gone[0].T @ inputs, *weights), tuple(x.sum(axis=0) for x in gone)
        moved = jax.tree.map(
            lambda x, y: x + step * y, (network.weights, network.biases), change
        )
        where = lambda n: (n.weights, n.biases)
        return eqx.tree_at(where, network, moved), new

    end = network
    for _ in range(30):
        end, state = window(end, state)
    want = jax.tree.map(lambda x, y: (y - x) / step, network, end)
    assert_close(jax.tree.map(lambda x: -x, got), want, rtol=1e-7, atol=1e-9)
    late = [-x.mean(axis=0) / BETA for x in each[BETA][0]]
    assert max(1 - c for c in cosines(got.weights, late)) > 1e-4


@pytest.mark.parametrize("neuron", [Neuron(), Neuron(tau_filter=10.0)])
def test_pair_kernel(neuron):
    """One spike on each side, and windows until all has faded."""
    gaps = np.array([0.0, 0.25, 0.9, 3.0, 13.0, 14.0, 40.0, -0.25, -14.0])
    size = len(gaps)
    windows = 400
    # In windows of 1 ms: the first side at 50.3 ms.
    one, two = (np.full((windows, size, 1), np.inf) for _ in range(2))
    for n, gap in enumerate(gaps):
        for spikes, time in ((one, 50.3), (two, 50.3 + gap)):
            spikes[int(time), n, 0] = time - int(time)

    network = Network((1, 1, 1), neuron=neuron, key=jr.key(0))

    @jax.jit
    def total(one, two):
        def body(carry, spikes):
            state, change = carry
            up, down = state
            alone = lambda up, down, s, t: window_update(
                neuron, up, down, s, t, jnp.ones(1)
            )
            lift = lambda tree: jax.tree.map(lambda x: x[:, None], tree)
            change = change + jax.vmap(alone)(*lift((up, down, *spikes)))[:, 0, 0]
            new = []
            for at, s in zip(state, spikes):
                x, r = pass_window(neuron, at.x, at.r, s)
                new.append(eqx.tree_at(lambda a: (a.x, a.r), at, (x, r)))
            return (tuple(new), change), None

        start = initial_state(network, size)
        (_, change), _ = jax.lax.scan(body, (start, jnp.zeros(size)), (one, two))
        return change

    got = total(jnp.asarray(one), jnp.asarray(two))
    np.testing.assert_allclose(got, pair_kernel(neuron, gaps), atol=1e-15)
    assert got[0] > got[3] > 0 > got[5]

    zero = pair_kernel_zero(neuron)
    np.testing.assert_allclose(pair_kernel(neuron, zero), 0.0, atol=1e-15)
    t = np.linspace(0, 600, 600_001)
    assert abs(np.trapezoid(np.asarray(pair_kernel(neuron, t)), t)) < 1e-8


def test_spike_timing():
    network, (inputs, targets) = make(), examples()
    nudge = Nudge(targets, BETA)
    run = eqx.filter_jit(run_phase)
    phase = run(network, inputs, 30.0, nudge=nudge, record=True, solver=GRID["solver"])
    got = spike_timing(network.neuron, phase.recording, 1, 0)
    times = [np.asarray(t) for t in phase.recording.times(network.neuron)]
    seen = 0
    for window, sample, i in np.argwhere(np.isfinite(times[1])):
        t = times[1][window, sample, i]
        for j in range(8):
            train = times[0][:, sample, j]
            gap = np.min(np.abs(train - t))
            nearest = got.gap[window, sample, i, j]
            np.testing.assert_allclose(abs(nearest), gap, atol=1e-12)
            assert nearest == np.inf or np.any(np.isclose(train - t, nearest))
            want = derivative(network.neuron, train, t)
            change = got.change[window, sample, i, j]
            np.testing.assert_allclose(change, want, atol=1e-12)
            seen += np.isfinite(gap)
    assert seen > 300
    assert np.sum(np.isfinite(got.gap)) == seen
    with pytest.raises(ValueError, match="must be neighbours among the 3 layers"):
        spike_timing(network.neuron, phase.recording, 0, 2)


# -- rates


TINY = dict(sizes=(4, 24, 3), seed=1, gain=0.4, bias=0.25)
MEAN_FIELD = RateEP(
    LIFRate(), beta=1e-3, free=400, nudged=400, step=0.2, random_sign=False
)


def central_differences(rule, network, inputs, targets, size=1e-5, most=10):
    """Of the first entries of each leaf, and which these are."""

    @eqx.filter_jit
    def along(network, leaf: int, index):
        leaves, tree = jax.tree.flatten(network)

        def loss(amount):
            moved = leaves[leaf].reshape(-1).at[index].add(amount)
            new = [*leaves]
            new[leaf] = moved.reshape(leaves[leaf].shape)
            return rule(jax.tree.unflatten(tree, new), inputs, targets)[0]

        return (loss(size) - loss(-size)) / (2 * size)

    leaves = jax.tree.leaves(network)
    return [
        np.array([along(network, k, jnp.asarray(i)) for i in range(min(most, x.size))])
        for k, x in enumerate(leaves)
    ]


@pytest.mark.parametrize(
    "rule, values, close",
    [
        (MEAN_FIELD, {}, 0.999),
        (
            RateEP(beta=1e-3, free=200, nudged=200, random_sign=False),
            dict(gain=0.5, bias=0.2),
            0.999,
        ),
        # A nudge outside of f: the slope of f at the outputs is not in the update.
        (ContinualEP(beta=1e-3, free=200, nudged=200), dict(gain=0.3, bias=0.1), 0.98),
        (
            ContinualEP(HardSigmoid(), beta=1e-3, free=200, nudged=200),
            dict(gain=0.3, bias=0.3),
            0.999,
        ),
    ],
)
def test_rules_of_rates_are_gradients(rule, values, close):
    network = make(**(TINY | values))
    inputs, targets = examples((4, 3), batch=8)
    got = gradient(rule, network, inputs, targets)
    for x, y in zip(
        jax.tree.leaves(got), central_differences(rule, network, inputs, targets)
    ):
        x = x.reshape(-1)[: len(y)]
        assert cosines(x, jnp.asarray(y))[0] > close
        assert close < 0.999 or 0.9 < np.linalg.norm(x) / np.linalg.norm(y) < 1.1


def test_spikes_learn_as_rates_do():
    """At long filters and phases the update is that of the mean field, in all layers."""
    neuron = Neuron(tau_mem=10.0, tau_syn=20.0, tau_filter=40.0)
    network = make(**TINY, neuron=neuron)
    inputs, targets = examples((4, 3), batch=16)
    want = gradient(MEAN_FIELD, network, inputs, targets)
    rule = EqSpike(beta=0.5, free=600.0, nudged=300.0, control=True)
    got = gradient(rule, network, inputs, targets)
    assert min(cosines(got, want)) > 0.9


def test_random_sign_needs_a_key():
    network, (inputs, targets) = make(), examples()
    given = [
        gradient(RateEP(beta=b, random_sign=False), network, inputs, targets)
        for b in (1.0, -1.0)
    ]
    rule, seen = RateEP(), set()
    for seed in range(8):
        got = gradient(rule, network, inputs, targets, key=jr.key(seed))
        same = [eqx.tree_equal(got, x) for x in given]
        assert sum(map(bool, same)) == 1
        seen.add(bool(same[0]))
    assert seen == {True, False}
    without = gradient(rule, network, inputs, targets)
    assert eqx.tree_equal(without, given[0])


def test_continual_updates_change_the_weights():
    """By a loop over the steps with a network that is changed for real."""
    network, (inputs, targets) = make(gain=1.0, bias=0.0), examples()
    step, rule = 0.05, ContinualEP(immediate=0.05)
    got = gradient(rule, network, inputs, targets)
    act = lambda x: Sigmoid()(network.neuron, x)

    def totals(network, r):
        w, b = network.weights, network.biases
        return (
            inputs @ w[0].T + b[0][None] + r[1] @ w[1],
            r[0] @ w[1].T + b[1][None] + r[2] @ w[2],
            r[1] @ w[2].T + b[2][None],
        )

    @jax.jit
    def run(network):
        start, r = network, [jnp.zeros((BATCH, n)) for n in network.layer_sizes]
        free = lambda _, r: [act(x) for x in totals(network, r)]
        r = jax.lax.fori_loop(0, 40, free, r)

        def nudged(_, at):
            network, r = at
            new = [act(x) for x in totals(network, r)]
            new[-1] = new[-1] + 0.2 * (targets - r[-1])
            below = zip([inputs, *new], [inputs, *r], new, r)
            change = [x.T @ y - x0.T @ y0 for y, y0, x, x0 in below]
            gone = [jnp.sum(x - x0, axis=0) for x, x0 in zip(new, r)]
            moved = jax.tree.map(
                lambda x, y: x + step / 0.2 / BATCH * y,
                (network.weights, network.biases),
                (tuple(change), tuple(gone)),
            )
            return eqx.tree_at(lambda n: (n.weights, n.biases), network, moved), new

        end, _ = jax.lax.fori_loop(0, 15, nudged, (network, r))
        return jax.tree.map(lambda x, y: -(y - x) / step, start, end)

    assert_close(got, run(network), rtol=1e-9, atol=1e-12)
    late = gradient(ContinualEP(), network, inputs, targets)
    assert max(abs(1 - c) for c in cosines(got, late)) > 1e-5


# -- as any loss


LONG = dict(solver=ej.Clocked(0.25), free=300.0, nudged=150.0)


@pytest.mark.parametrize(
    "rule, values",
    [
        (RateEP(), dict(gain=1.0, bias=0.0)),
        (EqSpike(beta=BETA, **LONG), dict(gain=0.4)),
    ],
)
def test_training_step(rule, values):
    network, batch = make(**values), examples()

    def loss_fn(network, batch, key):
        _, outcome = rule(network, *batch, key=key)
        labels = jnp.argmax(batch[1], axis=1).astype(jnp.int32)
        right = outcome.prediction == labels
        return outcome.losses, None, {"accuracy": right.astype(float)}

    optimiser = optax.sgd(0.1)
    step = ej.train.make_step(loss_fn, optimiser)
    state = optimiser.init(eqx.filter(network, eqx.is_inexact_array))
    losses = []
    for n in range(12):
        report, network, state = step((batch, jr.key(n)), network, state)
        assert report.simulated and report.finite
        losses.append(float(report.metrics["loss"]))
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize(
    "match, make_rule",
    [
        ("`beta` must not be 0", lambda: EqSpike(beta=0.0)),
        ("`beta` must not be 0", lambda: RateEP(beta=0.0)),
        ("`beta` must be a finite", lambda: ContinualEP(beta=float("nan"))),
        ("exclude each other", lambda: EqSpike(control=True, symmetric=True)),
        ("`immediate` must be a positive", lambda: EqSpike(immediate=-1.0)),
        ("`immediate` must be a positive", lambda: ContinualEP(immediate=0.0)),
        ("`free` must be a positive whole number", lambda: RateEP(free=0)),
        ("`step` must lie", lambda: RateEP(step=0.0)),
    ],
)
def test_bad_rules(match, make_rule):
    with pytest.raises(ValueError, match=match):
        make_rule()


def test_bad_calls():
    network, (inputs, targets) = make(), examples()
    for match, rule, args in [
        ("`nudged` must be at least.*30.0 ms, got 20", EqSpike(nudged=20.0), ()),
        ("`free` must be a positive", EqSpike(free=-10.0), ()),
        ("`free` must be at least.*got 1.0", EqSpike(free=1.0), ()),
        ("between 0 and 1.0.*got 1.5", EqSpike(), (inputs, targets.at[0, 1].set(1.5))),
        ("between 0 and 1.0.*got -0.1", RateEP(), (inputs, targets.at[0, 1].set(-0.1))),
        ("`targets` must be for 3", EqSpike(), (inputs, targets[:2])),
        ("`inputs` must have shape", EqSpike(), (inputs[0], targets)),
        ("`targets` must be finite", EqSpike(), (inputs, targets * jnp.nan)),
    ]:
        with pytest.raises(ValueError, match=match):
            rule(network, *(args or (inputs, targets)))


def test_a_wrong_sample_in_a_compiled_program_has_no_loss():
    network, (inputs, targets) = make(), examples()
    rule = RateEP()
    run = eqx.filter_jit(lambda x, y: jnp.asarray(rule(network, x, y)[1].losses))
    assert jnp.all(jnp.isfinite(run(inputs, targets)))
    bad = run(inputs.at[0, 0].set(jnp.nan), targets.at[2, 1].set(1.2))
    assert jnp.isnan(bad).tolist() == [True, False, True]
