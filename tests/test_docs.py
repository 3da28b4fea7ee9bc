"""The code of the pages is run as it stands."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import eventjax as ej


DOCS = Path(__file__).parent.parent / "docs"


def run(page: str) -> dict:
    """Run all blocks of a page in one name space, as a user would: no strict flags."""
    text = (DOCS / page).read_text()
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    names: dict = {}
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        exec(compile(code, page, "exec"), names)  # noqa: S102
    return names


def test_prototype():
    names = run("prototype.md")
    assert np.mean(names["losses"][-5:]) < 0.5 * names["losses"][0]
    before, after = names["hidden"], names["network"].layers[0].neuron
    for name in ("tau_mem", "tau_syn", "v_threshold"):
        assert not jnp.allclose(getattr(before, name), getattr(after, name))

    # The Hessian is that of the gradient's differences.
    weight = names["small"].layers[0].connection.weight
    gradient = jax.jit(jax.grad(names["latest"]))
    direction = jnp.ones_like(weight)
    h = 1e-5
    change = gradient(weight + h * direction) - gradient(weight - h * direction)
    hessian = names["hessian"].reshape(6, 6)
    expected = (hessian @ direction.reshape(6)).reshape(3, 2)
    assert jnp.linalg.norm(hessian) > 1
    np.testing.assert_allclose(change / (2 * h), expected, rtol=1e-5, atol=1e-6)


def test_own_neuron():
    names = run("own_neuron.md")
    losses = names["losses"]
    assert losses[0] > 0.15**2
    assert losses[-1] < 0.01**2

    # The same network on a time grid fires about as often.
    network, spikes, t1 = (names[x] for x in ("network", "spikes", "t1"))
    clocked = dict(solver=ej.Clocked(0.1), adjoint=ej.Surrogate())
    counts = [
        float(ej.simulate(network, spikes, t1, **how).num_spikes[0].sum())
        for how in (dict(solver=names["solver"]), clocked)
    ]
    assert counts[0] > 100
    np.testing.assert_allclose(*counts, rtol=0.05)


def test_equilibrium():
    names = run("api/equilibrium.md")
    assert names["losses"][-1] < 0.3 * names["losses"][0]


def test_many_devices():
    names = run("many_devices.md")
    assert len(names["fitted"].history) == 2
    assert names["difference"] < 1e-12
    keys = jax.random.split(jax.random.key(0), 3)
    assert jnp.all(names["run"](keys, rate=0.1)["loss"] < 1e-3)
