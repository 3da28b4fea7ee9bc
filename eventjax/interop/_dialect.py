import dataclasses
import math
from typing import Any


@dataclasses.dataclass(frozen=True)
class Dialect:
    """What NIR leaves open, and simulators settle each in its own way.

    **Arguments:**

    - `dt`: how long a spike is, in ms. By default it is a Dirac pulse whose integral over
        NIR's time is one, as in NIR's equations. Simulators with time steps let it be one
        for a whole step: then give the length of their step. A weight adds
        `dt / time_unit` times as much then.
    - `time_unit`: NIR's unit of time in ms. By default 1000: the files of NIR's paper and
        the simulators are in seconds, while a table of NIR's documentation says ms.
    - `subtract`: what a spike does to a neuron without synaptic current (`nir.LIF`) that
        an arrival has lifted above its threshold. By default $V$ becomes `v_reset`, as in
        NIR's equations; if true, it falls by `v_threshold - v_reset`. With synaptic
        currents $V$ never exceeds the threshold and both are one.

    Raises a `ValueError` for times that are not positive and finite.
    """

    dt: float | None = None
    time_unit: float = 1000.0
    subtract: bool = False

    def __post_init__(self):
        for name in ("dt", "time_unit"):
            value: Any = getattr(self, name)
            if value is None and name == "dt":
                continue
            if not (math.isfinite(value) and value > 0):
                raise ValueError(
                    f"`{name}` must be positive and finite, in ms, got {value}."
                )

    @property
    def area(self) -> float:
        """The integral over a spike, in NIR's unit of time."""
        return 1.0 if self.dt is None else self.dt / self.time_unit
