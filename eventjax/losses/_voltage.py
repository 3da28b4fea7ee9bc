"""Losses on the voltage of output neurons that do not spike."""

from jaxtyping import Array, ArrayLike, Float, Int

from ._cross_entropy import cross_entropy


def max_voltage_cross_entropy(
    max_voltages: Float[ArrayLike, "*batch outputs"], labels: Int[ArrayLike, "*batch"]
) -> Float[Array, "*batch"]:
    r"""Cross-entropy with the largest voltage of each output as its logit.

    $$L = -\log \frac{e^{\max_t V_y(t)}}{\sum_k e^{\max_t V_k(t)}}$$

    **Arguments:**

    - `max_voltages`: dimensionless, `[*batch, outputs]`; `Solution.max_voltages` gives
        them, exact also between events.
    - `labels`: integers, `[*batch]`.

    **Returns:** one loss per sample, `[*batch]`.

    **Raises:** `ValueError` for shapes that do not fit or a label out of range.

    ??? cite

        Wunderlich and Pehle, Scientific Reports 11:12829 (2021), latency MNIST.
    """
    return cross_entropy(max_voltages, labels, "max_voltages")


def integral_cross_entropy(
    integrals: Float[ArrayLike, "*batch outputs"], labels: Int[ArrayLike, "*batch"]
) -> Float[Array, "*batch"]:
    r"""Cross-entropy with a voltage integral of each output as its logit.

    $$L = -\log \frac{e^{z_y}}{\sum_k e^{z_k}}, \qquad
      z_k = \frac{1}{T} \int g(t) V_k(t) \, dt$$

    The weighting $g$ makes the loss: `Uniform` that of the paper's $L_{sum}$, `Exponential`
    that of $L_{sum\_exp}$.

    **Arguments:**

    - `integrals`: dimensionless, `[*batch, outputs]`; `Solution.voltage_integrals` of
        `eventjax.simulate(..., integrate=eventjax.weightings.Exponential())`.
    - `labels`: integers, `[*batch]`.

    **Returns:** one loss per sample, `[*batch]`.

    **Raises:** `ValueError` for shapes that do not fit or a label out of range.

    ??? cite

        Nowotny, Turner and Knight, arXiv 2212.01232. The logits have the factor 1/T of the
        paper's code. Gradients are exact; those of the code are smaller by the output
        neurons' `tau_mem` in ms, which matters where something is added to them.
    """
    return cross_entropy(integrals, labels, "integrals")
