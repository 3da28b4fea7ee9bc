"""Every loss on what a recurrent network did, against central differences."""

import jax
import jax.lax as lax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import dense, random_lif, random_spikes, random_weight

import eventjax as ej


BATCH, INPUTS, HIDDEN, OUTPUTS, T1 = 2, 3, 5, 3, 30.0
LABELS = np.array([0, 2])


def draw():
    rng = np.random.default_rng(2)
    lif, out = random_lif(rng, HIDDEN), random_lif(rng, OUTPUTS)
    spikes = random_spikes(rng, BATCH, 8, INPUTS, 0.6 * T1)
    arrays = dict(
        into=random_weight(rng, lif, INPUTS, 2.5, 1.0),
        back=random_weight(rng, lif, HIDDEN, 0.0, 0.5),
        onward=random_weight(rng, out, HIDDEN, 1.2, 0.6),
        delays=(jnp.full(INPUTS, 1.0), jnp.full(HIDDEN, 2.0), jnp.full(HIDDEN, 0.5)),
        lif=lif,
        out={x: out[x] for x in ("tau_mem", "tau_syn", "bias")},
        times=spikes.times,
    )
    # Of no weak type, or every change of one would compile anew.
    arrays = jax.tree.map(lambda x: jnp.asarray(np.asarray(x)), arrays)
    return arrays, spikes.sources


def network(arrays):
    a, delays = arrays, arrays["delays"]
    hidden = ej.Layer(
        dense(a["into"], delays[0]),
        ej.LIF(HIDDEN, **a["lif"]),
        recurrent=dense(a["back"], delays[1]),
        capacity=64,
    )
    leaky = ej.LeakyIntegrator(OUTPUTS, **a["out"])
    return ej.Network([hidden, ej.Layer(dense(a["onward"], delays[2]), leaky)])


def of_spike_times(arrays, sources):
    """The recurrent neurons are the outputs."""
    spikes = ej.Spikes(arrays["times"], sources)
    sol = ej.simulate(ej.Network(network(arrays).layers[:1]), spikes, T1)
    first, loss = (sol.first_spike_times, LABELS), ej.losses
    found = [
        loss.first_spike_cross_entropy(*first, tau0=2.0, alpha=0.1, tau1=20.0),
        loss.early_spike_penalty(*first, alpha=1.0, t1=T1),
        loss.exponential_spike_penalty(*first, alpha=1.0, tau1=20.0),
        loss.time_invariant_mse(*first, delta=2.0),
    ]
    return jnp.stack(found).mean(axis=1), sol.num_spikes


def of_voltages(weighting):
    """An integral, and with one weighting the largest voltages and the integral that has
    the softmax inside."""

    def losses(arrays, sources):
        spikes, loss = ej.Spikes(arrays["times"], sources), ej.losses
        rule = ej.losses.Quadrature(T1, panels=20, points=1)
        every = isinstance(weighting, ej.weightings.InputActivity)
        sol = ej.simulate(
            network(arrays),
            spikes,
            T1,
            integrate=weighting,
            record=rule.times if every else None,
        )
        found = [loss.integral_cross_entropy(sol.voltage_integrals, LABELS)]
        if every:
            found += [
                loss.max_voltage_cross_entropy(sol.max_voltages, LABELS),
                loss.cross_entropy_in_integral(sol.voltages[1], rule, LABELS),
            ]
        return jnp.stack(found).mean(axis=1), sol.num_spikes

    return losses


slow = pytest.mark.slow
W = ej.weightings
LOSSES = [
    pytest.param(of_spike_times, id="spike times"),
    pytest.param(of_voltages(W.Exponential()), id="sum_exp"),
    pytest.param(of_voltages(W.InputActivity(5.0, 0.3)), id="voltages", marks=slow),
    pytest.param(of_voltages(W.Uniform()), id="sum", marks=slow),
    pytest.param(of_voltages(W.Linear()), id="linear", marks=slow),
    pytest.param(of_voltages(W.Sigmoid()), id="sigmoid", marks=slow),
]


@pytest.mark.parametrize("losses", LOSSES)
def test_gradients_equal_central_differences(losses):
    arrays, sources = draw()

    @jax.jit
    def slopes(arrays):
        run = lambda x: losses(x, sources)
        values, back, counts = jax.vjp(run, arrays, has_aux=True)
        each = jnp.eye(len(values))
        return values, counts, lax.map(lambda bar: back(bar)[0], each)

    values, counts, by = slopes(arrays)
    assert int(counts[0].min()) >= 5
    assert np.all(np.isfinite(values))
    leaves, structure = jax.tree.flatten(arrays)
    for n, leaf in enumerate(leaves):
        rng = np.random.default_rng(n)
        way = jnp.asarray(rng.normal(size=leaf.shape))

        def at(h):
            moved = [y + h * way if k == n else y for k, y in enumerate(leaves)]
            found, number, _ = slopes(jax.tree.unflatten(structure, moved))
            # A spike that comes or goes is no part of the derivative.
            jax.tree.map(np.testing.assert_array_equal, number, counts)
            return found

        h = 1e-5
        expected = (at(h) - at(-h)) / (2 * h)
        found = jnp.tensordot(jax.tree.leaves(by)[n], way, way.ndim)
        np.testing.assert_allclose(found, expected, rtol=3e-6, atol=1e-8)


def test_spike_counts_on_a_grid():
    """A surrogate gradient: the loss falls along it."""
    arrays, sources = draw()
    spikes = ej.Spikes(arrays["times"], sources)

    def loss(arrays):
        hidden = ej.Layer(dense(arrays["into"]), ej.LIF(HIDDEN, **arrays["lif"]))
        out = ej.Layer(dense(arrays["onward"]), ej.LIF(OUTPUTS, v_threshold=0.5))
        sol = ej.simulate(
            ej.Network([hidden, out]),
            spikes,
            T1,
            solver=ej.Clocked(0.5),
            adjoint=ej.Surrogate(),
        )
        counts = sol.frames[-1].counts.sum(axis=-2)
        return ej.losses.spike_count_cross_entropy(counts, LABELS).mean()

    weights = {x: arrays.pop(x) for x in ("into", "onward")}
    rest = {"lif": arrays["lif"]}
    step = jax.jit(jax.value_and_grad(lambda w: loss(w | rest)))
    values = []
    for _ in range(20):
        value, slope = step(weights)
        values.append(float(value))
        weights = jax.tree.map(lambda x, y: x - 0.1 * y, weights, slope)
    assert min(values[1:]) < 0.7 * values[0]
