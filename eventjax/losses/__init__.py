"""Losses: plain functions of what a `Solution` holds, one value per sample.

Times are in ms. Every function takes leading batch axes and returns `[*batch]`, so that a
user weighs, masks or averages as they like. Labels are integers from 0. A label out of
range is a `ValueError` where its value is known; under `jit`, where it is not, it gives
`nan`, which is hard to overlook.
"""

from ._first_spike import (
    first_spike_correct as first_spike_correct,
    first_spike_cross_entropy as first_spike_cross_entropy,
    silent_times as silent_times,
    time_invariant_mse as time_invariant_mse,
)
from ._voltage import max_voltage_cross_entropy as max_voltage_cross_entropy
