"""The front door for networks whose neurons spike at most once."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ._adjoint import AbstractAdjoint, AbstractRampAdjoint, STDED
from ._checks import known
from ._connection import EarliestPool2d
from ._first_spike_network import FirstSpikeNetwork, PotentialReadout
from ._given import float_type
from ._solver._ramp import RampProblem
from ._spikes import FirstSpikes


class Regimes(eqx.Module):
    """Which parts of a layer's neurons are in each regime; they add up to 1. Only active
    neurons learn.

    **Fields:** `active`, `saturated` (spike when the window opens) and `silent`, of each
    sample if there is a batch axis, without gradient.
    """

    active: Float[Array, "*batch"]
    saturated: Float[Array, "*batch"]
    silent: Float[Array, "*batch"]


class FirstSpikeSolution(eqx.Module):
    """What a `FirstSpikeNetwork` did.

    **Fields:**

    - `spikes`: the `FirstSpikes` of each `FirstSpikeLayer`, in ms from the start of the
        input's window. Layer `k` fires within `[(k + 1) * window, (k + 2) * window]`.
    - `potentials`: those of the readout, `[*batch, outputs]`, `None` if there is none.
    - `window`: the length of all windows in ms.

    Differentiable: spike times and potentials.
    """

    spikes: tuple[FirstSpikes, ...]
    potentials: Float[Array, "..."] | None
    window: float = eqx.field(static=True)

    def regimes(self, batch_ndim: int = 1) -> tuple[Regimes, ...]:
        """Of each layer, averaged over all but the first `batch_ndim` axes."""
        return tuple(
            _regimes(x, (k + 1) * self.window, batch_ndim)
            for k, x in enumerate(self.spikes)
        )


def _regimes(spikes: FirstSpikes, opens: float, batch_ndim: int) -> Regimes:
    axes = tuple(range(batch_ndim, spikes.times.ndim))
    times = lax.stop_gradient(spikes.times)
    share = lambda which: jnp.mean(which.astype(times.dtype), axes)
    early = spikes.fired & (times <= opens)
    return Regimes(share(spikes.fired & ~early), share(early), share(~spikes.fired))


def simulate_first_spikes(
    network: FirstSpikeNetwork,
    spikes: FirstSpikes,
    *,
    adjoint: AbstractAdjoint = STDED(),
) -> FirstSpikeSolution:
    """Run a network on input that spikes at most once per source.

    **Arguments:**

    - `network`: WHAT is simulated.
    - `spikes`: the input, times in `[0, window]` ms, with any leading batch axes; see
        `eventjax.encoders.first_spikes`. Its other axes are what the first layer takes.
    - `adjoint`: HOW it learns, `STDED()`, or `Direct()` for plain automatic
        differentiation, the oracle.

    **Returns:** a `FirstSpikeSolution`.

    **Raises:** `ValueError` for shapes that do not fit, an adjoint that is not for these
    neurons, and, where values are known (outside `jit`), times outside the window.
    """
    if not isinstance(adjoint, AbstractRampAdjoint):
        raise ValueError(
            f"`{type(adjoint).__name__}` does not work with `RampIF` neurons: use "
            "`STDED()`, or `Direct()` for plain automatic differentiation."
        )
    _check_input(spikes, network.window)
    dtype = float_type(network, spikes)
    cast = lambda x: x.astype(dtype) if eqx.is_inexact_array(x) else x
    network, spikes = jax.tree.map(cast, (network, spikes))
    done: list[FirstSpikes] = []
    potentials = None
    for layer in network.layers:
        if isinstance(layer, PotentialReadout):
            potentials = layer(spikes)
        elif isinstance(layer, EarliestPool2d):
            spikes = layer(spikes)
        else:
            fired = lax.stop_gradient(spikes.fired)
            problem = RampProblem(layer.connection, layer.neuron, spikes.times, fired)
            times = adjoint.run_ramp(problem)
            spikes = FirstSpikes(times, lax.stop_gradient(times) < jnp.inf)
            opens = (len(done) + 1) * network.window
            done.append(FirstSpikes(opens + times, spikes.fired))
    return FirstSpikeSolution(tuple(done), potentials, network.window)


def _check_input(spikes: FirstSpikes, window: float) -> None:
    if jnp.shape(spikes.times) != jnp.shape(spikes.fired):
        raise ValueError(
            "`spikes.times` and `spikes.fired` must have one shape, got "
            f"{jnp.shape(spikes.times)} and {jnp.shape(spikes.fired)}."
        )
    if not known(spikes):
        return
    times, fired = np.asarray(spikes.times), np.asarray(spikes.fired)
    wrong = fired & ~((times >= 0) & (times <= window))
    if wrong.any():
        where = tuple(map(int, np.argwhere(wrong)[0]))
        raise ValueError(
            f"`spikes.times` must lie in the input's window, [0, {window}] ms, got "
            f"{times[where]} at {where}; {int(wrong.sum())} of {int(fired.sum())} spikes "
            "do not. Encode with the window of the network."
        )
