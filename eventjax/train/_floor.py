from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import optax

from ._select import selected


def keep_above(
    where: Callable[[Any], Any], minimum: float
) -> optax.GradientTransformation:
    """Keeps a trained parameter from falling below a floor.

    What an update would bring below is put on the floor: a projection after the step, so
    put it last in `optax.chain`. Time constants need it, which must stay positive.

    ```python
    optax.chain(
        optax.adam(1e-3),
        ej.train.keep_above(lambda network: network.layers[0].neuron.tau_mem, 3.0),
        ej.train.keep_above(lambda network: network.layers[0].neuron.tau_syn, 1.0),
    )
    ```

    **Arguments:**

    - `where`: selects the parameter, an array, from the model.
    - `minimum`: the floor, in the parameter's own unit.

    **Returns:** a transformation of updates without state.

    **Raises:** `ValueError` if `where` selects nothing that is trained.
    """

    def init(params) -> optax.EmptyState:
        selected(where, params)
        return optax.EmptyState()

    def update(updates, state, params=None):
        if params is None:
            raise ValueError(
                "`keep_above` needs the parameters: `update(updates, state, params)`."
            )
        value = selected(where, params)

        def raised(update):
            floor = jnp.asarray(minimum, value.dtype)
            up = floor - value
            # A sum that is rounded may miss the floor by its last bit.
            up = jnp.where(value + up < floor, jnp.nextafter(up, jnp.inf), up)
            return jnp.where(value + update < floor, up, update)

        return eqx.tree_at(where, updates, replace_fn=raised), state

    return optax.GradientTransformation(init, update)
