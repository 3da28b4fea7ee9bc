"""Spikes at real-numbered times that have a size, and the state they leave."""

import equinox as eqx
import equinox.internal as eqxi
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._spikes import Spikes


class ExactSpikes(eqx.Module):
    """A list of spikes of one sample, each of a size.

    **Arguments:**

    - `spikes`: a `Spikes` of one sample: times in ms, `[capacity]`, and sources.
    - `sizes`: `[capacity]` (dimensionless): what a spike takes from the membrane that
        emits it. Zero where the place is empty.

    **Raises:** `ValueError` if the shapes differ.
    """

    spikes: Spikes
    sizes: Float[Array, " capacity"]

    def __check_init__(self):
        times = getattr(self.spikes, "times", None)
        shapes = getattr(times, "shape", None), getattr(self.sizes, "shape", None)
        if None not in shapes and shapes[0] != shapes[1]:
            raise ValueError(
                "`sizes` must hold one size for each place of `spikes`, of shape "
                f"{shapes[0]}, got {shapes[1]}."
            )

    def per_frame(
        self, num_sources: int, num_frames: int, frame: float = 10.0
    ) -> Float[Array, "frames sources"]:
        """What each source has emitted in each frame: the sum of its sizes, what a layer
        of frames calls its output.

        Which frame a spike is in does not change with its time but by a jump, so these
        sums have no gradient that would say anything: to ask for it in reverse mode is
        an error.

        **Arguments:**

        - `num_sources`: how many there are.
        - `num_frames`: how many frames; a spike after the last is left out.
        - `frame`: their length in ms. Frame `n` is all after `n * frame`, up to
            `(n + 1) * frame` and with that: what is emitted as a frame ends is still part
            of it, as in the layers of frames.

        **Returns:** `[frames, sources]`.
        """
        times, sources = self.spikes.times, self.spikes.sources
        there = jnp.isfinite(times)
        at = jnp.ceil(jnp.where(there, times, 0.0) / frame).astype(jnp.int32) - 1
        at = jnp.where(there, jnp.maximum(at, 0), num_frames)
        sums = jnp.zeros((num_frames, num_sources), self.sizes.dtype)
        sums = sums.at[at, sources].add(self.sizes, mode="drop")
        # Tied to the times, or a gradient would be zero and nobody would notice.
        sums = sums + 0.0 * jnp.sum(jnp.where(there, times, 0.0))
        return eqxi.nondifferentiable_backward(
            sums,
            msg=(
                "Sums of spikes over frames have no gradient: let the loss read spike "
                "times, or the currents and potentials at the end, of the exact form, or "
                "train the layers of frames."
            ),
        )


class ExactState(eqx.Module):
    """Synaptic currents and potentials of a layer at the end of a run, dimensionless,
    `[units]`."""

    current: Float[Array, " units"]
    potential: Float[Array, " units"]


class ExactPassed(eqx.Module):
    """What a layer makes of a sample in exact time.

    - `outputs`: its spikes, an `ExactSpikes`.
    - `state`: an `ExactState`, at the end.
    """

    outputs: ExactSpikes
    state: ExactState
