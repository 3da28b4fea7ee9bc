from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree

from ._base import (
    AbstractClosedForm,
    AbstractFlow,
    AbstractNeuron,
    check_parameter,
    full,
    known,
    Parameter,
)


class RefractoryState(eqx.Module):
    """The state `inner` of the wrapped neurons; for how many ms more a refractory time
    holds their voltage, `left`; and `held`, which is 1 while it does, else 0. The last two
    have the shape `[*batch, neurons]`."""

    inner: PyTree[Float[Array, "*batch neurons"]]
    left: Float[Array, "*batch neurons"]
    held: Float[Array, "*batch neurons"]

    @property
    def v(self) -> Array:
        """The voltage of the wrapped neurons."""
        return self.inner.v


class Refractory(AbstractClosedForm):
    r"""Neurons that are refractory for some time after each of their spikes.

    For `refractory` ms the voltage stays at what the reset made of it. All else goes on:
    currents, adaptation and recovery variables follow their own equations, and spikes
    that arrive add to the currents. With delta synapses, whose spikes add to the voltage,
    those that arrive meanwhile are lost. A reset that leaves a neuron above its threshold
    (`DeltaLIF`) leads to one spike after each refractory time, not to several at once.

    ```python
    ej.Refractory(ej.ALIF(100), 2.0)
    ```

    Solvers treat the end of a refractory time in one of two ways. `flow` and `pass_end`
    go through it, exactly. `vector_field` is that of a neuron that is held or of one that
    is not, so a solver that follows it has to stop in between: `threshold` reaches zero
    there, `is_spike` says that this is no spike, and `reset` sets the neuron free.

    **Arguments:**

    - `neuron`: any neurons with a threshold, whose state has a field `v`.
    - `refractory`: in ms; a number, which is a constant, or an array of shape `[size]`,
        which can be trained. 0 changes nothing.

    Raises a `ValueError` for neurons that never spike, that have no `v` or are wrapped
    already, and for a refractory time that is negative or not finite.

    ??? cite

        Gerstner, Kistler, Naud and Paninski, Neuronal Dynamics, Cambridge University
        Press (2014), chapter 1.3: the dynamics of the voltage are interrupted for the
        absolute refractory time and start again from the reset value.
    """

    neuron: AbstractNeuron
    refractory: Parameter
    has_closed_form: bool = eqx.field(static=True)

    def __init__(self, neuron: AbstractNeuron, refractory: Any = 2.0):
        if isinstance(neuron, Refractory):
            raise ValueError(
                "`neuron` is a `Refractory` already: give the sum of both times to one."
            )
        state = eqx.filter_eval_shape(neuron.initial_state)
        if not hasattr(state, "v"):
            raise ValueError(
                f"the state of `neuron`, a `{type(neuron).__name__}`, must have a field "
                f"`v`, the voltage that is held; got a `{type(state).__name__}`."
            )
        if eqx.filter_eval_shape(neuron.threshold, 0.0, state) is None:
            raise ValueError(
                f"`neuron`, a `{type(neuron).__name__}`, never spikes, so it has no "
                "refractory time: use it without `Refractory`."
            )
        self.neuron = neuron
        self.refractory = check_parameter("refractory", refractory, neuron.size)
        if known(self.refractory) and not np.all(np.asarray(self.refractory) >= 0):
            raise ValueError(
                f"`refractory` must be 0 or positive, in ms; got {self.refractory}."
            )
        closed = isinstance(neuron, AbstractClosedForm)
        self.has_closed_form = closed and _rest_ignores_voltage(neuron, state)

    @property
    def size(self) -> int:
        return self.neuron.size

    def is_spike(self, state: RefractoryState) -> Bool[Array, " neurons"]:
        """Whether a neuron whose `threshold` reaches zero spikes, in the state just
        before `reset`; if not, its refractory time is over."""
        return state.held <= 0

    def initial_state(self) -> RefractoryState:
        inner: Any = self.neuron.initial_state()
        zeros = jnp.zeros_like(inner.v)
        return RefractoryState(inner, zeros, zeros)

    def vector_field(self, t: Any, state: RefractoryState, drive: Any):
        """That of the wrapped neurons; where one is held, `v` stands still and `left`
        runs down, beyond zero as well: what ends it is an event."""
        held = state.held > 0
        field: Any = self.neuron.vector_field(t, state.inner, drive)
        zeros = jnp.zeros_like(state.left)
        field = _with_v(field, jnp.where(held, zeros, field.v))
        return RefractoryState(field, jnp.where(held, -1.0, zeros), zeros)

    def receive(self, state: RefractoryState, current: Array) -> RefractoryState:
        new: Any = self.neuron.receive(state.inner, current)
        return self._hold(state, new, state.left)

    def threshold(self, t: Any, state: RefractoryState) -> Array:
        inner = self.neuron.threshold(t, state.inner)
        return jnp.where(state.held > 0, -state.left, inner)

    def reset(self, t: Any, state: RefractoryState) -> RefractoryState:
        held = state.held > 0
        new = self.neuron.reset(t, state.inner)
        inner = jax.tree.map(lambda x, y: jnp.where(held, x, y), state.inner, new)
        refractory = full(self.refractory, state.left)
        left = jnp.where(held, 0.0, refractory)
        return RefractoryState(inner, left, (left > 0).astype(left.dtype))

    def pass_end(
        self,
        state: RefractoryState,
        dt: Any,
        step: Callable[[RefractoryState, Array], RefractoryState],
    ) -> RefractoryState:
        """The state after a time `dt` without spikes, in which refractory times may end.

        `step(state, h)` takes these same neurons through a time `h`, shape `[neurons]`
        and different for each, in which none of them ends, such as a Runge-Kutta step of
        `vector_field`. It is called twice: up to the end of the refractory time, and from
        there on. A neuron whose refractory time ends with `dt` is still held.
        """
        dt = full(dt, state.left)
        # Not `minimum`, whose derivative is of both sides where they are equal.
        before = jnp.where(state.left < dt, state.left, dt)
        before = jnp.where(state.held > 0, before, 0.0)
        over = (state.held > 0) & (state.left < dt)
        new = step(state, before)
        left, held = jnp.where(over, 0.0, new.left), jnp.where(over, 0.0, state.held)
        return step(RefractoryState(new.inner, left, held), dt - before)

    def flow(self, state: RefractoryState, drive: Any, dt: Any) -> RefractoryState:
        neuron = self._closed_form()

        def step(at: RefractoryState, h: Array) -> RefractoryState:
            left = at.left - jnp.where(at.held > 0, h, 0.0)
            return self._hold(at, neuron.flow(at.inner, drive, h), left)

        return self.pass_end(state, dt, step)

    def crossing(self, state: RefractoryState, drive: Any, dt: Any) -> Array:
        """When a neuron next spikes, or, if it stands at its threshold or above when its
        refractory time ends, when that is: the spike comes after the `reset` there, and
        its time depends on what the end depends on."""
        dt, held = full(dt, state.left), state.held > 0
        before = jnp.where(held, jnp.minimum(state.left, dt), 0.0)
        free: Any = self.flow(state, drive, before)
        time = before + self._closed_form().crossing(free.inner, drive, dt - before)
        return jnp.where(held & (state.left > dt), jnp.inf, time)

    def _hold(self, old: RefractoryState, inner: Any, left: Array) -> RefractoryState:
        v = jnp.where(old.held > 0, old.v, inner.v)
        return RefractoryState(_with_v(inner, v), left, old.held)

    def _closed_form(self) -> AbstractClosedForm:
        if not (self.has_closed_form and isinstance(self.neuron, AbstractClosedForm)):
            raise ValueError(
                f"`Refractory` of a `{type(self.neuron).__name__}` has no closed form: "
                "take `DiffraxEvent()` or `Clocked(dt)` for a solver."
            )
        return self.neuron


def has_closed_form(neuron: AbstractNeuron) -> bool:
    """Whether `flow` and `crossing` of a neuron may be called: what it wraps counts."""
    if isinstance(neuron, Refractory):
        return neuron.has_closed_form
    return isinstance(neuron, AbstractClosedForm)


def has_flow(neuron: AbstractNeuron) -> bool:
    """Whether `flow` of a neuron may be called."""
    if isinstance(neuron, AbstractClosedForm):
        return has_closed_form(neuron)
    return isinstance(neuron, AbstractFlow)


def _with_v(state: Any, v: Array) -> Any:
    return eqx.tree_at(lambda x: x.v, state, v)


def _rest_ignores_voltage(neuron: AbstractNeuron, state: PyTree) -> bool:
    """Whether all but `v` goes its way whatever `v` does. Only then is the closed form,
    with `v` held, that of a refractory neuron.

    It is asked of derivatives at a state and parameters without meaning, of which only
    the shapes count: those of the neuron may not be known yet.
    """

    def others(v: Array, neuron: AbstractNeuron, state: Any) -> list[Array]:
        field: Any = neuron.vector_field(0.0, _with_v(state, v), 0.0)
        return jax.tree.leaves(_with_v(field, jnp.zeros_like(v)))

    with jax.ensure_compile_time_eval():
        inexact = lambda x: isinstance(x, float) or eqx.is_inexact_array(x)
        some = lambda x: jnp.full(jnp.shape(x), 0.6180339887498949, jnp.float32)
        neuron = jax.tree.map(lambda x: some(x) if inexact(x) else x, neuron)
        state = jax.tree.map(some, state)
        v = state.v
        _, moves = jax.jvp(
            lambda v: others(v, neuron, state), (v,), (jnp.ones_like(v),)
        )
        return all(bool(jnp.all(x == 0)) for x in moves)
