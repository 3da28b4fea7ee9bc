"""How the masked gradient of a layer with hard reset goes back in time."""

import abc

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


Steps = Float[Array, "steps *batch"]
Batch = Float[Array, "*batch"]
Number = Float[Array, ""]


class AbstractMaskedBackward(eqx.Module):
    """A way to get the gradient by the currents from that by the spikes, for voltages
    that decay by a factor in each step and start anew after a spike, whose own reset
    passes no gradient."""

    @property
    @abc.abstractmethod
    def at_spikes_only(self) -> bool:
        """Whether it is right only for masks that are 0 where there is no spike."""

    @abc.abstractmethod
    def __call__(
        self,
        bar: Steps,
        spikes: Steps,
        decay: Float[Array, ""],
        end: Float[Array, "*batch"],
    ) -> Steps:
        """The gradient by the currents. `bar` is that by the spikes times their masked
        slope, `spikes` is 1 where one is, `end` the gradient by the last voltages."""


class Recursion(AbstractMaskedBackward):
    r"""Step by step, for all masks: $du_t = \bar s_t \psi_t + \beta (1 - s_t) du_{t+1}$."""

    @property
    def at_spikes_only(self) -> bool:
        return False

    def __call__(
        self,
        bar: Steps,
        spikes: Steps,
        decay: Float[Array, ""],
        end: Float[Array, "*batch"],
    ) -> Steps:
        def step(after: Array, given: tuple[Array, Array]):
            bar, spikes = given
            here = bar + (1 - spikes) * after
            return decay * here, here

        return lax.scan(step, end, (bar, spikes), reverse=True)[1]


class NextSpike(AbstractMaskedBackward):
    r"""From event to event: before each spike all is known from the neuron's own next one.

    $$du_t = \beta^{k - t}\, \bar s_k \psi_k, \qquad k = \text{first } t' \ge t
    \text{ with } s_{t'} = 1$$

    and 0 if there is none (but for a gradient by the last voltage). There is no loop over
    time, and on hardware that sends events only pairs of a spike and the inputs since the
    one before need work. For masks at spikes only.

    ??? cite

        Derived from `Recursion`; the paper's own form (Wei et al., arXiv 2403.00270) is
        UNCONFIRMED.
    """

    @property
    def at_spikes_only(self) -> bool:
        return True

    def __call__(
        self,
        bar: Steps,
        spikes: Steps,
        decay: Float[Array, ""],
        end: Float[Array, "*batch"],
    ) -> Steps:
        steps = bar.shape[0]
        number = jnp.arange(steps, dtype=jnp.int32).reshape(-1, *(1,) * end.ndim)
        own = jnp.where(spikes > 0, number, steps)
        following = lax.cummin(own, axis=0, reverse=True)
        last = jnp.minimum(following, steps - 1)
        at_spike = jnp.take_along_axis(bar, last, axis=0)
        source = jnp.where(following < steps, at_spike, end[None])
        return decay ** (last - number).astype(bar.dtype) * source
