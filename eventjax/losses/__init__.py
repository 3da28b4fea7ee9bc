"""Losses: plain functions of what a `Solution` holds, one value per sample.

Times are in ms. Every function takes leading batch axes and returns `[*batch]`, so that a
user weighs, masks or averages as they like. Labels are integers from 0. A label out of
range is a `ValueError` where its value is known; under `jit`, where it is not, it gives
`nan`, which is hard to overlook.
"""

from ._correct import largest_correct as largest_correct
from ._early_spike import (
    early_spike_penalty as early_spike_penalty,
    exponential_spike_penalty as exponential_spike_penalty,
)
from ._first_spike import (
    first_spike_correct as first_spike_correct,
    first_spike_cross_entropy as first_spike_cross_entropy,
    silent_times as silent_times,
    time_invariant_mse as time_invariant_mse,
)
from ._framewise import framewise_cross_entropy as framewise_cross_entropy
from ._quadrature import (
    cross_entropy_in_integral as cross_entropy_in_integral,
    Quadrature as Quadrature,
)
from ._rate import firing_rate as firing_rate
from ._spike_count import spike_count_cross_entropy as spike_count_cross_entropy
from ._voltage import (
    integral_cross_entropy as integral_cross_entropy,
    max_voltage_cross_entropy as max_voltage_cross_entropy,
)
