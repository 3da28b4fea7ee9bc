"""Classifiers of frames: state, padding, folding, training, and what they cost."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jaxtyping
import numpy as np
import optax
import pytest
from graded_reference import BATCH, FRAMES, INPUTS, UNITS, VALID, X

import eventjax as ej
from eventjax.graded import (
    calibrate,
    Cells,
    Classifier,
    Conventional,
    count_multiplications,
    count_parameters,
    Encoder,
    fold,
    following,
    Gated,
    Quantiser,
    Readout,
    sparsity,
    Tracked,
)


KEY, CLASSES = jr.key(0), 3
MAKERS = {
    "conventional": lambda i, h, key: Conventional(i, h, Quantiser(6, 3), key=key),
    "v1": lambda i, h, key: Gated(i, h, Quantiser(6, 3), recurrent=False, key=key),
    "v2": lambda i, h, key: Gated(i, h, Quantiser(6, 3), recurrent=True, key=key),
    "gru": lambda i, h, key: Cells(eqx.nn.GRUCell, i, h, key=key),
    "lstm": lambda i, h, key: Cells(eqx.nn.LSTMCell, i, h, key=key),
}


def make(name, inputs=INPUTS, units=UNITS, classes=CLASSES, key=KEY):
    k1, k2, k3 = jr.split(key, 3)
    maker = MAKERS[name]
    encoder = None if name in ("gru", "lstm") else Encoder(inputs, Quantiser(6, 3))
    layers = [maker(inputs, units, k1), maker(units, units, k2)]
    return Classifier(encoder, layers, Readout(units, classes, key=k3))


RUN = eqx.filter_jit(lambda model, *args, **rest: model(*args, **rest))
READY: dict[str, Classifier] = {}


def ready(name):
    """With ranges and statistics that matter."""
    if name not in READY:
        rng = np.random.default_rng(6)
        model = make(name)
        for n in [y.normalisation for y in (*model.layers, model.readout)]:
            size = n.scale.shape
            new = [rng.normal(scale=0.1, size=size), rng.uniform(0.2, 0.6, size)]
            new = [Tracked(jnp.asarray(x)) for x in new]
            changed = eqx.tree_at(lambda n: (n.mean, n.variance), n, new)
            is_it = lambda x, n=n: x is n
            put = lambda x, n=n, changed=changed: changed if x is n else x
            model = jax.tree.map(put, model, is_leaf=is_it)
        weight = jnp.asarray(rng.normal(size=(UNITS, CLASSES)))
        READY[name] = eqx.tree_at(lambda m: m.readout.weight, model, weight)
    return READY[name]


@pytest.mark.parametrize("name", ["conventional", "v2", "gru", "lstm"])
def test_nothing_leaks(name):
    """In use a sequence's outputs are its own: whatever comes with it, however it is
    padded, and frame by frame."""
    model, x, valid = ready(name), jnp.asarray(X), jnp.asarray(VALID)
    whole = RUN(model, x, valid)
    assert np.std(np.asarray(whole.outputs)[VALID], axis=0).min() > 0.005
    assert not np.any(np.asarray(whole.outputs)[~VALID])
    order = np.array([2, 0, 3, 1])
    other = RUN(model, x[order], valid[order])
    same = lambda one, two: np.testing.assert_allclose(one, two, atol=1e-12)
    same(other.outputs, whole.outputs[order])

    # Three frames of whatever behind the end, and frame by frame
    longer = np.concatenate(
        [np.where(VALID[..., None], X, np.nan), X[:, :3] * np.nan], 1
    )
    there = np.concatenate([VALID, np.zeros((BATCH, 3), bool)], 1)
    pieces, state = [], tuple(y.initial_state(BATCH, x.dtype) for y in model.stages)
    for n in range(FRAMES + 3):
        piece = (jnp.asarray(part[:, n : n + 1]) for part in (longer, there))
        passed = RUN(model, *piece, state)
        state = passed.state
        pieces.append(passed.outputs)
    outputs = jnp.concatenate(pieces, axis=1)
    same(outputs[:, :FRAMES], whole.outputs)
    assert not np.any(outputs[:, FRAMES:])
    jax.tree.map(same, state, whole.state)


def test_padding_and_order_have_no_part_in_training():
    """Padding behind the end and in the middle, of numbers and of `nan`."""
    model, longer = ready("v2"), FRAMES + 4

    @eqx.filter_jit
    def grads_of(model, x, valid):
        def loss(model):
            passed = model(x, valid, key=KEY)
            counted = jnp.where(valid[..., None], jnp.sin(passed.outputs), 0)
            return jnp.sum(counted) + passed.drift

        return eqx.filter_value_and_grad(loss)(model)

    found = []
    for fill, place, order in (
        (7.0, np.arange(FRAMES), [0, 1, 2, 3]),
        (np.nan, np.array([0, 2, 3, 4, 5, 8, 9, 11, 12]), [2, 0, 3, 1]),
    ):
        x, valid = (
            np.full((BATCH, longer, INPUTS), fill),
            np.zeros((BATCH, longer), bool),
        )
        x[:, place] = np.where(VALID[..., None], X, fill)[order]
        valid[:, place] = VALID[order]
        found.append(grads_of(model, jnp.asarray(x), jnp.asarray(valid)))
    for one, two in zip(*(jax.tree.leaves(part) for part in found), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-10)
    assert np.abs(found[0][1].readout.weight).max() > 0.1


@pytest.mark.parametrize("name", ["conventional", "v2", "gru"])
def test_folded_is_the_same(name):
    model, x, valid = ready(name), jnp.asarray(X), jnp.asarray(VALID)
    folded = fold(model)
    np.testing.assert_allclose(
        RUN(folded, x, valid).outputs, RUN(model, x, valid).outputs, atol=1e-10
    )
    assert not [y for y in _tracked(folded) if y.value.ndim]  # only ranges are left
    with pytest.raises(ValueError, match="folded .* cannot be trained"):
        folded(x, valid, key=KEY)


def _tracked(model):
    is_tracked = lambda y: isinstance(y, Tracked)
    return [y for y in jax.tree.leaves(model, is_leaf=is_tracked) if is_tracked(y)]


def test_calibrated_is_what_a_batch_has():
    """Then hardly anything drifts, whatever the values were."""
    x, valid = jnp.asarray(X), jnp.asarray(VALID)
    model = calibrate(ready("v2"), x, valid, key=KEY)
    drift = eqx.filter_jit(eqx.filter_grad(lambda m: m(x, valid, key=KEY).drift))(model)
    for had, grad in zip(_tracked(model), _tracked(drift), strict=True):
        assert np.all(np.abs(grad.value) <= 0.25 * np.abs(had.value).max() + 0.05)
    assert float(model.encoder.quantiser.range.value) == pytest.approx(
        np.abs(X[VALID]).max() / (1 - 4 / 32)
    )


def _loss(model, batch, key):
    passed = model(batch["x"], batch["valid"], key=key)
    losses = ej.losses.framewise_cross_entropy(
        passed.outputs, batch["label"], batch["valid"]
    )
    return losses + passed.drift, None, {"same": losses}


def test_training_follows_and_learns():
    """One step makes an exponential average; some steps learn what came a frame before."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(32, FRAMES, INPUTS))
    label = np.roll((x[..., 0] > 0).astype(np.int32), 1, axis=1)
    valid = np.broadcast_to(np.arange(FRAMES) > 0, label.shape)
    arrays = {"x": x, "label": label, "valid": valid}
    model = make("v2", classes=2)
    batch = {name: jnp.asarray(value) for name, value in arrays.items()}
    wanted = np.abs(x[valid]).max() / (1 - 4 / 32)

    optimiser = following(optax.adam(0.02), 0.1)
    step = ej.train.make_step(_loss, optimiser)
    state = optimiser.init(eqx.filter(model, eqx.is_inexact_array))
    losses = []
    for _ in range(50):
        report, model, state = step((batch, KEY), model, state)
        losses.append(float(report.metrics["loss"]) / 32)
        assert report.metrics["loss"] == report.metrics["same"] and bool(report.finite)
        if len(losses) == 1:
            reach = model.encoder.quantiser.range.value
            np.testing.assert_allclose(reach, 0.9 + 0.1 * wanted, rtol=1e-12)
    assert losses[-1] < 0.55 < np.log(2)
    # What was tracked serves in use
    report = ej.train.evaluate(model, _loss, [(arrays, np.ones(32, bool))])
    assert report["loss"] < 0.6


@pytest.mark.parametrize("name", MAKERS)
def test_multiplications_are_those_of_a_loop(name):
    model, x, valid = ready(name), jnp.asarray(X), jnp.asarray(VALID)
    passed = RUN(model, x, valid)
    counted = count_multiplications(model, x, passed, valid)
    h, c = UNITS, CLASSES
    first = [X] if model.encoder is None else []
    values = [*first, *(np.asarray(y) for y in passed.hidden)]
    for k in range(BATCH):
        published = corrected = 0
        for n in np.flatnonzero(VALID[k]):
            x0, y1, y2 = (np.count_nonzero(v[k, n]) for v in values)
            gates = {"gru": 3, "lstm": 4, "conventional": 1}.get(name, 2)
            both = gates * h * (x0 + y1) + c * y2
            if name in ("gru", "lstm"):
                both += 2 * (gates * h * h + 12 * h)
            published += both + {"conventional": 12 * h}.get(name, 0)
            corrected += both + {"conventional": 12 * h}.get(name, 0)
            if name in ("v1", "v2"):
                published += 2 * h * (x0 + y1) + 16 * h
                corrected += 16 * h + (2 * h * (y1 + y2) if name == "v2" else 0)
        assert float(counted.published[k]) == published
        assert float(counted.corrected[k]) == corrected
    shares = sparsity(passed, jnp.asarray(VALID))
    for share, y in zip(shares, passed.hidden, strict=True):
        zeros = [np.mean(np.asarray(y)[k][VALID[k]] == 0) for k in range(BATCH)]
        np.testing.assert_allclose(share, zeros)
    if name in ("v1", "v2"):
        assert 0.05 < float(shares[-1].mean()) < 0.95


def test_sizes_are_those_of_the_papers_networks():
    """40 features, two layers of 550, 1,936 states; multiplications of dense networks."""
    counts, dense = {}, {}
    for name in MAKERS:
        shapes = eqx.filter_eval_shape(make, name, 40, 550, 1936)
        counts[name] = count_parameters(shapes)
        if name in ("gru", "lstm"):
            x, y = jnp.ones((1, 1, 40)), jnp.ones((1, 1, 550))
            passed = ej.graded.Classified(
                jnp.ones((1, 1, 1936)), (y, y), (), jnp.ones(())
            )
            dense[name] = count_multiplications(shapes, x, passed)
    matrices = {name: counted.matrices for name, counted in counts.items()}
    assert 2 * matrices["v2"] == matrices["lstm"] == 3_718_000
    assert 4 * matrices["gru"] == 3 * matrices["lstm"]
    assert (matrices["v1"], matrices["conventional"]) == (649_000, 324_500)
    assert {counted.readout for counted in counts.values()} == {550 * 1936}
    # Scales and shifts of all normalisation, and decays
    assert counts["conventional"].rest == 2 * (2 * 550 + 1936) + 2 * 550
    assert float(dense["gru"].published[0]) == 3_866_500
    assert float(dense["lstm"].corrected[0]) == 4_796_000


@pytest.fixture
def untyped():
    """Without the hook that checks type hints, as users run the library."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def test_bad_input(untyped):
    model, x = make("v1"), jnp.asarray(X)
    layer, readout = MAKERS["v1"](INPUTS, UNITS, KEY), Readout(UNITS, 2, key=KEY)
    with pytest.raises(ValueError, match="`layers` must hold at least one layer"):
        Classifier(None, [], readout)
    with pytest.raises(ValueError, match="stage 1 must have 5 inputs, .* got 3"):
        Classifier(None, [layer, layer], readout)
    with pytest.raises(ValueError, match="`readout` must have 3 inputs, .* got 5"):
        Classifier(None, [MAKERS["v1"](UNITS, INPUTS, KEY)], readout)
    with pytest.raises(ValueError, match="must hold that of 3 layers, got 2"):
        model(x, None, (None, None))
    with pytest.raises(ValueError, match="none is valid"):
        model(x, jnp.zeros((BATCH, FRAMES), bool), key=KEY)
    with pytest.raises(ValueError, match="`classes` must be at least 1, got 0"):
        Readout(2, 0, key=KEY)
    with pytest.raises(ValueError, match="`momentum` must be above 0 .* got 0"):
        following(optax.sgd(0.1), 0.0)
    with pytest.raises(ValueError, match="`rounds` must be at least 1, got 0"):
        calibrate(model, x, rounds=0, key=KEY)
    passed = RUN(ready("v1"), x, jnp.asarray(VALID))
    with pytest.raises(ValueError, match="`passed` must be what `classifier` returned"):
        count_multiplications(model, x[:, :3], passed)
