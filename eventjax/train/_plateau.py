import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from ._epoch_state import AbstractEpochState


class PlateauState(AbstractEpochState):
    """What `plateau` remembers: the scale of all updates, two moving averages, and the
    epochs since the scale has changed."""

    scale: Float[Array, ""]
    fast: Float[Array, ""]
    slow: Float[Array, ""]
    epochs: Int[Array, ""]
    metric: str = eqx.field(static=True)
    patience: int = eqx.field(static=True)
    factor: float = eqx.field(static=True)
    decays: tuple[float, float] = eqx.field(static=True)

    @property
    def rate_scale(self) -> float:
        return float(self.scale)

    def after_epoch(self, value: float) -> tuple["PlateauState", dict[str, Any] | None]:
        if not math.isfinite(value):
            raise ValueError(
                f"`{self.metric}` is {value}, which `plateau` cannot judge."
            )
        fast, slow = (
            decay * mean + (1 - decay) * value
            for decay, mean in zip(self.decays, (self.fast, self.slow), strict=True)
        )
        epochs, scale, event = self.epochs + 1, self.scale, None
        if int(epochs) > self.patience and bool(fast <= slow):
            epochs, scale = jnp.zeros_like(epochs), self.factor * scale
            event = {"factor": self.factor, "scale": float(scale)}
        # In the types of before: a step that was compiled for them stays.
        new = [
            jnp.asarray(x, old.dtype)
            for x, old in zip(
                (scale, fast, slow, epochs),
                (self.scale, self.fast, self.slow, self.epochs),
                strict=True,
            )
        ]
        where = lambda s: (s.scale, s.fast, s.slow, s.epochs)
        return eqx.tree_at(where, self, tuple(new)), event


def plateau(
    metric: str,
    *,
    patience: int = 50,
    factor: float = 0.5,
    decays: tuple[float, float] = (0.8, 0.85),
) -> optax.GradientTransformation:
    """Reduces the learning rate when a metric no longer rises.

    Two moving averages of the metric, a fast and a slow one, are renewed at the end of
    each epoch. If more than `patience` epochs have passed since the last change and the
    fast one is not above the slow one, all updates are scaled by `factor` from then on.
    `fit` drives it, logs every change and stores the state with its checkpoints; in a loop
    of your own call `after_epoch` of the `PlateauState` in the optimiser's state.

    ```python
    optax.chain(optax.adam(1e-3), ej.train.plateau("validation_accuracy"))
    ```

    **Arguments:**

    - `metric`: a metric of which more is better, as it is named in the rows of `fit`. Name
        none of the test set: it would take part in the training.
    - `patience`: epochs between two changes, and before the first.
    - `factor`: in (0, 1).
    - `decays`: those of the fast and the slow average, per epoch.

    **Returns:** a transformation of updates, to come after the optimiser.

    **Raises:** `ValueError` for values out of range; at the end of an epoch, if there is
    no such metric.

    ??? cite

        Nowotny, Turner and Knight, Neuromorphic Computing and Engineering (2025),
        doi:10.1088/2634-4386/ada852, with the default values. That both averages start at
        0 is UNCONFIRMED.
    """
    if not 0 < factor < 1:
        raise ValueError(f"`factor` must lie between 0 and 1, got {factor}.")
    if patience < 0:
        raise ValueError(f"`patience` must not be negative, got {patience}.")
    fast, slow = decays
    if not 0 <= fast < slow < 1:
        raise ValueError(
            "`decays` must be that of the fast average and, larger, that of the slow one, "
            f"both in [0, 1), got {decays}."
        )

    def init(params) -> PlateauState:
        del params
        dtype = jax.dtypes.canonicalize_dtype(float)
        return PlateauState(
            scale=jnp.ones((), dtype),
            fast=jnp.zeros((), dtype),
            slow=jnp.zeros((), dtype),
            epochs=jnp.zeros((), jnp.int32),
            metric=metric,
            patience=patience,
            factor=factor,
            decays=(fast, slow),
        )

    def update(updates, state: PlateauState, params=None):
        del params
        scaled = jax.tree.map(lambda u: u * state.scale.astype(u.dtype), updates)
        return scaled, state

    return optax.GradientTransformation(init, update)
