"""What processes of a sweep run in tests."""

import os
import pathlib
import signal

import jax
import jax.numpy as jnp
import jax.random as jr


# Seeds that do not do what the others do.
KILLED, RAISES, NOT_A_NUMBER, FRAGILE = 2, 4, 6, 7


def values(keys, scale):
    draw = lambda key: scale * jr.normal(key, (2,))
    return {"draw": jax.vmap(draw)(keys), "more": [jnp.arange(len(keys)) * 0 + 1]}


def run(keys, scale, spared=""):
    """Fails for some seeds, unless the file `spared` is there."""
    out = values(keys, scale)
    if spared and pathlib.Path(spared).exists():
        return out
    is_one = lambda seed: jnp.any(jnp.all(_data(keys) == _data(jr.key(seed)), axis=1))
    if is_one(KILLED):
        os.kill(os.getpid(), signal.SIGKILL)
    if is_one(RAISES):
        raise ArithmeticError("no such luck")
    if len(keys) > 1 and is_one(FRAGILE):
        raise MemoryError("too much at once")
    bad = jnp.all(_data(keys) == _data(jr.key(NOT_A_NUMBER)), axis=1)
    return out | {"draw": jnp.where(bad[:, None], jnp.nan, out["draw"])}


def _data(key):
    return jnp.atleast_2d(jr.key_data(key))


def where(keys):
    """What its process was given, as a number."""
    place = int(os.environ["EVENTJAX_TEST_PLACE"])
    return {"place": jnp.full(len(keys), place)}


def wrong_shape(keys):
    return {"draw": jnp.zeros(len(keys) + 1)}
