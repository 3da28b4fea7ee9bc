from typing import Any

import equinox as eqx
import numpy as np

from ._threshold_ramp import AbstractRamp, LinearRamp


class RampIF(eqx.Module):
    r"""Integrate-and-fire neurons that spike at most once, under a falling threshold.

    $$V(t) = \sum_i w_i \max(t - t_i, 0) / \tau_{rise}$$

    Each layer has a firing window of length $T$ = `window` right after that of the layer
    before. So all input has arrived when it opens, $V$ is a straight line within it, and
    when it meets the threshold is one closed formula for all neurons, without search for
    the causes of a spike. With $W = \sum w_i / \tau_{rise}$ and
    $I = \sum w_i t_i / \tau_{rise}$ over the inputs that fired, times from the start of
    their window, the threshold $\theta$ a ramp from $\theta_0$ to 0, and the window of
    the layer $[T, 2 T]$, a neuron is

    - *saturated* if $W T - I \ge \theta_0$: it spikes at $T$, without gradient;
    - *silent* if $2 W T - I \le 0$ (and not saturated): no spike, no gradient;
    - *active* else, with a spike at $t = (2 \theta_0 + I) / (W + \theta_0 / T)$.

    In an active neuron $W > -\theta_0 / T$, so an earlier excitatory input always makes
    an earlier spike: gradients have the sign of the weight.

    **Arguments:**

    - `window`: length $T$ of the firing windows in ms, of this layer and that before.
    - `threshold`: a ramp over the window, `LinearRamp()` from 1 to 0 by default.
    - `rise`: $\tau_{rise}$ in ms, the time in which an input of unit weight raises the
        voltage by one; the window by default, so that weights do not depend on it.

    Raises a `ValueError` for a `window` or `rise` that is not positive.

    ??? cite

        Wei et al., arXiv 2403.00270, name the neuron AFT-IF. Its equations here are those
        of the same authors' neuron with dynamic firing threshold, ICCV (2023); that the
        two are the same, and the paper's schedule and window, are UNCONFIRMED.
    """

    window: float = eqx.field(static=True)
    rise: float = eqx.field(static=True)
    threshold: AbstractRamp

    def __init__(
        self,
        window: Any,
        *,
        threshold: Any = LinearRamp(),
        rise: Any = None,
    ):
        self.window = positive("window", window)
        self.rise = self.window if rise is None else positive("rise", rise)
        if not isinstance(threshold, AbstractRamp):
            raise ValueError(
                "`threshold` must be a ramp as `LinearRamp(1.0, 0.0)`, got "
                f"{threshold!r}: for a fixed threshold give `LinearRamp(1.0, 1.0)`."
            )
        self.threshold = threshold


def positive(name: str, value: Any) -> float:
    """A length of time as a number, or a `ValueError`."""
    try:
        number = float(value)
    except (TypeError, ValueError):  # also what is traced has no value
        raise ValueError(
            f"`{name}` must be a number in ms that is known when the program is compiled, "
            f"got {value!r}."
        ) from None
    if not (np.isfinite(number) and number > 0):
        raise ValueError(f"`{name}` must be positive and finite, in ms, got {value}.")
    return number
