"""Strict settings, in place before JAX starts its backend.

Do not import eventjax here: the hook that checks type hints must be installed first.
"""

import jax
import pytest


jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# Two devices on any machine, so that sharding is tested for real.
jax.config.update("jax_num_cpu_devices", 2)


@pytest.fixture(autouse=True, scope="module")
def _forget_programs():
    """Thousands of compiled programs take more memory maps than Linux allows a process."""
    yield
    jax.clear_caches()
