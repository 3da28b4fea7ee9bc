"""From a real number to a number of quanta."""

from typing import NamedTuple

import equinox as eqx
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._adjoint import with_slope
from ._tracked import Tracked


_MEANS = 8.0  # of |I| in the range of one bit
_BELOW_ONE = 1 - 1e-4  # so that the largest value stays below the last level


class Sizes(NamedTuple):
    """How large the currents of a batch are, $|I|$ over valid frames and units."""

    largest: Float[Array, ""]
    mean: Float[Array, ""]


class Quantiser(eqx.Module):
    r"""What a membrane emits: its value in whole quanta, and nothing in a dead zone.

    With $L = 2^{b-1}$ for $b$ bits, a dead zone of $d$ quanta, the range $M$ and
    $s = L (1 - 10^{-4}) / M$,

    $$q = \mathrm{trunc}(s\, \mathrm{clip}(v, -M, M)), \qquad
    Q(v) = \begin{cases} q / s & |q| > d \\ 0 & \text{else} \end{cases}$$

    so that the threshold is $(d + 1) / s$ and at most $L - 1$ quanta come at once. In
    place of its derivative, which is zero almost everywhere, stands 1 for $|v| \le M$, in
    the dead zone too, and 0 beyond, in forward and in reverse mode.

    $M$ has no part in gradients: it is a `Tracked`, which follows the range that the
    largest current $|I|$ of a batch calls for, $\max |I| / (1 - (d + 1) / L)$. A membrane
    that receives no more holds less than a threshold before it, so it never leaves this
    range, and emits all it is given.

    One bit would be silent in this formula, $L = 1$. Here it is a binary neuron with
    the threshold $M / 2$, as with two levels: it emits the threshold where $v$ reaches it,
    and minus that where $-v$ does, which in a `Gated` layer never happens. What the
    paper's one bit was is UNCONFIRMED. Its range follows eight times the mean of $|I|$, so
    that the threshold is four times the mean: as high as the largest current, spikes are
    so rare and large that those of a recurrent layer raise its own threshold without end.
    What exceeds the threshold for long stays in the membrane.

    **Arguments:**

    - `bits`: $b$, at least 1. 32 are as good as no quantisation. In float32 no more than
        24 bits can be told apart.
    - `dead_zone`: $d$, from 0 to $L - 2$, or nothing could ever be emitted; 0 for one bit.
    - `range`: $M$ to start with, above zero, in the unit of $v$ (dimensionless). See
        `calibrate`.

    **Raises:** `ValueError` for values out of range.

    ??? cite

        Ponghiran and Roy, AAAI 2022, arXiv 2109.01905, and their code, which tracks the
        largest $|v|$ in each frame of a batch, this frame and padding included. Here the
        range is that of the batches before, over valid frames, and of currents: with a
        range that is too small for long, $v$ would grow from frame to frame, and the range
        with it without end.
    """

    range: Tracked
    bits: int = eqx.field(static=True)
    dead_zone: int = eqx.field(static=True)

    def __init__(self, bits: int, dead_zone: int = 0, *, range: float = 1.0):
        if bits < 1:
            raise ValueError(f"`bits` must be at least 1, got {bits}.")
        most = max(2 ** (bits - 1) - 2, 0)
        if not 0 <= dead_zone <= most:
            raise ValueError(
                f"`dead_zone` must lie between 0 and {most} quanta for {bits} bits, or "
                f"nothing would ever be emitted; got {dead_zone}."
            )
        if not 0 < range < float("inf"):
            raise ValueError(f"`range` must be positive and finite, got {range}.")
        self.range = Tracked(jnp.asarray(range, jnp.result_type(float)))
        self.bits, self.dead_zone = bits, dead_zone

    @property
    def scale(self) -> Float[Array, ""]:
        """$s$, quanta per unit."""
        reach = self.range.held
        # A range of zero has seen nothing but zeros; any scale will do
        reach = jnp.where(reach > 0, reach, 1.0)
        return self.levels * (1.0 if self.bits == 1 else _BELOW_ONE) / reach

    @property
    def threshold(self) -> Float[Array, ""]:
        """The smallest value that is emitted, $(d + 1) / s$."""
        return (self.dead_zone + 1) / self.scale

    def __call__(self, v: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """What is emitted of `v`."""
        scale, reach = self.scale.astype(v.dtype), self.range.held.astype(v.dtype)
        held = lax.stop_gradient(v)
        quanta = jnp.trunc(scale * jnp.clip(held, -reach, reach))
        if self.bits == 1:  # at the very end of the range there would be two
            quanta = jnp.clip(quanta, -1, 1)
        quanta = jnp.where(jnp.abs(quanta) > self.dead_zone, quanta, 0)
        inside = (jnp.abs(held) <= reach).astype(v.dtype)
        return with_slope(quanta / scale, v, inside)

    @property
    def levels(self) -> int:
        """$L$, but 2 for one bit."""
        return max(2 ** (self.bits - 1), 2)

    def drift(self, sizes: Sizes) -> Float[Array, ""]:
        """A term of the loss by which the range follows what the currents of a batch call
        for."""
        if self.bits == 1:
            wanted = _MEANS * sizes.mean
        else:
            wanted = sizes.largest / (1 - (self.dead_zone + 1) / self.levels)
        return self.range.drift(wanted.astype(self.range.value.dtype))
