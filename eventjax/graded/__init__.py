"""Layers whose spikes are graded: a number of quanta once a frame, and no exact times
(but for what `exact` makes of them).

Frames in, frames out: whole batches `[batch, frames, units]`, with `valid`
`[batch, frames]`, which is false on padding. One frame is one step; how many ms it lasts
does not matter. These are the networks of Ponghiran and Roy, *Spiking neural networks with
improved inherent recurrence dynamics for sequential learning*, AAAI 2022, arXiv 2109.01905,
and what they are compared with. The body of that paper was not at hand: equations are those
of its released code, and what of the paper is UNCONFIRMED is called so.

```python
key = jax.random.key(0)
encoder = ej.graded.Encoder(39, ej.graded.Quantiser(6, 3))
layer = ej.graded.Gated(39, 100, ej.graded.Quantiser(6, 3), recurrent=True, key=key)
readout = ej.graded.Readout(100, 61, key=key)
classifier = ej.graded.Classifier(encoder, [layer], readout)
logits = classifier(frames, valid).outputs      # [batch, frames, 61]
```

Two things follow the data without being trained: the range of a `Quantiser` and the
statistics of a `Normalisation`. Each is a `Tracked`; add `drift` to the loss and wrap the
optimiser in `following`.
"""

from ._base import AbstractLayer as AbstractLayer, Passed as Passed
from ._cells import Cells as Cells
from ._classifier import (
    Classified as Classified,
    Classifier as Classifier,
    fold as fold,
)
from ._conventional import Conventional as Conventional
from ._encoder import Encoder as Encoder
from ._exact import (
    exact as exact,
    ExactClassified as ExactClassified,
    ExactClassifier as ExactClassifier,
)
from ._exact_encoder import ExactEncoder as ExactEncoder
from ._exact_gated import ExactGated as ExactGated
from ._exact_spikes import (
    ExactPassed as ExactPassed,
    ExactSpikes as ExactSpikes,
    ExactState as ExactState,
)
from ._gated import Gated as Gated
from ._membrane import GradedState as GradedState
from ._normalisation import (
    AbstractNormalisation as AbstractNormalisation,
    Normalisation as Normalisation,
    Shift as Shift,
)
from ._operations import (
    count_multiplications as count_multiplications,
    count_parameters as count_parameters,
    Multiplications as Multiplications,
    Parameters as Parameters,
    sparsity as sparsity,
)
from ._quantiser import Quantiser as Quantiser
from ._readout import Readout as Readout
from ._tracked import (
    calibrate as calibrate,
    following as following,
    Tracked as Tracked,
)
