"""What a neuron is: an ODE between spikes, and three rules for what happens at them."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PyTree


# A number is a constant; an array is a leaf of the network, so it can be trained.
Parameter = Float[Array, " neurons"] | Float[Array, ""] | float


class AbstractNeuron(eqx.Module):
    """A population of independent neurons. It holds parameters only; the state goes in
    and out. Times are in ms."""

    size: eqx.AbstractVar[int]

    @abc.abstractmethod
    def initial_state(self) -> PyTree[Float[Array, " neurons"]]:
        """The state of a trial that starts from rest."""

    @abc.abstractmethod
    def vector_field(self, t: Any, state: PyTree, drive: Any) -> PyTree:
        """The time derivative of the state between events, under a constant `drive`."""

    @abc.abstractmethod
    def receive(self, state: PyTree, current: Float[Array, " neurons"]) -> PyTree:
        """The state just after spikes arrived whose weights add up to `current`."""

    @abc.abstractmethod
    def threshold(self, t: Any, state: PyTree) -> Float[Array, " neurons"] | None:
        """A neuron spikes when this crosses zero from below. `None`: never."""

    @abc.abstractmethod
    def reset(self, t: Any, state: PyTree) -> PyTree:
        """The state just after a spike."""


class AbstractFlow(AbstractNeuron):
    """Neurons whose course between events has a closed form, but perhaps not their
    spikes. `Clocked` takes its steps with `flow`."""

    @abc.abstractmethod
    def flow(self, state: PyTree, drive: Any, dt: Any) -> PyTree:
        """The state after a time `dt`, shape `[]` or `[neurons]`, without events."""


class AbstractClosedForm(AbstractFlow):
    """Neurons whose course between events, and whose next spike, have a closed form:
    what `ClosedForm` needs."""

    @abc.abstractmethod
    def crossing(self, state: PyTree, drive: Any, dt: Any) -> Float[Array, " neurons"]:
        """When `threshold` first reaches zero within `[0, dt]`, to the last bits; 0 where
        it stands at zero or above, `+inf` where it does not. Not to be differentiated:
        what a spike time depends on is the solver's business."""


def check_parameter(name: str, value: Any, size: int, positive: bool = False) -> Any:
    """A parameter as a float or an array of shape `()` or `[size]`, or a `ValueError`.
    Values are checked where they are known; `simulate` checks those that are traced."""
    if isinstance(value, (int, float, np.number)):
        value = float(value)
    elif isinstance(value, (list, tuple, np.ndarray)):
        dtype = jax.dtypes.canonicalize_dtype(float)
        value = jnp.asarray(value, dtype)
    shape = jnp.shape(value)
    if shape not in ((), (size,)):
        raise ValueError(
            f"`{name}` must be a number or have shape ({size},), one value for each "
            f"neuron, got shape {shape}."
        )
    if not isinstance(value, Tracer) and eqx.is_array_like(value):
        known = np.asarray(value)
        if not np.all(np.isfinite(known)) or (positive and not np.all(known > 0)):
            kind = "positive and finite" if positive else "finite"
            raise ValueError(f"`{name}` must be {kind}, got {value}.")
    return value


def adaptation_of(neuron: AbstractNeuron) -> tuple[str, ...]:
    """Parts of the state, by name, whose jump at a spike is no reset but an adaptation to
    it: rules that pass no gradient through resets pass this one."""
    if hasattr(neuron, "neuron"):  # wrapped
        return adaptation_of(getattr(neuron, "neuron"))
    return getattr(neuron, "adaptation", ())


def known(*values: Any) -> bool:
    """Whether the values are there now, not only when a compiled program runs."""
    return not any(isinstance(x, Tracer) for x in values)


def check_below(low_name: str, low: Any, high_name: str, high: Any, why: str) -> None:
    """A `ValueError` unless one parameter is below another; those that are traced pass."""
    if known(low, high) and not np.all(np.asarray(low) < np.asarray(high)):
        raise ValueError(
            f"`{low_name}` must be below `{high_name}`, {why}; got {low} and {high}."
        )


def check_reset(v_reset: Any, v_threshold: Any) -> None:
    """A `ValueError` unless the reset is below the threshold."""
    why = "or a neuron would spike without end"
    check_below("v_reset", v_reset, "v_threshold", v_threshold, why)


def rest(neuron: AbstractNeuron) -> Float[Array, " neurons"]:
    """Zeros of the widest float type of a neuron's parameters."""
    dtypes = [x.dtype for x in jax.tree.leaves(neuron) if eqx.is_inexact_array(x)]
    default = jax.dtypes.canonicalize_dtype(float)
    widest = max(dtypes or [default], key=lambda dtype: dtype.itemsize)
    return jnp.zeros(neuron.size, widest)


def parameters(neuron: AbstractNeuron, like: Array) -> Any:
    """The neuron with all parameters as arrays of the float type of `like`."""
    return jax.tree.map(lambda x: jnp.asarray(x, like.dtype), neuron)


def full(value: Any, like: Array) -> Array:
    """A parameter as an array of the shape and float type of `like`."""
    return jnp.broadcast_to(jnp.asarray(value, like.dtype), like.shape)
