"""How fuzzing runs in the tests of carriers and of data files."""

from hypothesis import HealthCheck, settings


def fuzzed(examples: int):
    """The same examples in each run."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
