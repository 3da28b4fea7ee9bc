import types

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

import eventjax as ej


TAUS = dict(tau0=0.5, alpha=3e-3, tau1=6.4)
TIMES = np.array([[4.0, 3.5, 5.0], [2.0, 2.3, 2.1], [9.0, 8.0, 7.9], [1.0, 1.0, 1.2]])
LABELS = np.array([1, 2, 0, 0], np.int32)
SILENT = np.array(
    [[0, 0, 1], [1, 0, 0], [1, 0, 0], [1, 1, 1]], bool
)  # label: rows 2, 3


def _cross_entropy(times, labels, silent_times=None):
    return ej.losses.first_spike_cross_entropy(
        times, labels, **TAUS, silent_times=silent_times
    )


def _mse(times, labels, silent_times=None):
    return ej.losses.time_invariant_mse(
        times, labels, delta=1.5, silent_times=silent_times
    )


def _early(times, labels, silent_times=None):
    return ej.losses.early_spike_penalty(
        times, labels, alpha=0.7, t1=21.0, silent_times=silent_times
    )


def _exponential(times, labels, silent_times=None):
    return ej.losses.exponential_spike_penalty(
        times, labels, alpha=0.7, tau1=6.4, silent_times=silent_times
    )


FIRST_SPIKE = {
    "cross_entropy": jax.jit(_cross_entropy),
    "mse": jax.jit(_mse),
    "early": jax.jit(_early),
    "exponential": jax.jit(_exponential),
}
LOSSES = [
    _cross_entropy,
    _mse,
    _early,
    _exponential,
    ej.losses.max_voltage_cross_entropy,
    ej.losses.integral_cross_entropy,
    ej.losses.spike_count_cross_entropy,
]
ALL = [*LOSSES, ej.losses.first_spike_correct, ej.losses.largest_correct]


def _central_differences(f, x, step=1e-6):
    gradient = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        if np.isfinite(x[place]):
            up, down = x.copy(), x.copy()
            up[place] += step
            down[place] -= step
            gradient[place] = (f(jnp.asarray(up)) - f(jnp.asarray(down))) / (2 * step)
    return gradient


@pytest.fixture
def untyped():
    """Without the hook that checks type hints, as users run the library."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def test_cross_entropy_is_the_formula():
    loss = FIRST_SPIKE["cross_entropy"](jnp.asarray(TIMES), LABELS)
    label = TIMES[np.arange(4), LABELS]
    softmax = np.exp(-label / 0.5) / np.exp(-TIMES / 0.5).sum(axis=-1)
    expected = -np.log(softmax) + 3e-3 * (np.exp(label / 6.4) - 1)
    np.testing.assert_allclose(loss, expected, rtol=1e-13)


def test_mse_is_the_formula():
    loss = FIRST_SPIKE["mse"](jnp.asarray(TIMES), LABELS)
    expected = [
        0.5 * sum((t[i] - t[y] - 1.5) ** 2 for i in range(3) if i != y)
        for t, y in zip(TIMES, LABELS)
    ]
    np.testing.assert_allclose(loss, expected, rtol=1e-13)


def test_penalties_are_the_formulas():
    label = TIMES[np.arange(4), LABELS]
    times = jnp.asarray(TIMES)
    np.testing.assert_allclose(
        FIRST_SPIKE["early"](times, LABELS), 0.7 / (1.01 * 21 - label), rtol=1e-13
    )
    expected = 0.7 * (np.exp(label / 6.4) - 1)
    np.testing.assert_allclose(FIRST_SPIKE["exponential"](times, LABELS), expected)
    # That of the cross-entropy.
    both = FIRST_SPIKE["cross_entropy"](times, LABELS)
    plain = ej.losses.first_spike_cross_entropy(times, LABELS, tau0=0.5)
    np.testing.assert_allclose(both - plain, expected * 3e-3 / 0.7, rtol=1e-9)


@pytest.mark.parametrize("name", FIRST_SPIKE)
@pytest.mark.parametrize("silent", [False, True])
def test_gradients_equal_central_differences(name, silent):
    times = np.where(SILENT, np.inf, TIMES) if silent else TIMES
    total = jax.jit(lambda t: FIRST_SPIKE[name](t, LABELS).sum())
    gradient = jax.jit(jax.grad(total))(jnp.asarray(times))
    np.testing.assert_allclose(
        gradient, _central_differences(total, times), rtol=1e-6, atol=1e-9
    )


@pytest.mark.parametrize("name", ["cross_entropy", "mse"])
def test_a_silent_output_drops_out(name):
    loss = FIRST_SPIKE[name]
    with_silent = jnp.array([[4.0, 3.5, jnp.inf]])
    without = jnp.array([[4.0, 3.5]])
    label = jnp.array([1])
    np.testing.assert_allclose(loss(with_silent, label), loss(without, label))


@pytest.mark.parametrize("name", FIRST_SPIKE)
def test_a_silent_label_gives_neither_loss_nor_gradient(name):
    times = jnp.asarray(np.where(SILENT, np.inf, TIMES))
    loss = FIRST_SPIKE[name]
    total = jax.jit(jax.value_and_grad(lambda t: loss(t, LABELS).sum()))
    value, gradient = jax.tree.map(np.asarray, total(times))
    assert np.isfinite(value)
    assert np.all(np.isfinite(gradient))
    np.testing.assert_array_equal(loss(times, LABELS)[2:], 0.0)
    np.testing.assert_array_equal(gradient[2:], 0.0)
    mine = np.eye(3, dtype=bool)[LABELS[:2]]
    seen = mine if name in ("early", "exponential") else ~SILENT[:2]
    assert np.all(gradient[:2][seen] != 0)
    np.testing.assert_array_equal(gradient[SILENT], 0.0)


@pytest.mark.parametrize("name", FIRST_SPIKE)
def test_silent_times_stand_in(name):
    loss = FIRST_SPIKE[name]
    times = jnp.asarray(np.where(SILENT, np.inf, TIMES))
    v = jnp.linspace(0.1, 0.9, 12).reshape(4, 3)

    def total(v):
        sol = types.SimpleNamespace(
            final_state=(types.SimpleNamespace(v=v),), t1=jnp.asarray(20.0)
        )
        stand_in = ej.losses.silent_times(sol, slope=2.0)
        return loss(times, LABELS, silent_times=stand_in).sum()

    value, gradient = jax.jit(jax.value_and_grad(total))(v)
    filled = jnp.where(SILENT, 21.0, TIMES)
    np.testing.assert_allclose(value, loss(filled, LABELS).sum())
    by_time = jax.jit(jax.grad(lambda t: loss(t, LABELS).sum()))(filled)
    np.testing.assert_allclose(gradient, jnp.where(SILENT, -2.0 * by_time, 0.0))
    # A silent label neuron is pulled up: more voltage, less loss.
    assert gradient[2, 0] < 0


def test_a_phantom_spike_adds_the_slope_of_the_penalty():
    """lambda_V = -1 / tau_mem times the cotangent of V, by the paper's code."""
    tau_mem, t1 = jnp.array([20.0, 10.0, 5.0]), 20.0
    times = jnp.array([[jnp.inf, 3.0, jnp.inf], [jnp.inf, 1.0, 2.0]])
    labels = jnp.array([0, 1])

    def total(v, penalty, **settings):
        sol = types.SimpleNamespace(
            final_state=(types.SimpleNamespace(v=v),), t1=jnp.asarray(t1)
        )
        phantom = ej.losses.silent_times(sol, tau_mem, delay=0.0)
        how = dict(alpha=0.7, silent_times=phantom, **settings)
        return jnp.sum(penalty(times, labels, **how))

    grad = jax.jit(jax.value_and_grad(total), static_argnames=("penalty", "t1", "tau1"))
    v = jnp.full((2, 3), 0.3)
    value, by_v = grad(v, ej.losses.early_spike_penalty, t1=t1)
    np.testing.assert_allclose(value, 0.7 / (0.01 * t1) + 0.7 / (1.01 * t1 - 1))
    expected = np.zeros((2, 3))
    expected[0, 0] = 0.7 / (0.01 * t1) ** 2
    np.testing.assert_allclose(-by_v / tau_mem[None], expected)
    value, by_v = grad(v, ej.losses.exponential_spike_penalty, tau1=6.4)
    expected[0, 0] = 0.7 / 6.4 * np.exp(t1 / 6.4)
    np.testing.assert_allclose(-by_v / tau_mem[None], expected)


def test_a_stand_in_after_the_pole_gives_nan():
    late = jnp.full((1, 3), 21.3)
    times = jnp.full((1, 3), jnp.inf)
    loss = jax.jit(_early)
    assert jnp.isnan(loss(times, LABELS[:1], late)[0])
    assert jnp.isfinite(loss(times, LABELS[:1], late - 0.1)[0])


def test_float32_late_times_do_not_overflow():
    times = jnp.array([[900.0, 905.0, jnp.inf]], jnp.float32)
    loss, gradient = jax.jit(
        jax.value_and_grad(
            lambda t: ej.losses.first_spike_cross_entropy(t, LABELS[:1], tau0=0.01)[0]
        )
    )(times)
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, 500.0)
    np.testing.assert_allclose(gradient, [[-100.0, 100.0, 0.0]])


def test_correct_means_fired_and_first():
    inf = np.inf
    times = jnp.array(
        [[1, 2, 3], [2, 1, 3], [inf, inf, inf], [1, 1, inf], [inf, 1, 2.0]]
    )
    right = jax.jit(ej.losses.first_spike_correct)(times, jnp.zeros(5, int))
    np.testing.assert_array_equal(right, [True, False, False, True, False])


def test_the_largest_output_is_the_answer():
    outputs = jnp.array([[1, 2, 0], [3, 3, 1], [0, np.nan, 1], [-2, -3, -1.0]])
    right = jax.jit(ej.losses.largest_correct)
    for label, expected in enumerate([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]]):
        labels = jnp.full(4, label)
        np.testing.assert_array_equal(right(outputs, labels), np.bool_(expected))
    counts = jnp.array([[0, 4, 2]])
    assert right(counts, jnp.array([1]))[0]


def test_counts_without_gradient_are_refused(untyped):
    counts = jnp.array([[0, 4, 2]])
    with pytest.raises(ValueError, match="`counts` must be floats.*`Surrogate"):
        ej.losses.spike_count_cross_entropy(counts, jnp.array([1]))


@pytest.mark.parametrize(
    "loss",
    [
        ej.losses.max_voltage_cross_entropy,
        ej.losses.integral_cross_entropy,
        ej.losses.spike_count_cross_entropy,
    ],
)
def test_cross_entropies_of_one_number_for_each_output(loss):
    v = np.array([[0.2, 1.4, -0.3], [0.0, 0.1, 0.7]])
    labels = np.array([1, 0])
    total = jax.jit(lambda v: loss(v, labels).sum())
    p = np.exp(v) / np.exp(v).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(total(jnp.asarray(v)), -np.log(p[[0, 1], labels]).sum())
    gradient = jax.jit(jax.grad(total))(jnp.asarray(v))
    np.testing.assert_allclose(gradient, p - np.eye(3)[labels], rtol=1e-12)
    np.testing.assert_allclose(gradient, _central_differences(total, v), rtol=1e-7)


@pytest.mark.parametrize("shape", [(), (3,), (2, 2)])
def test_any_batch_shape(shape):
    times = jnp.broadcast_to(jnp.array([4.0, 3.5, 5.0]), (*shape, 3))
    labels = jnp.ones(shape, jnp.int32)
    for loss in ALL:
        assert jax.eval_shape(loss, times, labels).shape == shape


@pytest.mark.parametrize("index", range(len(ALL)))
@pytest.mark.parametrize(
    "labels, text",
    [
        (np.array([0, 3, 0, 0]), "0 to 2.*from 0 to 3"),
        (np.array([0, -1, 0, 0]), "0 to 2.*from -1 to 0"),
        (np.array([0, 1, 2]), r"one label per sample.*\(4,\).*\(3,\)"),
        (np.eye(3)[[0, 1, 2, 0]], "must be integers.*one-hot"),
    ],
)
def test_wrong_labels_are_an_error(untyped, index, labels, text):
    with pytest.raises(ValueError, match=text):
        ALL[index](jnp.asarray(TIMES), labels)


@pytest.mark.parametrize("index", range(len(LOSSES)))
@pytest.mark.parametrize("label", [-1, 3])
def test_under_jit_a_label_out_of_range_gives_nan(index, label):
    loss = jax.jit(LOSSES[index])
    labels = jnp.asarray(LABELS).at[0].set(label)
    value = loss(jnp.asarray(TIMES), labels)
    assert jnp.isnan(value[0])
    assert jnp.all(jnp.isfinite(value[1:]))


def test_wrong_settings_are_an_error(untyped):
    times = jnp.asarray(TIMES)
    with pytest.raises(ValueError, match="`tau0` must be positive"):
        ej.losses.first_spike_cross_entropy(times, LABELS, tau0=0.0)
    with pytest.raises(ValueError, match="`tau1` must be positive"):
        ej.losses.first_spike_cross_entropy(times, LABELS, tau0=1.0, tau1=-1.0)
    with pytest.raises(ValueError, match="`t1` must be positive"):
        ej.losses.early_spike_penalty(times, LABELS, alpha=1.0, t1=0.0)
    with pytest.raises(ValueError, match="`silent_times` must have the shape"):
        ej.losses.time_invariant_mse(times, LABELS, delta=1.0, silent_times=times[0])
