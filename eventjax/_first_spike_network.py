"""Layers whose neurons spike at most once, in firing windows that follow one another."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._connection import AbstractLinearMap, EarliestPool2d
from ._neuron import RampIF
from ._neuron._ramp_if import positive
from ._spikes import FirstSpikes


class FirstSpikeLayer(eqx.Module):
    """A connection and the `RampIF` neurons it reaches, of whatever shape it makes.

    **Arguments:** `connection`, a `Dense`, a `Conv2d`, or a `Chain` of linear maps; and
    `neuron`, a `RampIF`.
    """

    connection: AbstractLinearMap
    neuron: RampIF


class PotentialReadout(eqx.Module):
    r"""Potentials of integrators that never spike, one for each output.

    $$z_k = \sum_i w_{ik}\,\max(t_{read} - t_i, 0) / \tau_{rise}$$

    over the inputs that fired. All of them have arrived, so this is a plain sum.

    **Arguments:**

    - `connection`: as for `FirstSpikeLayer`.
    - `window`: length in ms of the window of the layer before.
    - `at_end`: read when a window of the readout's own closes, the default; else when it
        would open, $t_{read}$ = `2 * window` or `window`. The two differ by the sum of
        the weights of what fired.
    - `rise`: $\tau_{rise}$ in ms as for `RampIF`, the window by default.

    Raises a `ValueError` for a `window` or `rise` that is not positive.

    ??? cite

        The code of Wei et al., ICCV (2023), has both forms; which of them is that of
        arXiv 2403.00270 is UNCONFIRMED.
    """

    connection: AbstractLinearMap
    window: float = eqx.field(static=True)
    at_end: bool = eqx.field(static=True)
    rise: float = eqx.field(static=True)

    def __init__(
        self,
        connection: AbstractLinearMap,
        window: Any,
        *,
        at_end: bool = True,
        rise: Any = None,
    ):
        self.connection = connection
        self.window = positive("window", window)
        self.at_end = at_end
        self.rise = self.window if rise is None else positive("rise", rise)

    def __call__(self, spikes: FirstSpikes) -> Float[Array, "*made"]:
        """Of spikes whose times count from the start of their window."""
        read = 2 * self.window if self.at_end else self.window
        psp = (read - jnp.where(spikes.fired, spikes.times, read)) / self.rise
        return self.connection.apply(psp)


class FirstSpikeNetwork(eqx.Module):
    """Layers in sequence; each waits for the spikes of the one before, then has a firing
    window of its own. The input has the first window.

    **Arguments:**

    - `layers`: a sequence of `FirstSpikeLayer` and `EarliestPool2d`, and if wanted a
        `PotentialReadout` at the end.

    Raises a `ValueError` if there is none, if a readout is not the last, or if windows
    have different lengths.
    """

    layers: tuple[FirstSpikeLayer | EarliestPool2d | PotentialReadout, ...]

    def __init__(
        self, layers: Sequence[FirstSpikeLayer | EarliestPool2d | PotentialReadout]
    ):
        self.layers = tuple(layers)
        kinds = FirstSpikeLayer, EarliestPool2d, PotentialReadout
        for k, layer in enumerate(self.layers):
            if not isinstance(layer, kinds):
                raise ValueError(
                    "`layers` must hold `FirstSpikeLayer`, `EarliestPool2d` or "
                    f"`PotentialReadout`, got `{type(layer).__name__}` at {k}."
                )
            if isinstance(layer, PotentialReadout) and k < len(self.layers) - 1:
                raise ValueError(
                    f"`layers[{k}]` is a `PotentialReadout`, which does not spike: make "
                    "it the last layer."
                )
        lengths = [x for x in map(_window_of, self.layers) if x is not None]
        if not lengths:
            raise ValueError(
                "`layers` must hold at least one `FirstSpikeLayer` or "
                f"`PotentialReadout`, got {len(self.layers)} layers without."
            )
        if len(set(lengths)) > 1:
            raise ValueError(
                "All layers must have one `window`, since each counts on the length of "
                f"the one before; got {lengths} ms: give all the same."
            )

    @property
    def window(self) -> float:
        """The length of all windows in ms, that of the input included."""
        lengths = (_window_of(layer) for layer in self.layers)
        return next(x for x in lengths if x is not None)


def _window_of(layer: FirstSpikeLayer | EarliestPool2d | PotentialReadout):
    if isinstance(layer, EarliestPool2d):
        return None
    return layer.neuron.window if isinstance(layer, FirstSpikeLayer) else layer.window
