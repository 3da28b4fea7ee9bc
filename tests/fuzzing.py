"""How fuzzing runs."""

import os

from hypothesis import HealthCheck, Phase, settings


# Networks for each long test of solvers; `python -m experiments.fuzz` says how many.
EXAMPLES = int(os.environ.get("EVENTJAX_FUZZ_EXAMPLES", "40"))


def fuzzed(examples: int, anew: bool = False, shrink: bool = True):
    """The same examples in each run, or new ones each time. A failure prints what brings
    its example back. Those of random networks come from a seed: none is simpler."""
    return settings(
        phases=[x for x in Phase if shrink or x != Phase.shrink],
        max_examples=examples,
        deadline=None,
        derandomize=not anew,
        print_blob=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
