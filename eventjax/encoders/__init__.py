"""Encoders: from values, or sound, to spikes; and from sound to frames of features."""

from ._dropout import drop_spikes as drop_spikes
from ._first_spikes import first_spikes as first_spikes
from ._inner_ear import inner_ear as inner_ear, InnerEar as InnerEar
from ._latency import latency as latency
from ._log_mel import log_mel as log_mel
from ._mfcc import mfcc as mfcc
