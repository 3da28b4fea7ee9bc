"""Delays of single synapses and delay lines, in the exact solver."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from jaxtyping import Array
from networks import dense, random_lif, random_spikes, random_weight

import eventjax as ej


BATCH, INPUTS, NEURONS, EVENTS, CAPACITY = 2, 4, 6, 14, 96
T1 = 60.0
LAGS = (0.0, 5.0, 2.5)


simulate = eqx.filter_jit(ej.simulate)


class Leaves(eqx.Module):
    """All that gradients reach, of one layer."""

    weight: Array  # [copies * inputs, neurons]
    delay: Array  # [inputs, neurons]
    recurrent: Array  # [copies * neurons, neurons]
    recurrent_delay: Array
    times: Array
    tau_mem: Array
    tau_syn: Array
    v_threshold: Array
    v_reset: Array
    bias: Array
    v: Array
    i: Array

    @property
    def lif(self) -> dict:
        names = "tau_mem tau_syn v_threshold v_reset bias"
        return {name: getattr(self, name) for name in names.split()}


KINDS = ["synaptic", "synaptic and recurrent", "line", "line and recurrent line"]


def fast(*kinds: str):
    """All kinds, but those that are not named only with the slow tests."""
    slow = pytest.mark.slow
    values = [x if x in kinds else pytest.param(x, marks=slow) for x in KINDS]
    return pytest.mark.parametrize("kind", values)


def make_network(leaves: Leaves, kind: str) -> ej.Network:
    """Of one layer; each kind uses some of the leaves."""
    weight, recurrent = leaves.weight, None
    if kind.startswith("line"):
        connection = ej.DelayLine(dense(0.5 * weight), LAGS)
    else:
        connection = ej.SynapticDelay(dense(weight[:INPUTS]), leaves.delay)
    if kind.endswith("recurrent"):
        recurrent = dense(leaves.recurrent[:NEURONS], leaves.recurrent_delay)
    elif kind.endswith("recurrent line"):
        line = ej.DelayLine(dense(leaves.recurrent), LAGS)
        recurrent = ej.AxonalDelay(line, leaves.recurrent_delay)
    neuron = ej.LIF(NEURONS, **leaves.lif)
    return ej.Network([ej.Layer(connection, neuron, recurrent, capacity=CAPACITY)])


@eqx.filter_jit
def run(leaves, sources, kind, adjoint=ej.Eventprop(), state=None, t0=0.0, t1=T1):
    if state is None:
        state = (ej.LayerState(ej.LIFState(leaves.v, leaves.i)),)
    return ej.simulate(
        make_network(leaves, kind),
        ej.Spikes(leaves.times, sources),
        t1,
        t0=t0,
        state=state,
        adjoint=adjoint,
        throw=False,
    )


def draw(rng: np.random.Generator) -> tuple[Leaves, Array]:
    lif = random_lif(rng, NEURONS, rng.choice(["mixed", "mixed", "near", "swapped"]))
    spikes = random_spikes(rng, BATCH, EVENTS, INPUTS, 0.8 * T1)
    copies = len(LAGS)
    shape = BATCH, NEURONS
    leaves = Leaves(
        weight=random_weight(rng, lif, copies * INPUTS, 0.8, 0.8),
        delay=jnp.asarray(rng.uniform(0, 8, (INPUTS, NEURONS))),
        recurrent=random_weight(rng, lif, copies * NEURONS, -0.15, 0.5),
        recurrent_delay=jnp.asarray(rng.uniform(0.5, 4, NEURONS)),
        times=spikes.times,
        **lif,
        v=jnp.asarray(rng.uniform(-0.5, 0.5, shape)),
        i=jnp.asarray(rng.uniform(-1, 2, shape)),
    )
    return leaves, spikes.sources


def expanded(leaves: Leaves, sources, sample: int, kind: str):
    """Every arrival at every neuron as an event with one weight: rows, times, index."""
    rows, times = [], []
    for t, k in zip(np.asarray(leaves.times[sample]), np.asarray(sources[sample])):
        for n in range(NEURONS if np.isfinite(t) else 0):
            row = np.eye(NEURONS)[n]
            if not kind.startswith("line"):
                rows.append(row * float(leaves.weight[k, n]))
                times.append(t + float(leaves.delay[k, n]))
                continue
            for copy, lag in enumerate(LAGS):
                rows.append(0.5 * row * float(leaves.weight[copy * INPUTS + k, n]))
                times.append(t + lag)
    return np.array(rows), np.array(times), np.arange(len(rows))


def reference_run(leaves: Leaves, sources, sample: int, kind: str) -> reference.Run:
    back = {}
    if kind.endswith("recurrent"):
        back = dict(recurrent=leaves.recurrent[:NEURONS])
        back["recurrent_delay"] = leaves.recurrent_delay
    elif kind.endswith("recurrent line"):
        back = dict(recurrent=leaves.recurrent.reshape(len(LAGS), NEURONS, NEURONS))
        lags = np.array(LAGS)[:, None]
        back["recurrent_delay"] = lags + np.asarray(leaves.recurrent_delay)
    start = dict(v=leaves.v[sample], i=leaves.i[sample])
    given = expanded(leaves, sources, sample, kind)
    return reference.simulate(*given, T1, **leaves.lif, **start, **back)


@fast("synaptic", "line and recurrent line")
def test_against_the_reference(kind):
    rng = np.random.default_rng(0)
    spikes = 0
    for _ in range(6):
        leaves, sources = draw(rng)
        sol = run(leaves, sources, kind)
        for sample in range(BATCH):
            want = reference_run(leaves, sources, sample, kind)
            count = len(want.times)
            spikes += count
            assert sol.num_spikes[0][sample] == count <= CAPACITY
            got, end = sol.spikes[0], sol.final_state[0]
            np.testing.assert_allclose(got.times[sample, :count], want.times, rtol=1e-9)
            np.testing.assert_array_equal(got.sources[sample, :count], want.sources)
            assert np.all(np.isinf(got.times[sample, count:]))
            np.testing.assert_allclose(end.v[sample], want.v, atol=1e-9)
            np.testing.assert_allclose(end.i[sample], want.i, atol=1e-9)
    assert spikes > 200


class Loss(eqx.Module):
    """Coefficients of a smooth function of spike times and final state. A spike counts
    by its source, so that two that change places do not matter."""

    amplitude: Array
    phase: Array
    v: Array
    i: Array

    @classmethod
    def draw(cls, rng) -> "Loss":
        return cls(*(jnp.asarray(rng.normal(size=NEURONS)) for _ in range(4)))

    def __call__(self, sol: ej.Solution) -> Array:
        spikes, end = sol.spikes[0], sol.final_state[0]
        there = jnp.isfinite(spikes.times)
        angle = jnp.where(there, spikes.times, 0.0) / 5 + self.phase[spikes.sources]
        by_time = jnp.where(there, self.amplitude[spikes.sources] * jnp.sin(angle), 0.0)
        by_state = jnp.tanh(end.v) @ self.v + end.i**2 @ self.i
        return jnp.sum(by_time) + jnp.sum(by_state)


@eqx.filter_jit
def gradient(leaves: Leaves, sources: Array, loss: Loss, kind: str, adjoint):
    def value(leaves):
        sol = run(leaves, sources, kind, adjoint)
        return loss(sol), sol

    slopes, sol = eqx.filter_grad(value, has_aux=True)(leaves)
    return slopes, sol.spikes[0], sol.okay


# Differences of fourth order with two steps, which must agree with each other.
STEPS = np.array([4e-6, 1e-6])
OFFSETS = np.array([-2, -1, 1, 2])


@eqx.filter_jit
def differences(leaves, sources, loss, direction, kind):
    """For each leaf (rows) and step the slope along `direction`, and the number of
    spikes of each neuron at all places (last axis) it is computed from."""
    tree, structure = jax.tree.flatten(direction)
    steps = (STEPS[:, None] * OFFSETS).ravel()

    def at(which, step):
        moved = [x * jnp.where(which == k, step, 0.0) for k, x in enumerate(tree)]
        moved = eqx.apply_updates(leaves, jax.tree.unflatten(structure, moved))
        sol = run(moved, sources, kind)
        counts = sol.spikes[0].counts_per_source(NEURONS)
        return loss(sol), jnp.where(sol.okay, counts, -1)

    over_steps = jax.vmap(at, in_axes=(None, 0))
    over_leaves = jax.vmap(over_steps, in_axes=(0, None))
    values, counts = over_leaves(jnp.arange(len(tree)), jnp.asarray(steps))
    values = values.reshape(len(tree), len(STEPS), 4)
    weights = np.array([1, -8, 8, -1]) / (12 * STEPS[:, None])
    return jnp.sum(values * weights[None], axis=-1), counts


def draw_direction(rng, leaves: Leaves) -> Leaves:
    def one(x):
        return jnp.asarray(np.where(np.isfinite(x), rng.normal(size=x.shape), 0.0))

    return jax.tree.map(one, leaves)


def norm(x: Array) -> float:
    return float(jnp.linalg.norm(x))


UNUSED = {
    "synaptic": ["recurrent", "recurrent_delay"],
    "synaptic and recurrent": [],
    "line": ["delay", "recurrent", "recurrent_delay"],
    "line and recurrent line": ["delay"],
}


@fast("synaptic", "line")
def test_eventprop_equals_direct(kind):
    rng, total = np.random.default_rng(1), 0
    for _ in range(20):
        (leaves, sources), loss = draw(rng), Loss.draw(rng)
        slopes, spikes, okay = gradient(leaves, sources, loss, kind, ej.Eventprop())
        want, other, _ = gradient(leaves, sources, loss, kind, ej.Direct())
        assert okay
        total += int(jnp.sum(spikes.count()))
        np.testing.assert_allclose(spikes.times, other.times, rtol=1e-10)
        np.testing.assert_array_equal(spikes.sources, other.sources)
        for name in leaves.__dict__:
            one, two = getattr(slopes, name), getattr(want, name)
            assert (norm(two) > 0) == (name not in UNUSED[kind]), name
            assert norm(one - two) <= 1e-10 * norm(two), name
    assert total > 400


@fast("synaptic")
def test_eventprop_against_differences(kind):
    rng, not_smooth, worst = np.random.default_rng(1), 0, {}
    for _ in range(20):
        (leaves, sources), loss = draw(rng), Loss.draw(rng)
        slopes, _, okay = gradient(leaves, sources, loss, kind, ej.Eventprop())
        assert okay
        direction = draw_direction(rng, leaves)
        numeric, counts = differences(leaves, sources, loss, direction, kind)
        sizes = np.array([norm(x) for x in jax.tree.leaves(slopes)])
        large, small = np.asarray(numeric).T
        # A step made or lost a spike, or took one past an arrival at its neuron, where
        # the slope jumps. What is not used has differences of rounding.
        smooth = np.all(np.asarray(counts) == np.asarray(counts)[0, 0])
        smooth &= np.all(np.abs(large - small) <= 1e-6 * sizes + 1e-8)
        not_smooth += not smooth
        for k, name in enumerate(leaves.__dict__):
            if smooth and sizes[k] > 0:
                slope = getattr(slopes, name) * getattr(direction, name)
                error = abs(float(jnp.sum(slope)) - large[k]) / sizes[k]
                worst[name] = max(worst.get(name, 0.0), error)
    print(f"{kind}: {not_smooth} of 20 not smooth; worst errors")
    print("  ".join(f"{name} {error:.1e}" for name, error in worst.items()))
    assert len(worst) == len(leaves.__dict__) - len(UNUSED[kind])
    assert not_smooth <= 4
    assert max(worst.values()) < 1e-6


def empty(dtype=float) -> tuple[Array, Array]:
    return jnp.full((BATCH, 1), jnp.inf, dtype), jnp.zeros((BATCH, 1), jnp.int32)


def two_halves(leaves, sources, kind, middle):
    """Both runs; all input is given to the first."""
    one = run(leaves, sources, kind, t1=middle)
    times, none = empty()
    rest = eqx.tree_at(lambda x: x.times, leaves, times)
    two = run(rest, none, kind, state=one.final_state, t0=middle)
    return one, two


@fast("synaptic")
def test_one_run_equals_two_halves(kind):
    rng = np.random.default_rng(2)
    leaves, sources = draw(rng)
    middle = float(leaves.times[0, 6]) + 1.0
    whole = run(leaves, sources, kind)
    one, two = two_halves(leaves, sources, kind, jnp.array(middle))
    assert one.okay and two.okay
    arriving = np.asarray(one.final_state[0].arriving.times)
    # Some spikes have been sent, and have reached some neurons or some of the lags only.
    assert np.any(arriving < middle)
    both = one.spikes[0].merge(two.spikes[0])
    want = whole.spikes[0]
    assert one.num_spikes[0].sum() > 3 and two.num_spikes[0].sum() > 3
    np.testing.assert_allclose(both.times[:, :CAPACITY], want.times, rtol=1e-12)
    np.testing.assert_array_equal(both.sources[:, :CAPACITY], want.sources)
    ends = two.final_state[0], whole.final_state[0]
    np.testing.assert_allclose(ends[0].v, ends[1].v, atol=1e-11)
    np.testing.assert_allclose(ends[0].i, ends[1].i, atol=1e-11)


@pytest.mark.slow
def test_gradients_of_two_halves():
    rng = np.random.default_rng(2)
    (leaves, sources), loss = draw(rng), Loss.draw(rng)
    kind, middle = "synaptic and recurrent", jnp.asarray(leaves.times[0, 6]) + 1.0

    @eqx.filter_jit
    @eqx.filter_grad
    def of_halves(leaves):
        one, two = two_halves(leaves, sources, kind, middle)
        # The state in the middle is none that the loss reads.
        return loss(two) + loss(one) - loss(without_spikes(one))

    def without_spikes(sol):
        times, none = empty()
        return eqx.tree_at(lambda s: s.spikes, sol, (ej.Spikes(times, none),))

    got = of_halves(leaves)
    want, _, _ = gradient(leaves, sources, loss, kind, ej.Eventprop())
    for name in leaves.__dict__:
        one, two = getattr(got, name), getattr(want, name)
        assert norm(two) > 0 and norm(one - two) < 1e-10 * norm(two), name


@fast("line")
def test_batch_equals_vmap(kind):
    leaves, sources = draw(np.random.default_rng(3))
    batch = run(leaves, sources, kind)

    @eqx.filter_jit
    def mapped(leaves, sources):
        def one(times, sources, v, i):
            new = times, v, i
            alone = eqx.tree_at(lambda x: (x.times, x.v, x.i), leaves, new)
            return run(alone, sources, kind)

        return jax.vmap(one)(leaves.times, sources, leaves.v, leaves.i)

    got = mapped(leaves, sources)
    assert batch.num_spikes[0].sum() > 10
    np.testing.assert_allclose(got.spikes[0].times, batch.spikes[0].times, rtol=1e-13)
    np.testing.assert_array_equal(got.spikes[0].sources, batch.spikes[0].sources)
    one, two = got.final_state[0], batch.final_state[0]
    np.testing.assert_allclose(one.v, two.v, atol=1e-12)
    np.testing.assert_array_equal(one.arriving.times, two.arriving.times)


def one_row_for_each_arrival(leaves: Leaves, sources, kind: str):
    """A layer without delays whose input is what arrives, each at one neuron, and that
    input: the same as far as the neurons can tell."""
    samples, rows = [], []
    for sample in range(BATCH):
        new, times, index = expanded(leaves, sources, sample, kind)
        samples.append((times, index + sum(map(len, rows))))
        rows.append(new)
    spikes = ej.Spikes.from_ragged(samples, dtype=float)
    return dense(np.concatenate(rows)), spikes


# Of recurrent spikes it is not known beforehand what arrives.
@pytest.mark.parametrize("kind", ["synaptic", "line"])
@pytest.mark.parametrize("spiking", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_voltages(kind, spiking):
    """Recorded, and the largest of neurons that never spike."""
    leaves, sources = draw(np.random.default_rng(4))
    neuron = ej.LIF(NEURONS, **leaves.lif)
    if not spiking:
        taus = {x: leaves.lif[x] for x in ("tau_mem", "tau_syn", "bias")}
        neuron = ej.LeakyIntegrator(NEURONS, **taus)
    connection = make_network(leaves, kind).layers[0].connection
    other, arrivals = one_row_for_each_arrival(leaves, sources, kind)
    record = jnp.linspace(0.0, T1, 9)

    def voltages(connection, spikes):
        layer = ej.Layer(connection, neuron, capacity=CAPACITY)
        return simulate(ej.Network([layer]), spikes, T1, record=record)

    got = voltages(connection, ej.Spikes(leaves.times, sources))
    want = voltages(other, arrivals)
    np.testing.assert_allclose(got.voltages[0], want.voltages[0], atol=1e-10)
    assert np.ptp(got.voltages[0]) > 0.5
    if not spiking:
        highest = np.asarray(want.max_voltages)
        np.testing.assert_allclose(np.asarray(got.max_voltages), highest, atol=1e-10)
        assert np.all(got.max_voltages >= np.max(got.voltages[0], axis=1) - 1e-12)


@pytest.mark.slow
def test_float32_is_kept_and_close():
    leaves, sources = draw(np.random.default_rng(5))
    single = jax.tree.map(lambda x: x.astype(jnp.float32), leaves)
    for kind in ("synaptic and recurrent", "line and recurrent line"):
        sol, exact = run(single, sources, kind), run(leaves, sources, kind)
        assert sol.spikes[0].times.dtype == sol.final_state[0].v.dtype == jnp.float32
        np.testing.assert_array_equal(sol.num_spikes[0], exact.num_spikes[0])
        one, two = sol.spikes[0].times, exact.spikes[0].times
        np.testing.assert_allclose(one, two, rtol=1e-3)


@pytest.mark.slow
def test_many_events():
    """Several windows, lists that are sorted and not counted, and tiles of neurons."""
    rng = np.random.default_rng(6)
    sources, neurons, events = 3, 300, 600
    weight = jnp.asarray(rng.normal(0.07, 0.04, (sources, neurons)))
    delay = jnp.asarray(rng.uniform(0, 20, (sources, neurons)))
    spikes = random_spikes(rng, BATCH, events, sources, T1)
    layer = ej.Layer(
        ej.SynapticDelay(dense(weight), delay), ej.LIF(neurons), capacity=4000
    )
    sol = simulate(ej.Network([layer]), spikes, T1)
    for neuron in (0, 150, 299):
        for sample in range(BATCH):
            times, index = spikes.to_ragged()[sample]
            arrival = times + np.asarray(delay)[index, neuron]
            rows = np.asarray(weight)[:, neuron : neuron + 1]
            want = reference.simulate(rows, arrival, index, T1)
            own = sol.spikes[0].sources[sample] == neuron
            got = np.asarray(sol.spikes[0].times[sample])[np.asarray(own)]
            got = got[np.isfinite(got)]
            assert len(want.times) > 0
            np.testing.assert_allclose(got, want.times, rtol=1e-9)


WEIGHT = np.ones((6, 2))


@pytest.mark.parametrize(
    "connection, wanted",
    [
        (lambda: ej.DelayLine(dense(WEIGHT), (1.0, 4.0)), [1, 1, 1, 4, 4, 4]),
        (
            lambda: ej.DelayLine(
                ej.DelayLine(dense(WEIGHT), (0.0, 7.0)), (1.0, 4.0, 2)
            ),
            [1, 4, 2, 8, 11, 9],
        ),
        (
            lambda: ej.AxonalDelay(
                ej.DelayLine(ej.AxonalDelay(dense(WEIGHT), 0.5), (1.0, 4.0)),
                jnp.array([10.0, 20.0, 30.0]),
            ),
            [11.5, 21.5, 31.5, 14.5, 24.5, 34.5],
        ),
        (
            lambda: ej.SynapticDelay(
                ej.DelayLine(ej.AxonalDelay(dense(WEIGHT), jnp.arange(6.0)), (0, 9.0)),
                jnp.array([[10.0, 20.0], [30.0, 40.0], [50.0, 60.0]]),
            ),
            [[10, 20], [31, 41], [52, 62], [22, 32], [43, 53], [64, 74]],
        ),
        (
            lambda: ej.DelayLine(
                ej.SynapticDelay(dense(WEIGHT), jnp.zeros((6, 2))), (1.0, 4.0)
            ),
            [[1, 1], [1, 1], [1, 1], [4, 4], [4, 4], [4, 4]],
        ),
    ],
)
def test_delays_add_up(connection, wanted):
    connection = connection()
    np.testing.assert_array_equal(connection.delays(), wanted)
    assert connection.copies * connection.in_size == 6
    spikes = ej.Spikes(
        jnp.array([[1.0, 2.0]]), jnp.array([[0, connection.in_size - 1]])
    )
    network = ej.Network([ej.Layer(connection, ej.LeakyIntegrator(2, tau_syn=5.0))])
    sol = simulate(network, spikes, 100.0)
    total = 0.0
    for t, k in zip((1.0, 2.0), (0, connection.in_size - 1)):
        rows = np.arange(connection.copies) * connection.in_size + k
        arrival = t + np.reshape(np.array(wanted, float)[rows], (len(rows), -1))
        total = total + np.exp((arrival - 100) / 5.0).sum(axis=0)
    np.testing.assert_allclose(sol.final_state[0].i[0], np.broadcast_to(total, 2))


def test_bad_delays():
    with pytest.raises(ValueError, match=r"shape \(6, 2\).*got shape \(6,\)"):
        ej.SynapticDelay(dense(WEIGHT), jnp.ones(6))
    for bad in (-1.0, np.nan):
        with pytest.raises(ValueError, match="must not be negative or NaN"):
            ej.SynapticDelay(dense(WEIGHT), jnp.full((6, 2), bad))
    for lags in ((), (1.0, -1.0), (np.inf,), (np.nan,)):
        with pytest.raises(ValueError, match="at least one time in ms"):
            ej.DelayLine(dense(WEIGHT), lags)
    with pytest.raises(ValueError, match="6 cannot be divided among 4 lags"):
        ej.DelayLine(dense(WEIGHT), (1.0, 2.0, 3.0, 4.0))
    with pytest.raises(ValueError, match="takes 3 sources"):
        line = ej.DelayLine(dense(WEIGHT), (1.0, 2.0))
        ej.Network(
            [ej.Layer(dense(np.ones((1, 2))), ej.LIF(2)), ej.Layer(line, ej.LIF(2))]
        )
    good = ej.SynapticDelay(dense(WEIGHT), jnp.ones((6, 2)))
    bad = eqx.tree_at(lambda c: c.delay, good, -good.delay)
    spikes = ej.Spikes(jnp.array([[1.0]]), jnp.array([[0]]))
    with pytest.raises(ValueError, match=r"`network.layers\[0\].connection.delay`"):
        ej.simulate(ej.Network([ej.Layer(bad, ej.LIF(2))]), spikes, T1)


def test_recurrent_synaptic_delays_are_refused():
    back = ej.SynapticDelay(dense(np.ones((2, 2))), jnp.ones((2, 2)))
    layer = ej.Layer(dense(WEIGHT), ej.LIF(2), back)
    spikes = ej.Spikes(jnp.array([[1.0]]), jnp.array([[0]]))
    with pytest.raises(ValueError, match="Use `AxonalDelay`"):
        ej.simulate(ej.Network([layer]), spikes, T1)


@pytest.mark.slow
def test_too_few_windows_are_a_full_buffer():
    """With recurrence a window ends where the list of the first neuron does. If these do
    so one after the other more windows may be needed than there are: no silent end."""
    events, neurons = 64, 20
    delay = jnp.asarray(3.0 * np.arange(neurons)[None])
    connection = ej.SynapticDelay(dense(np.full((1, neurons), 1e-3)), delay)
    times = jnp.asarray(np.linspace(0, 1, events)[None])
    spikes = ej.Spikes(times, jnp.zeros((1, events), jnp.int32))
    results = []
    for capacity in (4, 64):
        back = dense(np.zeros((neurons, neurons)))
        layer = ej.Layer(connection, ej.LIF(neurons), back, capacity=capacity)
        sol = simulate(ej.Network([layer]), spikes, T1, throw=False)
        results.append((sol.result, int(sol.num_spikes[0][0])))
    assert results[0] == (ej.RESULTS.capacity_exceeded, 5)
    assert results[1] == (ej.RESULTS.successful, 0)


def test_calibrate_scales_delayed_weights():
    rng = np.random.default_rng(7)
    spikes = random_spikes(rng, 3, 10, 3, 20.0)
    delay = jnp.asarray(rng.uniform(0, 3, (3, 4)))
    weight = rng.uniform(0.1, 0.2, (6, 4))
    connection = ej.SynapticDelay(ej.DelayLine(dense(weight), (0.0, 4.0)), delay)
    # Room for what the largest scale that is tried gives: compiled once.
    layer = ej.Layer(connection, ej.LIF(4), capacity=40_000)
    network = ej.init.calibrate(ej.Network([layer]), spikes, 40.0, tolerance=0.3)
    scaled = network.layers[0].connection
    np.testing.assert_array_equal(scaled.delay, delay)
    ratio = np.asarray(scaled.connection.connection.weight) / weight
    np.testing.assert_allclose(ratio, ratio[0, 0])
    count = simulate(network, spikes, 40.0).num_spikes[0]
    assert abs(count.mean() / 4 - 1) <= 0.3
