"""The output stage that all layers with graded spikes share, and the loop over frames."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.lax as lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from ._quantiser import Quantiser, Sizes


class GradedState(eqx.Module):
    """What a layer carries from frame to frame: synaptic current, what the membrane has
    left after its last output, and this output; dimensionless, `[batch, units]`."""

    current: Float[Array, "batch units"]
    residual: Float[Array, "batch units"]
    output: Float[Array, "batch units"]


def at_rest(batch: int, units: int, dtype: Any) -> GradedState:
    zeros = jnp.zeros((batch, units), dtype)
    return GradedState(zeros, zeros, zeros)


def emit(
    quantiser: Quantiser, current: Array, residual: Array
) -> tuple[GradedState, Array, Array]:
    """The state after a frame with this current, the output, and the current. The
    membrane does not leak: whether the paper's does is UNCONFIRMED; the released code has
    no leak."""
    v = residual + current
    y = quantiser(v)
    return GradedState(current, v - y, y), y, current


def run_frames(
    step: Callable[[PyTree, Array], tuple[PyTree, Array, Array | None]],
    state: PyTree[Float[Array, "batch ..."]],
    drive: Float[Array, "batch frames features"],
    valid: Bool[Array, "batch frames"],
) -> tuple[Float[Array, "batch frames units"], PyTree, Sizes | None]:
    """Outputs of all frames, the state after the last, and how large currents are. A
    frame that is not valid puts out zeros and leaves the state alone."""

    def one(state: PyTree, given: tuple[Array, Array]):
        drive, valid = given
        new, y, current = step(state, drive)
        hold = lambda new, old: jnp.where(valid[:, None], new, old)
        if current is None:
            return jax.tree.map(hold, new, state), (hold(y, 0.0), None)
        size = hold(lax.stop_gradient(jnp.abs(current)), 0.0)
        seen = Sizes(jnp.max(size), jnp.mean(size))
        return jax.tree.map(hold, new, state), (hold(y, 0.0), seen)

    given = jnp.moveaxis(drive, 1, 0), valid.T
    end, (outputs, seen) = lax.scan(one, state, given)
    outputs = jnp.moveaxis(outputs, 0, 1)
    if seen is None:
        return outputs, end, None
    share = jnp.mean(valid.astype(seen.mean.dtype))
    mean = jnp.mean(seen.mean) / jnp.where(share > 0, share, 1)
    return outputs, end, Sizes(jnp.max(seen.largest), mean)
