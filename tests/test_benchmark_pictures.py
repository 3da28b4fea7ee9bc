"""The forms that the benchmark of pictures times do what they say."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmark import pictures


TINY = pictures.Pictures(
    batch=2, shape=(1, 6, 6), channels=(3, 2), classes=3, steps=2, seconds=0.0
)


def test_forms_of_one_network_agree():
    maps = pictures.linear_maps(TINY)
    pixels = jnp.asarray(np.random.default_rng(0).uniform(size=(2, 1, 6, 6)))

    def gradient(outputs):
        loss = lambda maps: jnp.sum(jnp.sin(outputs(maps, pixels, TINY)))
        return jax.tree.leaves(jax.jit(jax.value_and_grad(loss))(maps))

    found = {name: gradient(outputs) for name, (_, outputs) in pictures.forms().items()}
    for name in ("STDED(dual=True)", "STDED()"):
        for one, two in zip(found[name], found["Direct()"], strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-12)
    # With and without mask the same run, but another gradient.
    masked, dense = found["MPDED(masks.Spike())"], found["MPDED(masks.Dense())"]
    np.testing.assert_array_equal(masked[0], dense[0])
    assert not np.allclose(masked[1], dense[1])
    sizes = {name: [x.shape for x in out] for name, out in found.items()}
    assert len(set(map(str, sizes.values()))) == 1
