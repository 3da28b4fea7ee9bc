"""Pulls of the label's first spike towards earlier times."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ._first_spike import (
    check_positive,
    finish,
    label_spike,
    Labels,
    Times,
)


def early_spike_penalty(
    first_spike_times: Times,
    labels: Labels,
    *,
    alpha: float,
    t1: float,
    silent_times: Times | None = None,
) -> Float[Array, "*batch"]:
    r"""Grows as the label's first spike comes close to the end of the trial.

    $$L = \frac{\alpha}{1.01\, T - t_y}$$

    If the label's neuron is silent, loss and gradient are 0, or those of a stand-in. The
    paper's code has a *phantom spike* there: at the end of the trial, in the adjoint
    equations only, and not divided by the slope of the voltage, which did not cross
    anything. That is `silent_times=ej.losses.silent_times(sol, tau_mem, delay=0.0)`, with
    the `tau_mem` of the output neurons in ms. It is not a derivative of anything.

    **Arguments:**

    - `first_spike_times`: in ms after the start of the trial, `[*batch, outputs]`, `+inf`
        where a neuron is silent.
    - `labels`: integers, `[*batch]`.
    - `alpha`: $\alpha$ in ms.
    - `t1`: $T$, the end of a trial that starts at 0, in ms.
    - `silent_times`: what stands in for the time of a silent neuron, in ms. From 1.01 T on
        the loss has no meaning, and is `nan`.

    **Returns:** one loss per sample, `[*batch]`, to be added to that of
    `first_spike_cross_entropy` without its own `alpha`.

    **Raises:** `ValueError` for shapes that do not fit, a label out of range, or a `t1`
    that is not positive.

    ??? cite

        The variant for first spikes in the code of Nowotny, Turner and Knight, arXiv
        2212.01232; whether it is in the paper is UNCONFIRMED.
    """
    check_positive(t1=t1)
    time, there, labels, size = label_spike(first_spike_times, labels, silent_times)
    left = 1.01 * t1 - time
    loss = jnp.where(left > 0, alpha / jnp.where(left > 0, left, 1.0), jnp.nan)
    return finish(loss, there, labels, size)


def exponential_spike_penalty(
    first_spike_times: Times,
    labels: Labels,
    *,
    alpha: float,
    tau1: float,
    silent_times: Times | None = None,
) -> Float[Array, "*batch"]:
    r"""The pull of `first_spike_cross_entropy` by itself.

    $$L = \alpha \left(e^{t_y / \tau_1} - 1\right)$$

    By itself because the paper's loss on spike times has two stand-ins for a silent neuron:
    $T + 1$ ms as a constant in the softmax, and a phantom spike at $T$ here (see
    `early_spike_penalty`).

    ```python
    late = jnp.full_like(times, t1 + 1.0)
    phantom = ej.losses.silent_times(sol, tau_mem, delay=0.0)
    loss = ej.losses.first_spike_cross_entropy(
        times, labels, tau0=1.0, silent_times=late
    ) + ej.losses.exponential_spike_penalty(
        times, labels, alpha=5e-5, tau1=100.0, silent_times=phantom
    )
    ```

    **Arguments:** `first_spike_times`, `labels` and `silent_times` as for
    `early_spike_penalty`; `alpha` and `tau1`, the weight and the time scale in ms.

    **Returns:** one loss per sample, `[*batch]`.

    **Raises:** `ValueError` for shapes that do not fit, a label out of range, or a time
    scale that is not positive.

    ??? cite

        Wunderlich and Pehle, Scientific Reports 11:12829 (2021), and, with the stand-ins
        and settings above, the code of Nowotny, Turner and Knight, arXiv 2212.01232; that
        this is the loss $L_{time}$ of the paper is UNCONFIRMED.
    """
    check_positive(tau1=tau1)
    time, there, labels, size = label_spike(first_spike_times, labels, silent_times)
    return finish(alpha * jnp.expm1(time / tau1), there, labels, size)
