"""Strict settings, in place before JAX starts its backend.

Do not import eventjax here: the hook that checks type hints must be installed first.
"""

import dataclasses
import json
import os
from pathlib import Path

import jax
import pytest


jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# Two devices on any machine, so that sharding is tested for real.
jax.config.update("jax_num_cpu_devices", 2)
# Programs are large and run for a moment only: most of the time of all tests is spent in
# compiling them. Processes that tests start see the variable.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"

SLOW = Path(__file__).parent / "slow.txt"


@pytest.hookimpl(tryfirst=True)  # before markers select
def pytest_collection_modifyitems(config, items):
    """Mark what `slow.txt` names. A name that nothing has is an error, if all is there."""
    lines = SLOW.read_text(encoding="utf-8").splitlines()
    names = [line for line in lines if line and not line.startswith("#")]
    found = set()
    for item in items:
        own = item.nodeid.removeprefix("tests/")
        for name in names:
            if own == name or (name.endswith("*") and own.startswith(name[:-1])):
                item.add_marker(pytest.mark.slow)
                found.add(name)
    missing = set(names) - found
    if config.args == config.getini("testpaths") and missing:
        raise pytest.UsageError(f"{SLOW} names what is not there: {sorted(missing)}")


@pytest.fixture(autouse=True, scope="module")
def _programs(request):
    """Compile fast, unless the module has `OPTIMISED = True`, and forget programs at its
    end: thousands of them take more memory maps than Linux allows a process."""
    fast = not getattr(request.module, "OPTIMISED", False)
    jax.config.update("jax_disable_most_optimizations", fast)
    yield
    jax.clear_caches()


@pytest.fixture(scope="module")
def fuzz_tally():
    """For `python -m experiments.fuzz`, if that is what runs the tests: all that was
    looked at up to the end of a file."""
    yield
    if path := os.environ.get("EVENTJAX_FUZZ_TALLY"):
        from fuzz_checks import TALLY

        Path(path).write_text(json.dumps(dataclasses.asdict(TALLY)), encoding="utf-8")
