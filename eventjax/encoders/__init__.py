"""Encoders: from values to spikes."""

from ._dropout import drop_spikes as drop_spikes
from ._latency import latency as latency
