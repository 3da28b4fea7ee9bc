"""The firing-rate regulariser is the jump of lambda_V that the paper adds by hand."""

import types

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import eventjax as ej


T1, TAU_SYN, THETA = 40.0, 5.0, 1.0
TAUS = np.array(
    [20.0, 12.0, 7.0, 20.0]
)  # of the hidden neurons, the last one is silent
STRENGTH, TARGET = 0.03, 1.9


def _network() -> ej.Network:
    weight = jr.uniform(jr.key(0), (6, 4), minval=1.0, maxval=2.5).at[:, 3].set(0.01)
    connection = eqx.tree_at(lambda c: c.weight, ej.Dense(6, 4, key=jr.key(1)), weight)
    layers = [ej.Layer(connection, ej.LIF(4, tau_mem=jnp.asarray(TAUS)))]
    return ej.Network(layers)


def _inputs() -> ej.Spikes:
    return ej.Spikes.from_dense(jr.uniform(jr.key(2), (3, 6), maxval=30.0))


def _currents(weight, spikes, out):
    """The synaptic current of the neuron of each spike at its time, `[batch, spikes]`."""
    since = out.times[:, :, None] - spikes.times[:, None, :]
    past = jnp.isfinite(out.times)[:, :, None] & (since >= 0)
    kernel = jnp.where(past, jnp.exp(-jnp.where(past, since, 0.0) / TAU_SYN), 0.0)
    rows = weight[spikes.sources]
    mine = jnp.take_along_axis(rows, out.sources[:, None, :], axis=-1)
    return jnp.sum(kernel * jnp.swapaxes(mine, 1, 2), axis=-1)


def _with_slopes(sol, weight, spikes):
    """What the loss reads of a solution, with slopes from the closed form of the current.
    It does not look at the slopes' gradient."""
    current = _currents(weight, spikes, sol.spikes[0])
    slopes = (current - THETA) / jnp.asarray(TAUS)[sol.spikes[0].sources]
    return types.SimpleNamespace(
        spikes=sol.spikes, frames=sol.frames, final_state=sol.final_state,
        slopes=(slopes,),
    )  # fmt: skip


@eqx.filter_jit
def _loss_and_gradient(network, spikes, solver, adjoint):
    where = lambda n: n.layers[0].connection.weight

    @eqx.filter_value_and_grad(has_aux=True)
    def loss(weight):
        moved = eqx.tree_at(where, network, weight)
        sol = ej.simulate(
            moved, spikes, T1, solver=solver, adjoint=adjoint, throw=False
        )
        seen = sol
        if isinstance(adjoint, ej.Direct):  # which does not tell slopes
            seen = _with_slopes(sol, weight, spikes)
        rate = ej.losses.firing_rate(
            seen, 0, strength=STRENGTH, target=TARGET, tau_mem=jnp.asarray(TAUS)
        )
        return jnp.mean(rate), (sol, rate)

    return loss(where(network))


def _solution():
    network, spikes = _network(), _inputs()
    (_, (sol, _)), _ = _loss_and_gradient(
        network, spikes, ej.ClosedForm(), ej.Eventprop()
    )
    return _with_slopes(sol, network.layers[0].connection.weight, spikes)


def _jumps_by_hand(weight, spikes, sol, strength, target):
    """dL/dweight of the reverse equations of one layer, whose only drive is the jump."""
    weight, batch = np.asarray(weight), len(spikes.times)
    counts = np.asarray(sol.spikes[0].counts_per_source(4))
    r = strength * (counts.mean(axis=0) - target) / batch
    gradient = np.zeros_like(weight)
    for b in range(batch):
        own = [np.asarray(x[b]) for x in (sol.spikes[0].times, sol.spikes[0].sources)]
        inputs = [np.asarray(x[b]) for x in (spikes.times, spikes.sources)]
        for j, tau in enumerate(TAUS):
            events = [(t, None) for t in own[0][np.isfinite(own[0]) & (own[1] == j)]]
            events += list(zip(*inputs))
            v = i = 0.0
            last = T1
            for t, source in sorted(events, key=lambda e: e[0], reverse=True):
                em, es = np.exp(-(last - t) / tau), np.exp(-(last - t) / TAU_SYN)
                v, i = v * em, i * es + tau / (tau - TAU_SYN) * v * (em - es)
                last = t
                if source is not None:
                    gradient[source, j] -= TAU_SYN * i
                    continue
                before = inputs[0] <= t
                current = np.sum(
                    weight[inputs[1], j] * before
                    * np.exp(-np.where(before, t - inputs[0], 0.0) / TAU_SYN)
                )  # fmt: skip
                v = v + THETA * v / (current - THETA) - r[j]
    return gradient


@pytest.mark.parametrize("adjoint", [ej.Eventprop(), ej.Direct()])
def test_it_is_the_jump_of_lambda_v(adjoint):
    network, spikes = _network(), _inputs()
    (loss, (sol, rate)), gradient = _loss_and_gradient(
        network, spikes, ej.ClosedForm(), adjoint
    )
    counts = np.asarray(sol.spikes[0].counts_per_source(4))
    mean = counts.mean(axis=0)
    assert counts.sum() > 15 and (mean[:3] > 0).all()
    assert mean[:3].min() < TARGET < mean[:3].max()  # it pulls both ways
    assert rate.shape == (3,)
    expected = 0.5 * STRENGTH * np.sum((mean - TARGET) ** 2)
    np.testing.assert_allclose(rate, expected)
    np.testing.assert_allclose(loss, expected)
    weight = network.layers[0].connection.weight
    by_hand = _jumps_by_hand(weight, spikes, sol, STRENGTH, TARGET)
    np.testing.assert_allclose(gradient, by_hand, rtol=1e-8, atol=1e-12)
    assert np.all(np.linalg.norm(by_hand, axis=0)[:3] > 1e-4)
    # A silent neuron has nothing to jump at.
    assert mean[3] == 0
    np.testing.assert_array_equal(gradient[:, 3], 0.0)


def test_on_a_grid_the_gradient_is_the_plain_one():
    network, spikes = _network(), _inputs()
    clocked = ej.Clocked(0.5), ej.Surrogate()
    (loss, (sol, rate)), gradient = _loss_and_gradient(network, spikes, *clocked)

    @eqx.filter_jit
    @eqx.filter_grad
    def plain(network):
        sol = ej.simulate(network, spikes, T1, solver=clocked[0], adjoint=clocked[1])
        mean = jnp.mean(jnp.sum(sol.frames[0].counts, axis=1), axis=0)
        return 0.5 * STRENGTH * jnp.sum((mean - TARGET) ** 2)

    expected = plain(network).layers[0].connection.weight
    np.testing.assert_allclose(gradient, expected, rtol=1e-12)
    assert np.all(np.linalg.norm(gradient, axis=0) > 0)
    assert rate.shape == (3,)
    np.testing.assert_allclose(loss, rate[0])


def test_one_sample_without_a_batch():
    sol = _solution()
    sol = jax.tree.map(lambda x: x[0], vars(sol))
    value = ej.losses.firing_rate(
        types.SimpleNamespace(**sol), 0, strength=1.0, target=0.0, tau_mem=20.0
    )
    counts = sol["spikes"][0].counts_per_source(4)
    assert value.shape == ()
    np.testing.assert_allclose(value, 0.5 * np.sum(np.square(counts)))


def test_wrong_settings_are_an_error():
    sol = _solution()
    rate = lambda layer=0, strength=1.0, tau_mem=20.0: ej.losses.firing_rate(
        sol, layer, strength=strength, tau_mem=tau_mem
    )
    with pytest.raises(ValueError, match="`layer` must lie in 0 to 0.*got 1"):
        rate(layer=1)
    with pytest.raises(ValueError, match="`strength` must not be negative, got -1"):
        rate(strength=-1.0)
    with pytest.raises(ValueError, match=r"shape \(4,\).*got shape \(3,\)"):
        rate(tau_mem=jnp.ones(3))
    sol.slopes = (None,)
    with pytest.raises(ValueError, match="needs the slopes of layer 0"):
        rate()
    sol.spikes = (None,)
    with pytest.raises(ValueError, match="Layer 0 never spikes"):
        rate()
