"""Networks to and from other simulators, by the Neuromorphic Intermediate Representation.

```python
ej.interop.write_nir("network.nir", ej.interop.to_nir(network))
network = ej.interop.from_nir(ej.interop.read_nir("network.nir"))
```

What NIR cannot hold, and what eventjax cannot, is an error that names it. Needs the extra
`eventjax[interop]`.

??? cite

    Pedersen et al., Neuromorphic intermediate representation: a unified instruction set
    for interoperable brain-inspired computing, Nature Communications 15:8122 (2024).
"""

from ._dialect import Dialect as Dialect
from ._export import to_nir as to_nir
from ._files import read_nir as read_nir, write_nir as write_nir
from ._import import from_nir as from_nir
