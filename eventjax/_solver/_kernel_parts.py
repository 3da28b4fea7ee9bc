"""What the fused kernels of both passes share: how a layer lies in memory, and how single
places of it are read and written.

A *program* of a kernel owns a block of neurons of one sample, one neuron in a lane, and
goes through all that arrives there by itself. Lanes are filled up with neurons that have
no input and cannot spike.
"""

from typing import Any

import equinox as eqx
import jax
import jax.lax as lax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plt
from jaxtyping import Array, Int

from ._lists import is_recurrent
from ._problem import LayerProblem
from ._window import Neurons


LANES = 1024  # in a program at most, unless neurons must see each other
LATE = float("inf")
PARAMETERS = ("tau_mem", "tau_syn", "bias", "v_threshold", "v_reset")


class Plan(eqx.Module):
    """Sizes that a kernel is compiled for."""

    batch: int = eqx.field(static=True)
    neurons: int = eqx.field(static=True)
    lanes: int = eqx.field(static=True)
    blocks: int = eqx.field(static=True)
    events: int = eqx.field(static=True)
    copies: int = eqx.field(static=True)  # of each own spike that come back
    capacity: int = eqx.field(static=True)
    by_tau: bool = eqx.field(static=True)

    @classmethod
    def of(cls, problem: LayerProblem, capacity: int, by_tau: bool) -> "Plan":
        batch, neurons = problem.v.shape
        copies = problem.recurrent.shape[0] if is_recurrent(problem) else 0
        lanes = max(pl.next_power_of_2(neurons), 16)
        if not copies:
            lanes = min(lanes, LANES)
        blocks, events = -(-neurons // lanes), problem.times.shape[0]
        return cls(  # pyright: ignore[reportCallIssue]
            batch, neurons, lanes, blocks, events, copies, capacity, by_tau
        )

    @property
    def steps(self) -> int:
        """Most stretches between two arrivals, that up to t1 included."""
        return self.events + self.copies * self.capacity + 2

    def fill(self, x: Array, value: float = 0.0) -> Array:
        """With lanes for neurons that are not there."""
        more = self.lanes * self.blocks - self.neurons
        pad = ((0, 0),) * (x.ndim - 1) + ((0, more),)
        return jnp.pad(x, pad, constant_values=value)

    def call(self, kernel, out: Any, inputs: Any, **options) -> Any:
        """Run a kernel for each block of each sample; on CPU it is interpreted."""

        def run(interpret: bool):
            return pl.pallas_call(
                kernel,
                out_shape=out,
                grid=(self.batch, self.blocks),
                interpret=interpret,
                compiler_params=plt.CompilerParams(
                    num_warps=max(1, min(self.lanes // 64, 16)), num_stages=1
                ),
                **options,
            )

        return lax.platform_dependent(*inputs, cpu=run(True), default=run(False))


def parameters(problem: LayerProblem, plan: Plan) -> list[Array]:
    """`tau_mem, tau_syn, bias, v_threshold, v_reset` of each lane of each sample."""
    shape = problem.v.shape
    threshold, reset = problem.v_threshold, problem.v_reset
    blank = jnp.zeros((), problem.v.dtype)
    given = [
        (problem.tau_mem, 1.0),
        (problem.tau_syn, 1.0),
        (problem.bias, 0.0),
        (blank + LATE if threshold is None else threshold, LATE),
        (blank if reset is None else reset, 0.0),
    ]
    return [plan.fill(jnp.broadcast_to(x, shape), fill) for x, fill in given]


def neurons_at(refs: list, sample: Array, here: Any) -> Neurons:
    """Those of a program."""
    return Neurons.of(*(ref[sample, here] for ref in refs))


def any_of(mask: Array) -> Array:
    return jnp.max(mask.astype(jnp.int32)) > 0


def rank(mask: Array) -> tuple[Int[Array, " lanes"], Int[Array, ""]]:
    """How many true lanes come before each, and how many there are."""
    ones = mask.astype(jnp.int32)
    return jnp.cumsum(ones, dtype=jnp.int32) - ones, jnp.sum(ones, dtype=jnp.int32)


def take(ref, *place: Any, where: Array, otherwise: int | float = 0) -> Array:
    """From places that differ from lane to lane, the last of `place`."""
    *first, last = place
    at = ref.at[(*first, jnp.where(where, last, 0))]
    return plt.load(at, mask=where, other=jnp.asarray(otherwise, ref.dtype))


def put(ref, *place: Any, value: Array, where: Array) -> None:
    """To places that differ from lane to lane. Where there is nothing to write it is the
    last one, which must be left free for that."""
    *first, last = place
    last = jnp.where(where, last, ref.shape[-1] - 1)
    plt.store(ref.at[(*first, last)], value, mask=where)


def shapes(dtype, **sizes: tuple[int, ...]) -> dict[str, jax.ShapeDtypeStruct]:
    return {name: jax.ShapeDtypeStruct(size, dtype) for name, size in sizes.items()}
