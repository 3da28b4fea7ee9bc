"""Values that follow what batches have, beside weights that are trained."""

from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.lax as lax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree


_Model = TypeVar("_Model")


class Tracked(eqx.Module):
    """A value that is not trained but follows what batches have, such as a mean.

    It is a leaf of the model like a weight, so a training loop that knows nothing of it
    carries and stores it: `drift` is a term of the loss whose gradient by the value is its
    distance from what a batch has. A step of gradient descent with rate $m$ then makes
    an exponential average with momentum $m$, exactly.
    """

    value: Float[Array, "*shape"]

    @property
    def held(self) -> Float[Array, "*shape"]:
        """The value, as a constant to all gradients."""
        return lax.stop_gradient(self.value)

    def drift(self, seen: Float[Array, "*shape"]) -> Float[Array, ""]:
        """Zero, with the gradient `value - seen` by the value and none by `seen`."""
        square = 0.5 * jnp.sum((self.value - lax.stop_gradient(seen)) ** 2)
        return square - lax.stop_gradient(square)


def following(
    optimiser: optax.GradientTransformation, momentum: float = 0.1
) -> optax.GradientTransformation:
    """An optimiser for a model that has `Tracked` values.

    ```python
    optimiser = ej.graded.following(optax.adam(1e-3))
    ```

    **Arguments:**

    - `optimiser`: for all other leaves; it does not see the tracked ones, so clipping by a
        global norm and decay of weights leave them alone.
    - `momentum`: the share of a new batch in the average, in (0, 1].

    **Returns:** an optimiser for losses to which `drift` has been added, with a factor of
    1 after the mean over samples.

    **Raises:** `ValueError` for a momentum out of range.
    """
    if not 0 < momentum <= 1:
        raise ValueError(
            f"`momentum` must be above 0 and at most 1, the share of a new batch in the "
            f"average, got {momentum}."
        )
    parts = {"trained": optimiser, "tracked": optax.sgd(momentum)}
    return optax.multi_transform(parts, labels)


def calibrate(
    model: _Model, *args: Any, rounds: int = 5, key: Any, **kwargs: Any
) -> _Model:
    """Set all `Tracked` values to what one batch has, before training starts.

    A range that is far too small would hold back most of what the first batches emit, and
    a network whose statistics are those of no data says little in evaluation. Values
    depend on each other, so it takes some rounds: layers come right one after the other.

    **Arguments:**

    - `model`: a `Classifier`, or any function whose result has a `drift`. It is left as it
        is.
    - `args`, `kwargs`: what to call it with, such as frames and `valid`.
    - `rounds`: how often, at least 1.
    - `key`: a `jax.random` key, for dropout.

    **Returns:** the model with other tracked values.

    **Raises:** `ValueError` if `rounds` is below 1.
    """
    if rounds < 1:
        raise ValueError(f"`rounds` must be at least 1, got {rounds}.")

    for _ in range(rounds):
        model = _take_over(model, args, kwargs, key)
    return model


@eqx.filter_jit
def _take_over(model: Any, args: Any, kwargs: Any, key: Any) -> Any:
    """A step of gradient descent with rate 1: each value becomes that of the batch."""
    params, fixed = eqx.partition(model, eqx.is_inexact_array)
    drift = lambda p: eqx.combine(p, fixed)(*args, **kwargs, key=key).drift
    steps = jax.tree.map(
        lambda g, label: -g if label == "tracked" else jnp.zeros_like(g),
        jax.grad(drift)(params),
        labels(params),
    )
    return eqx.combine(eqx.apply_updates(params, steps), fixed)


def labels(params: PyTree) -> PyTree:
    """Which leaves are tracked and which are trained."""
    is_tracked = lambda x: isinstance(x, Tracked)

    def one(x):
        label = "tracked" if is_tracked(x) else "trained"
        return jax.tree.map(lambda _: label, x)

    return jax.tree.map(one, params, is_leaf=is_tracked)
