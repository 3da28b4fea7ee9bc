"""From what a network says of each frame to sequences of phones, and how wrong they are.

```python
bigram = ej.decoding.count_bigram(train["label"], train["valid"], 61)
priors = ej.decoding.count_priors(train["label"], train["valid"], 61)
logits = classifier(frames, valid).outputs                  # [batch, frames, 61]
decoded = ej.decoding.viterbi(
    jax.nn.log_softmax(logits), valid, bigram, priors, acoustic_weight=0.5
)
wanted, found = (ej.decoding.collapse(x) for x in (labels, decoded.path))
wanted, found = (
    [ej.decoding.scored_phones(x) for x in phones] for phones in (wanted, found)
)
ej.decoding.phone_error_rate(wanted, found)                 # 0.25: one in four
```

Choose `acoustic_weight` and `prior_scale` on validation data. The two error rates need the
extra `eventjax[decode]`; the rest does not.
"""

from ._bigram import (
    count_bigram as count_bigram,
    count_priors as count_priors,
    PhoneBigram as PhoneBigram,
)
from ._error_rates import (
    phone_error_rate as phone_error_rate,
    word_error_rate as word_error_rate,
)
from ._phone_sequences import (
    collapse as collapse,
    scored_phones as scored_phones,
)
from ._viterbi import Decoded as Decoded, viterbi as viterbi
