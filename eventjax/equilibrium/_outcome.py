"""What a rule has to say beside the loss."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ._neuron import Neuron


class Outcome(eqx.Module):
    """The free phase of a batch.

    - `losses`: of each sample, `[batch]`; their mean is the loss. `None` without targets.
    - `rates`: of the outputs at the end, in spikes per ms (rules of rates: as their
        activation has them), `[batch, outputs]`.
    - `prediction`: the output with the highest rate, `[batch]`.
    - `counts`: spikes of each neuron, `[batch, neurons]` for each layer; none of rates.
    """

    losses: Float[Array, " batch"] | None
    rates: Float[Array, "batch outputs"]
    prediction: Int[Array, " batch"]
    counts: tuple[Int[Array, "batch _"], ...]

    @classmethod
    def of_rates(cls, rates: Array, counts: tuple[Array, ...] = ()) -> "Outcome":
        prediction = jnp.argmax(rates, axis=1).astype(jnp.int32)
        return cls(None, rates, prediction, counts)


class Report(eqx.Module):
    """How a layer fares, over a batch.

    - `rate`: mean rate in spikes per ms.
    - `dead`: share of neurons that never spiked in any sample; they do not learn.
    - `saturated`: share of neurons above .9 of the maximum rate, on average; they learn
        little.
    - `spikes`: per sample.
    """

    rate: Float[Array, ""]
    dead: Float[Array, ""]
    saturated: Float[Array, ""]
    spikes: Float[Array, ""]


def report(
    neuron: Neuron, counts: tuple[Int[Array, "batch _"], ...], duration: float
) -> tuple[Report, ...]:
    """Dead and saturated neurons of each layer.

    **Arguments:**

    - `neuron`: the network's.
    - `counts`: spikes in a phase, as `Phase.counts` and `Outcome.counts` give them.
    - `duration`: of that phase, in ms.

    **Returns:** a `Report` for each layer.
    """
    reports = []
    for count in counts:
        mean = jnp.mean(count.astype(jnp.result_type(float)), axis=0)
        share = lambda x, mean=mean: jnp.mean(x.astype(mean.dtype))
        saturated = mean / duration > 0.9 * neuron.max_rate
        reports.append(
            Report(
                jnp.mean(mean) / duration,
                share(mean == 0),
                share(saturated),
                jnp.sum(mean),
            )
        )
    return tuple(reports)
