"""Equilibrium propagation without spikes: its estimate against the gradient of the loss."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from eventjax.equilibrium import FiringRate, hard_sigmoid, Network, Neuron, RateEP


NEURON = Neuron()
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.uniform(size=(8, 4)))
Y = jnp.asarray(RNG.uniform(0.1, 0.6, size=(8, 3)))
KINDS = {
    "spikes": (
        Network([4, 12, 5, 3], gain=0.1, bias=0.2, key=jr.key(0)),
        FiringRate(NEURON),
    ),
    "hard": (Network([4, 12, 3], gain=0.3, bias=0.3, key=jr.key(1)), hard_sigmoid),
}


@eqx.filter_jit
def loss_of(network, rule, key=None):
    return rule(network, X, Y, key=key)


GRADIENT = eqx.filter_jit(eqx.filter_grad(loss_of, has_aux=True))


def rule_for(name, **given):
    settings = dict(beta=1e-3, free=800, nudged=800, step=0.2) | given
    return RateEP(activation=KINDS[name][1], **settings)


def cosine(a, b):
    a, b = np.ravel(a), np.ravel(b)
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


@pytest.mark.parametrize("name", KINDS)
def test_the_estimate_of_a_small_nudge_is_the_gradient(name):
    """Against central differences of the loss at the free fixed point: direction and
    size, of each weight."""
    network, rule = KINDS[name][0], rule_for(name)
    estimate, settled = GRADIENT(network, rule)
    assert settled.moved < 1e-9
    rates = np.concatenate([np.asarray(x) for x in settled.layers], axis=1)
    assert rates.std() > 0.02 and (rates > 0).mean() > 0.5

    @jax.jit
    def differences(network):
        flat, unravel = jax.flatten_util.ravel_pytree((network.weights, network.biases))
        put = lambda x: eqx.tree_at(
            lambda n: (n.weights, n.biases), network, unravel(x)
        )
        at = lambda x: loss_of(put(x), rule)[0]
        nudge = 1e-6 * jnp.eye(flat.size)
        both = jax.lax.map(lambda d: at(flat + d) - at(flat - d), nudge, batch_size=16)
        return unravel(both / 2e-6)

    wanted = jax.tree.leaves(differences(network))
    found = jax.tree.leaves((estimate.weights, estimate.biases))
    for one, two in zip(found, wanted, strict=True):
        assert cosine(one, two) > 0.999
        assert np.linalg.norm(one) == pytest.approx(np.linalg.norm(two), rel=0.02)


def test_firing_rate_is_that_of_the_neuron():
    """Time from reset to threshold under a constant current, and nothing below it."""
    f = FiringRate(NEURON)
    current = jnp.asarray([0.05, 0.1, 0.11, 0.2, 5.0])
    rate = np.asarray(f(current))
    assert rate[0] == rate[1] == 0
    for i, r in zip(np.asarray(current)[2:], rate[2:]):
        time = 1 / r - NEURON.refractory
        v = i * (1 - np.exp(-time / NEURON.tau_mem))
        assert v == pytest.approx(NEURON.v_threshold, rel=1e-12)


def test_immediate_updates():
    """A tiny learning rate changes nothing; a step with the estimate leads to the weights
    at the end of the phase, found here by a loop in NumPy."""
    network = KINDS["hard"][0]
    short = dict(beta=0.5, free=60, nudged=3)
    plain, _ = GRADIENT(network, rule_for("hard", **short))
    tiny, _ = GRADIENT(network, rule_for("hard", **short, immediate=1e-9))
    for one, two in zip(*map(jax.tree.leaves, (plain, tiny)), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-8)

    eta = 0.3, 0.1
    large, settled = GRADIENT(network, rule_for("hard", **short, immediate=eta))
    x, y = np.asarray(X), np.asarray(Y)
    w, b = [[np.asarray(p) for p in part] for part in (network.weights, network.biases)]
    h, o = (np.asarray(r) for r in settled.layers)
    for _ in range(3):
        to_h = x @ w[0].T + b[0] + o @ w[1]
        to_o = h @ w[1].T + b[1] + 0.5 * (y - o)
        new_h, new_o = (
            r + 0.2 * (np.clip(i, 0, 1) - r) for r, i in ((h, to_h), (o, to_o))
        )
        scale = 0.5 * len(x)
        w = [
            w[0] + eta[0] * (new_h - h).T @ x / scale,
            w[1] + eta[1] * (new_o.T @ new_h - o.T @ h) / scale,
        ]
        b = [
            b[0] + eta[0] * (new_h - h).sum(0) / scale,
            b[1] + eta[1] * (new_o - o).sum(0) / scale,
        ]
        h, o = new_h, new_o
    for k in range(2):
        step = network.weights[k] - eta[k] * large.weights[k]
        np.testing.assert_allclose(step, w[k], atol=1e-12)
        step = network.biases[k] - eta[k] * large.biases[k]
        np.testing.assert_allclose(step, b[k], atol=1e-12)
    with pytest.raises(ValueError, match="each of the 2 layers, got 3"):
        GRADIENT(network, rule_for("hard", immediate=(0.1, 0.1, 0.1)))


def test_sign_of_beta_is_drawn():
    """Both signs come up, and each gives the estimate of that nudge."""
    network, rule = KINDS["hard"][0], rule_for("hard", beta=0.2, free=60, nudged=5)
    other = rule_for("hard", beta=-0.2, free=60, nudged=5)
    wanted = [np.asarray(GRADIENT(network, r)[0].weights[1]) for r in (rule, other)]
    assert np.abs(wanted[0] - wanted[1]).max() > 1e-4
    seen = set()
    for seed in range(8):
        found = np.asarray(GRADIENT(network, rule, jr.key(seed))[0].weights[1])
        seen.add(int(np.argmin([np.abs(found - w).max() for w in wanted])))
        assert min(np.abs(found - w).max() for w in wanted) < 1e-12
    assert seen == {0, 1}


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(beta=0.0), "`beta` must be finite and not 0, got 0.0"),
        (dict(free=0), "`free` must be at least 1 step, got 0"),
        (dict(step=1.5), "`step` must be above 0 and at most 1, got 1.5"),
        (dict(immediate=-1.0), "`immediate` must be positive"),
    ],
)
def test_bad_settings(change, message):
    with pytest.raises(ValueError, match=message):
        rule_for("hard", **change)


def test_bad_shapes():
    network, rule = KINDS["hard"][0], rule_for("hard")
    with pytest.raises(ValueError, match=r"`inputs` must have the shape \(batch, 4\)"):
        rule(network, X[:, :3], Y)
    with pytest.raises(ValueError, match=r"`targets` must have the shape \(8, 3\)"):
        rule(network, X, Y[:, :2])
