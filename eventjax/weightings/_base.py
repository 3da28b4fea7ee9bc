"""What a weighting is: a weight for every time of a trial, and what it makes of neurons."""

import abc
from typing import Any

import equinox as eqx
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float

from .._spikes import Frames, Spikes


Number = Array | float | int


class Trial(eqx.Module):
    """What a weighting may depend on: the interval in ms, and the input of the network,
    with a single batch axis."""

    t0: Float[Array, ""]
    t1: Float[Array, ""]
    inputs: Spikes | Frames

    @property
    def length(self) -> Float[Array, ""]:
        """T in ms."""
        return self.t1 - self.t0


class Share(eqx.Module):
    r"""What a unit of voltage, or of current, that a neuron has at a time $t$ adds to its
    weighted integral,

    $$\frac{1}{T} \int_t^{t_1} g(t') e^{-(t'-t)/\tau_m} dt' \quad\text{and}\quad
      \frac{1}{T} \int_t^{t_1} g(t') \kappa(t'-t)\, dt'$$

    with $\kappa$ the voltage after a unit of current. These are the adjoint variables of
    voltage and current, with the opposite sign of the Eventprop paper's."""

    of_v: Array
    of_i: Array


class AbstractKernel(eqx.Module):
    """The integrals of a weighting for given time constants, ready to be asked for."""

    total: eqx.AbstractVar[Array]  # (1/T) times the integral of g, `[]` or `[batch, 1]`
    resolved: eqx.AbstractVar[
        Bool[Array, ""]
    ]  # whether they are as exact as they claim

    @abc.abstractmethod
    def __call__(self, t: Float[Array, "places batch lanes"]) -> Share:
        """The shares of what a neuron has at times of `[t0, t1]`, in ms. The batch may be
        of size 1 for all samples. Shape `[places, batch, lanes]`, with `neurons` instead
        of `lanes` if time constants are those of single neurons."""


class AbstractWeighting(eqx.Module):
    r"""A weight $g(t)$ for every time of a trial from `t0` to `t1`, $T$ ms long. With
    `integrate=` of `eventjax.simulate` it gives $\frac{1}{T} \int g(t) V_k(t)\, dt$."""

    @abc.abstractmethod
    def weight(self, t: Float[Array, " times"], trial: Trial) -> Array:
        """g at times in ms, `[times, 1]`, or `[times, batch]` if it is another for each
        sample."""

    @abc.abstractmethod
    def kernel(self, trial: Trial, tau_mem: Array, tau_syn: Array) -> AbstractKernel:
        """The integrals for neurons with these time constants in ms, `[]` or
        `[1, 1 or batch, neurons]`."""


def check_number(name: str, value: Any, positive: bool = True) -> None:
    """A `ValueError` for a setting that is not positive and finite, or not finite. Tree
    transformations put other things into fields; those pass."""
    if isinstance(value, Tracer) or not eqx.is_array_like(value):
        return
    known = np.asarray(value)
    if known.ndim or not np.isfinite(known) or (positive and not known > 0):
        kind = "positive and finite" if positive else "finite"
        raise ValueError(f"`{name}` must be one number, {kind}, got {value}.")
