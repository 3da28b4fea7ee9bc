import jax.numpy as jnp
import optax


def ease_in(
    rate: float | optax.Schedule, start: float = 1e-3, factor: float = 1.05
) -> optax.Schedule:
    """A learning rate that starts small and grows by a factor per step until it is there.

    Adam's moments know little in the first steps, and a recurrent network forgives no
    wild ones.

    **Arguments:**

    - `rate`: the learning rate to arrive at, or a schedule of it.
    - `start`: the share of it to start with, in (0, 1].
    - `factor`: growth per applied step, above 1. With the defaults the rate is reached
        after 142 steps.

    **Returns:** the rate as a function of the number of steps applied so far, for an optax
    optimiser and for the argument `learning_rate` of `fit`.

    **Raises:** `ValueError` for a share or a factor out of range.

    ??? cite

        Nowotny, Turner and Knight, Neuromorphic Computing and Engineering (2025),
        doi:10.1088/2634-4386/ada852, with the default values.
    """
    if not 0 < start <= 1:
        raise ValueError(f"`start` must lie in (0, 1], got {start}.")
    if not factor > 1:
        raise ValueError(f"`factor` must be above 1, got {factor}.")
    final = rate if callable(rate) else lambda step: rate

    def schedule(step):
        grown = start * factor ** jnp.asarray(step, float)
        return jnp.minimum(1.0, grown) * final(step)

    return schedule
