"""Gated synaptic currents in continuous time, with exact spike times."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._neuron._ramp_if import positive
from .._spikes import Spikes
from ._exact_checks import check_capacity, check_count, check_threshold, input_faults
from ._exact_loop import Problem, run_events
from ._exact_spikes import ExactPassed, ExactSpikes, ExactState


class ExactGated(eqx.Module):
    r"""A `Gated` layer in continuous time: its current jumps where spikes arrive and
    relaxes in between, and its spikes are where the membrane reaches its threshold.

    With shifts $b_f, b_c$ (what folding leaves of normalisation) and frames of $\Delta$,
    between events

    $$\dot I = \frac{\log(1 + e^{-b_f})}{\Delta} (\max(0, b_c) - I), \qquad
    \Delta\, \dot V = I, \qquad V \to V - V_{th} \text{ where } V = V_{th}$$

    so over a frame without events the current keeps the share $\sigma(b_f)$ of itself, as
    in a layer of frames. Where an event of size $x_i$ arrives from input $i$,

    $$I \to F I + (1 - F)\, C, \quad F = \sigma(W_{f,i} x_i + b_f), \quad
    C = \max(0, W_{c,i} x_i + b_c)$$

    Events at the same time are one: their products are added before the gates are
    taken, which two jumps would not give. `coincidence` widens that. In version 2 a spike
    comes back after `delay` as one more event, with $U$ for $W$. Currents are never
    negative, so $V$ is monotone and the next spike unique; all start at rest,
    $I = V = 0$. Each spike takes $V_{th}$ from the membrane: a value of many quanta in a
    frame becomes many spikes.

    It is no neuron for `simulate`, where what arrives at a neuron is one sum to be added
    to its state: here there are two, and the jump depends on where the state is. Call it
    with the spikes of one sample, `jax.vmap` it for more.

    **Arguments:**

    - `weight`: $[W_f, W_c]$, `[inputs, 2 units]`.
    - `shift`: $[b_f, b_c]$, `[2 units]`.
    - `threshold`: $V_{th}$ (dimensionless), also the size of spikes.
    - `recurrent`: $[U_f, U_c]$, `[units, 2 units]`, or `None`: version 1.
    - `frame`: $\Delta$ in ms.
    - `delay`: after what time in ms own spikes come back; that of a frame by default.
    - `coincidence`: how long after the first of several events, in ms, others still are
        one with it. They all count when the last of them arrives, and only the time of
        that one has a gradient. With 0 only events at exactly the same time are one.
    - `min_current`: a spike time's derivative is inverse to the current at it, so it is
        huge where a membrane only just reaches its threshold. A current counts there as
        this many thresholds a frame at the least, which bounds gradients; above they are
        exact, and spike times always are.
    - `capacity`: how many spikes a sample can have.

    **Raises:** `ValueError` for values out of range and shapes that do not fit.

    ??? cite

        Ponghiran and Roy, AAAI 2022, arXiv 2109.01905, for the layer of frames. The form
        above is that of this library, and no part of the paper.
    """

    weight: Float[Array, "inputs gates"]
    shift: Float[Array, " gates"]
    threshold: Float[Array, ""]
    recurrent: Float[Array, "units gates"] | None
    frame: float = eqx.field(static=True)
    delay: float = eqx.field(static=True)
    coincidence: float = eqx.field(static=True)
    min_current: float = eqx.field(static=True)
    capacity: int = eqx.field(static=True)

    def __init__(
        self,
        weight: Any,
        shift: Any,
        threshold: Any,
        *,
        recurrent: Any = None,
        frame: Any = 10.0,
        delay: Any = None,
        coincidence: float = 0.0,
        min_current: float = 1e-6,
        capacity: int,
    ):
        self.weight, self.shift = jnp.asarray(weight), jnp.asarray(shift)
        self.recurrent = None if recurrent is None else jnp.asarray(recurrent)
        self.threshold = check_threshold(threshold)
        self.frame = positive("frame", frame)
        self.delay = self.frame if delay is None else positive("delay", delay)
        self.min_current = positive("min_current", min_current)
        self.coincidence, self.capacity = float(coincidence), check_capacity(capacity)
        _check_shapes(self.weight, self.shift, self.recurrent)
        if not 0 <= self.coincidence < float("inf"):
            raise ValueError(
                f"`coincidence` must be finite and not negative, in ms, got {coincidence}."
            )
        if self.recurrent is not None and not self.coincidence < self.delay:
            raise ValueError(
                f"`coincidence` must be below `delay`, {self.delay} ms, or a spike could "
                f"be one with its own cause; got {coincidence}."
            )

    @property
    def inputs(self) -> int:
        return self.weight.shape[0]

    @property
    def units(self) -> int:
        return self.weight.shape[1] // 2

    def __call__(self, given: ExactSpikes, t1: Any) -> ExactPassed:
        """Run the layer from rest at 0 to `t1`.

        Loops have as many steps as there are places for input spikes and for own ones,
        twice in version 2.

        **Arguments:**

        - `given`: spikes of the layer before, times in ms; those after `t1` are left out.
        - `t1`: end of the sample in ms.

        **Returns:** an `ExactPassed`. Gradients reach all arrays, spike times and sizes
        that are given included, in both modes.

        **Raises:** `ValueError` for input that is not sorted, before 0, or from a source
        that is not there, and for a `t1` that is not positive and finite, where values are
        known; `RuntimeError` where they are not, and for more spikes than `capacity`.
        """
        like, spikes = self.weight, given.spikes
        t1 = jnp.asarray(t1, like.dtype)
        values = {
            "weight": like,
            "recurrent": self.recurrent,
            "shift": self.shift,
            "threshold": self.threshold,
            "given.sizes": given.sizes,
        }
        faults = input_faults(spikes, self.inputs, t1, values)
        cast = lambda x: None if x is None else x.astype(like.dtype)
        spikes = Spikes(cast(spikes.times), spikes.sources)
        problem = Problem(
            given=ExactSpikes(spikes, cast(given.sizes)),
            weight=like,
            recurrent=cast(self.recurrent),
            shift=cast(self.shift),
            threshold=cast(self.threshold),
            t1=t1,
            frame=self.frame,
            delay=self.delay,
            coincidence=self.coincidence,
            min_current=self.min_current,
            capacity=self.capacity,
        )
        run = run_events(problem)
        check_count(run.count, self.capacity, faults)
        size = jnp.where(jnp.isfinite(run.times), problem.threshold, 0.0)
        outputs = ExactSpikes(Spikes(run.times, run.sources), size)
        return ExactPassed(outputs, ExactState(run.current, run.potential))


def _check_shapes(weight: Array, shift: Array, recurrent: Array | None) -> None:
    if weight.ndim != 2 or weight.shape[1] % 2 or 0 in weight.shape:
        raise ValueError(
            "`weight` must have shape [inputs, 2 units], those of gates and those of "
            f"candidates side by side, got {weight.shape}."
        )
    gates = weight.shape[1]
    if shift.shape != (gates,):
        raise ValueError(
            f"`shift` must have shape {(gates,)}, one value for each column of `weight`, "
            f"got {shift.shape}."
        )
    if recurrent is not None and recurrent.shape != (gates // 2, gates):
        raise ValueError(
            f"`recurrent` must have shape {(gates // 2, gates)}, a row for each unit, got "
            f"{recurrent.shape}."
        )
