"""Where in time and in a layer errors enter neurons, for `eventjax.MPDED`.

A mask is a function of the distances between voltage and threshold (dimensionless, zero
or above at a spike) that gives 1 where a neuron takes part in the backward pass and 0
elsewhere, in an array of the same shape. Any such function will do as a mask.

??? cite

    Wei et al., arXiv 2403.00270, for a masked surrogate gradient; which mask the paper has
    is UNCONFIRMED, `Spike` the best guess. `NearThreshold` is that of Perez-Nieves and
    Goodman, Sparse spiking gradient descent, NeurIPS (2021).
"""

from ._masks import (
    AbstractMask as AbstractMask,
    Both as Both,
    Dense as Dense,
    NearThreshold as NearThreshold,
    Spike as Spike,
)
