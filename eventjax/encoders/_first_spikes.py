"""Intensity as the time of a single spike, for networks of `RampIF` neurons."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import ArrayLike, Float

from .._neuron._ramp_if import positive
from .._spikes import FirstSpikes
from ._latency import check_form, check_range


def first_spikes(
    values: Float[ArrayLike, "*shape"],
    window: Any,
    *,
    image_shape: tuple[int, int, int] | None = None,
) -> FirstSpikes:
    r"""Each source of a positive value spikes once, large values first.

    $$t = T (1 - x), \qquad 0 < x \le 1$$

    A value of exactly 0 is a silent source. The shape is kept: images stay images.
    Gradients reach `values`.

    **Arguments:**

    - `values`: $x$, in [0, 1], of any shape; for images
        `[*batch, channels, height, width]`.
    - `window`: $T$, the window of the network, in ms.
    - `image_shape`: what the last three axes must be, `(channels, height, width)`, if they
        are to be checked.

    **Returns:** `FirstSpikes` of the shape of `values`.

    **Raises:** `ValueError` for values outside [0, 1] or `nan` (not under `jit`, where
    they are not known), integers, another `image_shape`, or a `window` that is not
    positive.

    ??? cite

        The code of ICCV (2023), Wei et al., clips the output of a convolution to [0, 1]
        and encodes it so. What arXiv 2403.00270 encodes, and how, is UNCONFIRMED.
    """
    window = positive("window", window)
    shape = jnp.shape(values)
    if image_shape is not None and shape[-3:] != tuple(image_shape):
        raise ValueError(
            f"`values` must be images of [*batch, channels, height, width] with "
            f"{tuple(image_shape)} as the last three, got shape {shape}: move the axis of "
            "channels before height and width, or resize."
        )
    check_form(values)
    if not isinstance(values, Tracer):
        check_range(np.asarray(values))
    x = jnp.asarray(values)
    fired = x > 0
    return FirstSpikes(jnp.where(fired, window * (1 - x), jnp.inf), fired)
