"""Real data sets as NumPy arrays, and batches of them.

Sets are tensorflow-datasets builders read on their NumPy side: TensorFlow itself is
neither needed nor imported. What `load` and `builder` need comes with the extra
`eventjax[data]`; everything else here needs NumPy alone.
"""

from ._batches import Batches as Batches, padded_batches as padded_batches
from ._load import builder as builder, load as load
from ._yin_yang import yin_yang as yin_yang
