"""Layers that are tied to each other in both directions."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ._neuron import Neuron


class Network(eqx.Module):
    """Layers of neurons in which every synapse works both ways with the same weight.

    The matrix `weights[k]` leads from layer `k` to layer `k + 1`, the inputs being layer 0,
    and its transpose leads back: one array, so the two cannot drift apart. Inputs are not
    driven back. There are no synapses within a layer.

    The inputs are constant currents: a layer receives its `bias`, and the first one
    `weights[0] @ input` as well. `RateEP` and `ContinualEP` take the same networks.

    **Arguments:**

    - `sizes`: number of inputs, and of neurons in each layer; the last is the output.
    - `neuron`: the constants all neurons share.
    - `gain`: weights are drawn uniformly within `gain` times Glorot's bound,
        $\\sqrt{6/(fan_{in} + fan_{out})}$; a number, or one for each matrix. Measured in
        thresholds by default, so that hidden rates lie at .1 to .4 of the maximum on
        images like MNIST's.
    - `bias`: the first value of all biases; by default 1.5 thresholds, with which an
        otherwise silent neuron fires at .15 of the maximum rate.
    - `dtype`: of the weights; JAX's default float type if not given.
    - `key`: a `jax.random` key.

    **Raises:** `ValueError` for fewer than two sizes, or one below 1.
    """

    weights: tuple[Float[Array, "_ _"], ...]
    biases: tuple[Float[Array, " _"], ...]
    neuron: Neuron

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        neuron: Neuron = Neuron(),
        gain: float | Sequence[float] | None = None,
        bias: float | None = None,
        dtype=None,
        key: PRNGKeyArray,
    ):
        if len(sizes) < 2 or min(sizes) < 1:
            raise ValueError(
                "`sizes` must hold the number of inputs and of neurons of at least one "
                f"layer, each 1 or more, got {tuple(sizes)}."
            )
        dtype = jax.dtypes.canonicalize_dtype(float) if dtype is None else dtype
        gain = 2.5 * neuron.v_threshold if gain is None else gain
        bias = 1.5 * neuron.v_threshold if bias is None else bias
        gains = np.broadcast_to(np.asarray(gain, float), len(sizes) - 1)
        weights = []
        keys = jr.split(key, len(sizes) - 1)
        for fan_in, fan_out, scale, k in zip(sizes, sizes[1:], gains, keys):
            bound = float(scale) * (6 / (fan_in + fan_out)) ** 0.5
            shape = fan_out, fan_in
            weights.append(jr.uniform(k, shape, dtype, minval=-bound, maxval=bound))
        self.weights = tuple(weights)
        self.biases = tuple(jnp.full(n, bias, dtype) for n in sizes[1:])
        self.neuron = neuron

    @property
    def in_size(self) -> int:
        """Number of inputs."""
        return self.weights[0].shape[1]

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """Number of neurons of each layer, without the inputs."""
        return tuple(w.shape[0] for w in self.weights)

    @property
    def dtype(self):
        """The float type of all that is computed."""
        return self.weights[0].dtype
