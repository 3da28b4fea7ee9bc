"""`simulate` on frames: the same as on spikes in their steps, and differentiable."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ramp_networks import ramp_dense

import eventjax as ej


BATCH, STEPS, INPUTS, OUTPUTS, DT = 2, 6, 4, 3, 0.5
T1 = STEPS * DT
RULE = ej.Surrogate(ej.surrogates.Triangle(2.0))


def network(num_inputs: int = INPUTS) -> ej.Network:
    rng = np.random.default_rng(1)
    weight = jnp.asarray(rng.normal(0.5, 0.5, (num_inputs, OUTPUTS)))
    neuron = ej.AdaptiveLIF(OUTPUTS, 1.0, tau_mem=2.0)
    return ej.Network([ej.Layer(ramp_dense(weight), neuron)])


def raster() -> jax.Array:
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.integers(0, 3, (BATCH, STEPS, INPUTS)).astype(float))


@eqx.filter_jit
def run(given, **options):
    options = {"solver": ej.Clocked(DT), "adjoint": RULE, "throw": False} | options
    return ej.simulate(network(), given, T1, **options)


def test_counts_are_spikes_of_their_step():
    frames = ej.Frames(raster(), DT)
    spikes = frames.to_spikes(2 * STEPS * INPUTS)
    one, two = run(frames), run(spikes)
    assert int(one.num_spikes[0].sum()) > 3
    np.testing.assert_array_equal(one.frames[0].counts, two.frames[0].counts)
    np.testing.assert_allclose(
        one.final_state[0].neuron.v, two.final_state[0].neuron.v, rtol=1e-12
    )


def test_batch_axes_are_kept():
    counts = raster()
    many = run(ej.Frames(counts[:, None], DT)).frames[0].counts
    assert many.shape == (BATCH, 1, STEPS, OUTPUTS)
    one = run(ej.Frames(counts[0], DT)).frames[0].counts
    np.testing.assert_array_equal(one, many[0, 0])


def test_gradients_reach_the_frames():
    # Far below the threshold the final voltages are linear in the counts.
    counts = 1e-3 * raster()

    @jax.jit
    def total(counts):
        return jnp.sum(run(ej.Frames(counts, DT)).final_state[0].neuron.v)

    bar = jax.grad(total)(counts)
    weight = network().layers[0].connection.weight
    steps_left = STEPS - 1 - np.arange(STEPS)
    expected = np.exp(-DT * steps_left / 2.0)[:, None] * np.sum(weight, 1)[None]
    np.testing.assert_allclose(
        bar, np.broadcast_to(expected, bar.shape), rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize(
    ("frames", "options", "message"),
    [
        (ej.Frames(raster(), DT), {"solver": ej.ClosedForm()}, "`Clocked`"),
        (ej.Frames(raster()[..., :-1], DT), {}, "of 4 units.*got 3"),
        (ej.Frames(raster()[:, :-1], DT), {}, "6 steps.*5 steps"),
        (ej.Frames(raster(), 2 * DT), {}, "frames of 6 steps of 1.0 ms"),
        (ej.Frames(raster(), DT, 1.0), {}, "from 1.0 ms"),
    ],
)
def test_frames_of_another_run_are_refused(frames, options, message):
    with pytest.raises(ValueError, match=message):
        ej.simulate(network(), frames, T1, **({"solver": ej.Clocked(DT)} | options))


def test_values_that_are_not_finite_are_refused():
    bad = raster().at[1, 2, 3].set(jnp.nan)
    with pytest.raises(ValueError, match=r"NaN or infinite.*\[1, 2, 3\]"):
        ej.simulate(
            network(), ej.Frames(bad, DT), T1, solver=ej.Clocked(DT), adjoint=RULE
        )
    sol = run(ej.Frames(bad, DT))
    fine = np.asarray(sol.result == ej.RESULTS.successful)
    np.testing.assert_array_equal(fine, [True, False])


def test_weighting_by_input_activity_needs_times():
    taus = dict(tau_mem=2.0, tau_syn=1.0)
    leaky = ej.Layer(ramp_dense(jnp.ones((INPUTS, 1))), ej.LeakyIntegrator(1, **taus))
    weighting = ej.weightings.InputActivity(3.0, 1.0)
    with pytest.raises(ValueError, match="frames have none"):
        ej.simulate(
            ej.Network([leaky]),
            ej.Frames(raster(), DT),
            T1,
            solver=ej.Clocked(DT),
            adjoint=RULE,
            integrate=weighting,
        )
