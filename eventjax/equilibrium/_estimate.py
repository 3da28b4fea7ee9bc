"""Losses that have an estimate of their gradient in place of the gradient."""

from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree


_Model = TypeVar("_Model")


def held(network: _Model) -> _Model:
    """The same values, as constants to all gradients."""
    stop = lambda x: jax.lax.stop_gradient(x) if eqx.is_array(x) else x
    return jax.tree.map(stop, network)


def with_gradient(
    losses: Float[Array, " batch"], network: PyTree, gradient: PyTree
) -> Float[Array, " batch"]:
    """The same losses, whose mean has the gradient `gradient` with respect to `network`.

    A term that is zero, and linear in the parameters: so optimisers and training loops that
    differentiate a loss can take updates that no derivative gives.
    """
    parameters = eqx.filter(network, eqx.is_inexact_array)
    products = jax.tree.map(lambda p, g: jnp.sum(p * g), parameters, held(gradient))
    total = sum(jax.tree.leaves(products))
    return held(losses) + (total - held(total))
