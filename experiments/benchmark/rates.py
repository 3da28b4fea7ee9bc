"""Equal spike rates, for libraries in which the same weights give other ones."""

from collections.abc import Callable


def scale_until(
    count: Callable[[float], float], wanted: float, low=0.05, high=5.0
) -> float:
    """The factor between `low` and `high` with `count(factor)` within 0.5 %."""
    for _ in range(30):
        factor = (low + high) / 2
        found = count(factor)
        if abs(found / wanted - 1) < 0.005:
            break
        low, high = (factor, high) if found < wanted else (low, factor)
    return factor


def equal_rates(count: Callable[[float], float], wanted: float) -> float:
    """The factor for the input's weights with which a library on a time grid counts as
    many spikes: 1 if the weights as they are give those to 3 %."""
    if abs(count(1.0) / wanted - 1) <= 0.03:
        return 1.0
    return scale_until(count, wanted, low=0.5, high=2.0)
