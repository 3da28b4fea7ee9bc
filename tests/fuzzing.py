"""How fuzzing runs in the tests of carriers and of data files."""

from hypothesis import HealthCheck, settings


FEW = 200


def fuzzed(examples: int):
    """The same examples in each run if they are few, else new ones each time; a failure
    prints what brings its example back."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=examples <= FEW,
        print_blob=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
