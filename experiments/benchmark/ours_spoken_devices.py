"""W2 and W2F in eventjax with the batch divided between two devices of the CPU, exactly and
on a time grid, else as in `ours_spoken.py`.

XLA divides single operations between cores where they are large. Those of an exact run are
small, but samples have nothing to do with each other: each device goes through its half of
them at its own pace, and the gradients are averaged at the end.
"""

from collections.abc import Callable, Iterator

import jax
import jax.lax as lax
from jax.sharding import AxisType, PartitionSpec

import eventjax as ej
from experiments.benchmark import _measure, ours_spoken, workloads


DEVICES = 2
NAME = f"eventjax, {DEVICES} devices"


def divided(network: ej.Network, t1: float, how) -> tuple[Callable, Callable]:
    """The forward pass and a gradient step of functions of the whole batch."""
    loss = ours_spoken.make_loss(network, t1, how, throw=False)

    def forward(*given):
        value, out = loss(*given)
        return lax.pmean(value, "batch"), out

    def step(*given):
        (value, out), grads = jax.value_and_grad(loss, has_aux=True)(*given)
        value, grads = lax.pmean((value, grads), "batch")
        return (value, out), grads

    same, own = PartitionSpec(), PartitionSpec("batch")
    mesh = jax.make_mesh((DEVICES,), ("batch",), axis_types=(AxisType.Auto,))

    def shared(run, out_specs):
        given = same, own, own
        return jax.shard_map(
            run, mesh=mesh, in_specs=given, out_specs=out_specs, check_vma=False
        )

    return shared(forward, (same, own)), shared(step, ((same, own), same))


def rows(spec, data) -> Iterator[dict]:
    """Measure both, on a CPU."""
    if jax.default_backend() != "cpu":
        return
    yield ours_spoken.exact_row(spec, data, NAME, divided)
    clocked = ours_spoken.clocked_row(spec, data, f", {DEVICES} devices", divided)
    yield clocked | {"beside": NAME}


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", DEVICES)
    _measure.script(rows, workloads.load)
