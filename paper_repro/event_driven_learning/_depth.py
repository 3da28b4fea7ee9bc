"""Deep stacks of dense layers under several thresholds, and what each layer does."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

import eventjax as ej

from ._stdbp import stdbp_layer


WINDOW = 1.0  # ms; nothing depends on it
# Within windows that follow one another.
RAMPS = {
    "ramp": ej.LinearRamp(1.0, 0.0),
    "fixed": ej.LinearRamp(1.0, 1.0),
    "fixed_half": ej.LinearRamp(0.5, 0.5),
}
# Without windows, at a threshold of 1.
OVERLAPPING = "overlapping"
THRESHOLDS = (*RAMPS, OVERLAPPING)
IN_WORDS = {
    "ramp": "ramp 1 to 0",
    "fixed": "fixed 1",
    "fixed_half": "fixed 0.5",
    OVERLAPPING: "fixed 1, overlapping (STDBP)",
}

Stack = tuple[ej.Dense, ...]


def kaiming_stack(sizes: Sequence[int], key: jax.Array) -> Stack:
    """Dense connections between layers of the given sizes, their weights normal with a
    mean of 0 and a variance of 2 / in."""
    return tuple(
        ej.Dense(one, two, mean=0.0, std=(2 / one) ** 0.5, key=jr.fold_in(key, k))
        for k, (one, two) in enumerate(zip(sizes[:-1], sizes[1:]))
    )


class LayerRun(eqx.Module):
    """What the neurons of a layer do in a batch.

    **Fields:** `spikes`, whose times count from the start of the layer's window, or of
    the input if there are no windows; `active`, which of them learn; `gain`, the factor
    1 / denominator of their gradients, in ms, 0 for those that do not learn.
    """

    spikes: ej.FirstSpikes
    active: Array
    gain: Float[Array, "batch neurons"]


@eqx.filter_jit
def run_layer(connection: ej.Dense, spikes: ej.FirstSpikes, threshold: str) -> LayerRun:
    """One layer under one of `THRESHOLDS`, input times counted as in `LayerRun`."""
    if threshold == OVERLAPPING:
        found = stdbp_layer(connection, spikes)
        fired = found.spikes.fired
        return LayerRun(found.spikes, fired, _inverse(found.slope, fired))
    ramp = RAMPS[threshold]
    layer = ej.FirstSpikeLayer(connection, ej.RampIF(WINDOW, threshold=ramp))
    sol = ej.simulate_first_spikes(ej.FirstSpikeNetwork([layer]), spikes)
    times, fired = sol.spikes[0].times - WINDOW, sol.spikes[0].fired
    active = fired & (times > 0)
    weights = spikes.fired.astype(times.dtype)
    moments = jnp.where(spikes.fired, spikes.times, 0.0).astype(times.dtype)
    slope = connection.apply(weights) / WINDOW
    v = (WINDOW * connection.apply(weights) - connection.apply(moments)) / WINDOW
    speed = ramp.closing_speed(v, slope, times, WINDOW)
    return LayerRun(ej.FirstSpikes(times, fired), active, _inverse(speed, active))


def _inverse(speed: Array, active: Array) -> Array:
    return jnp.where(active, 1 / jnp.where(active, speed, 1.0), 0.0)


def layer_shares(
    stack: Stack, spikes: ej.FirstSpikes, threshold: str
) -> list[dict[str, Any]]:
    """For each layer the shares of active, saturated and silent neurons in a batch, the
    99th percentile of the gain of those that are active, and the mean time of all spikes
    in ms; these two are `None` where there are none."""
    out = []
    for connection in stack:
        run = run_layer(connection, spikes, threshold)
        spikes = run.spikes
        active, fired = np.asarray(run.active), np.asarray(spikes.fired)
        gains = np.abs(np.asarray(run.gain, float)[active])
        times = np.asarray(spikes.times, float)[fired]
        out.append(
            {
                "fires": float(fired.mean()),
                "active": float(active.mean()),
                "saturated": float((fired & ~active).mean()),
                "silent": float((~fired).mean()),
                "gain_99": float(np.percentile(gains, 99)) if gains.size else None,
                "mean_time": float(times.mean()) if times.size else None,
            }
        )
    return out
