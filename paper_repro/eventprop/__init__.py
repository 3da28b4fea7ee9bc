"""Eventprop: spiking networks trained with exact gradients, from Yin-Yang to speech."""

from .rows import (
    latency_mnist,
    shd_ablation,
    shd_best,
    shd_loss_comparison,
    speed_memory,
    spoken_digits,
    ssc_best,
    yin_yang,
)


TITLE = (
    "Eventprop (Nowotny, Turner and Knight 2025, doi:10.1088/2634-4386/ada852; Wunderlich "
    "and Pehle 2021, doi:10.1038/s41598-021-91786-z)"
)

ROWS = (
    yin_yang.ROW,
    latency_mnist.ROW,
    shd_loss_comparison.ROW,
    shd_best.ROW,
    shd_ablation.ROW,
    ssc_best.ROW,
    spoken_digits.ROW,
    speed_memory.ROW,
)
