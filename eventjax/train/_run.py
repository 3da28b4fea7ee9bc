"""What a run of `fit` holds, and what it does step by step."""

import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PyTree

from .._solution import RESULTS
from ._capacity import grow, layers, with_capacities
from ._devices import replicated
from ._epoch_state import after_epoch, epoch_states
from ._records import MetricsLog
from ._step import evaluate_batch, make_step, Report
from ._tally import Tally


class Failure(RuntimeError):
    """Training or evaluation cannot go on; the message says where and why."""


@dataclasses.dataclass
class Notes:
    """What a run remembers beside its arrays, in values that JSON knows."""

    epoch: int = 0  # the last one that is complete
    step: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    best_epoch: int | None = None
    best_value: float | None = None
    events: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    @property
    def history(self) -> list[dict[str, Any]]:
        """The rows of the epochs."""
        rows = [dict(row) for row in self.events]
        return [row for row in rows if row.pop("event") == "epoch"]


class Run:
    """The model, its optimiser's state, and what is remembered from step to step."""

    def __init__(
        self, model, loss_fn, optimiser, trainable, max_skipped, log, bar, mesh=None
    ):
        # The step donates its arguments, and the caller's model is not ours to give.
        opt_state = optimiser.init(eqx.filter(model, trainable))
        self.model, self.opt_state = replicated(mesh, _copy((model, opt_state)))
        self.best = None
        self.notes = Notes()
        self._loss_fn = loss_fn
        self._optimiser = optimiser
        self._trainable = _for_each_leaf(trainable, model)
        self._max_skipped = max_skipped
        self._mesh = mesh
        self._step = make_step(loss_fn, optimiser, self._trainable, devices=mesh)
        self._log: MetricsLog | None = log
        self._bar = bar

    def step(self, batch, key) -> Report | None:
        """One step; `None` if it was skipped."""
        notes = self.notes
        notes.step += 1
        key = jr.fold_in(key, notes.step)
        report = self._try(batch, key)
        while bool(report.overfull):
            self.adopt(_enlarged(self.model, report, self.log))
            report = self._try(batch, key)
        if not bool(report.simulated):
            raise Failure(f"Step {notes.step}: {_what_failed(report)}")
        if bool(report.finite):
            notes.skipped_in_a_row = 0
            self._bar.step(float(report.metrics["loss"]) / int(report.samples))
            return report
        notes.skipped += 1
        notes.skipped_in_a_row += 1
        self.log("skipped", reason="loss or gradient not finite")
        if notes.skipped_in_a_row > self._max_skipped:
            raise Failure(
                f"Step {notes.step}: the loss or a gradient was not finite in "
                f"{notes.skipped_in_a_row} steps in a row. Neurons may only just touch "
                "the threshold, where the exact gradient has no bound, or the loss may "
                "not be defined for what they do; a smaller learning rate may help."
            )
        return None

    def evaluate(self, batches) -> dict[str, float]:
        means, grown = evaluate_all(
            self.model, self._loss_fn, batches, self.log, self._mesh
        )
        self.adopt(grown)
        return means

    def end_epoch(self, row: dict[str, Any], value: float | None) -> None:
        """Log an epoch's row. The model is kept if `value` is the highest so far."""
        notes = self.notes
        notes.epoch = row["epoch"]
        self.log("epoch", **row)
        self._bar.epoch(row)
        self.opt_state = after_epoch(
            self.opt_state, row, lambda **event: self.log("learning_rate", **event)
        )
        if value is not None and (notes.best_value is None or value > notes.best_value):
            notes.best_epoch, notes.best_value = notes.epoch, value
            self.best = _copy(self.model)

    @property
    def rate_scale(self) -> float:
        """What the optimiser's own rules make of the scheduled learning rate."""
        scales = (state.rate_scale for state in epoch_states(self.opt_state))
        return math.prod(scales, start=1.0)

    def log(self, event: str, **values: Any) -> None:
        if event != "epoch":
            values = {"step": self.notes.step, **values}
            self._bar.note(
                f"{event}: " + ", ".join(f"{k} {v}" for k, v in values.items())
            )
        self.notes.events.append({"event": event, **values})
        if self._log is not None:
            self._log.write(event, **values)

    def go_on_from(self, model, opt_state, best, notes: Notes) -> None:
        """Take over what a run had come to. Its log is written once more, so that the
        file at hand is complete and has each epoch once."""
        self.model, self.opt_state = model, opt_state
        self.best, self.notes = best, notes
        if self._log is not None:
            for event in notes.events:
                self._log.write(**event)
        self._bar.go_on_after(notes.step)
        self.log("resumed", epoch=notes.epoch)

    def adopt(self, grown: PyTree) -> None:
        """Go on with a model of other capacities. The optimiser's state has the model's
        structure inside it, capacities included, so it is given the new one."""
        if not callable(self._trainable):
            # It has the model's structure, too.
            capacities = [layer.capacity for layer in layers(grown)]
            self._trainable = with_capacities(self._trainable, capacities)
            self._step = make_step(
                self._loss_fn, self._optimiser, self._trainable, devices=self._mesh
            )
        structure = jax.eval_shape(
            self._optimiser.init, eqx.filter(grown, self._trainable)
        )
        self.model = grown
        self.opt_state = jax.tree.unflatten(
            jax.tree.structure(structure), jax.tree.leaves(self.opt_state)
        )

    def log_devices(self) -> None:
        """On how many devices training goes on, if that is not as it was."""
        logged = [x["number"] for x in self.notes.events if x["event"] == "devices"]
        number = 1 if self._mesh is None else self._mesh.size
        if number != (logged[-1] if logged else 1):
            self.log("devices", number=number)

    def _try(self, batch, key) -> Report:
        report, self.model, self.opt_state = self._step(
            (batch, key), self.model, self.opt_state
        )
        return report


def evaluate_all(
    model: PyTree, loss_fn: Callable, batches: Iterable, log: Callable, mesh=None
) -> tuple[dict[str, float], PyTree]:
    """Mean metrics, and the model with the capacities that were needed."""
    model = replicated(mesh, model)
    tally = Tally(saturation=float("inf"))
    for number, (batch, is_real) in enumerate(batches):
        report = evaluate_batch(loss_fn, model, batch, is_real, mesh)
        while bool(report.overfull):
            model = _enlarged(model, report, log)
            report = evaluate_batch(loss_fn, model, batch, is_real, mesh)
        if not bool(report.simulated):
            raise Failure(f"Evaluation, batch {number}: {_what_failed(report)}")
        if not bool(report.finite):
            raise Failure(f"Evaluation, batch {number}: a loss is not finite.")
        tally.add(report)
    return tally.means(), model


def _enlarged(model: PyTree, report: Report, log: Callable) -> PyTree:
    needed = tuple(None if n is None else int(n) for n in report.needed)
    grown = grow(model, needed)
    before = [layer.capacity for layer in layers(model)]
    after = [layer.capacity for layer in layers(grown)]
    if before == after:
        raise Failure(
            f"A buffer is full, but the layers' capacities {before} are enough for the "
            f"spikes counted, {list(needed)}."
        )
    log("capacity_doubled", needed=list(needed), before=before, after=after)
    return grown


def _what_failed(report: Report) -> str:
    """The message of the first sample that failed, and how many did."""
    bad = np.atleast_1d(np.asarray(report.result != RESULTS.successful))
    first = int(np.argmax(bad))
    item = jax.tree.map(lambda x: jnp.reshape(x, -1)[first], report.result)
    return f"{RESULTS[item]} ({bad.sum()} of {bad.size} samples, the first is {first}.)"


def _for_each_leaf(trainable: PyTree, model: PyTree) -> PyTree:
    """A tree that may be a prefix of the model's, with an answer for each of its leaves.
    A function stays one."""
    if callable(trainable):
        return trainable

    def answers(spec, part):
        return jax.tree.map(spec if callable(spec) else lambda _: spec, part)

    return jax.tree.map(answers, trainable, model)


def _copy(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda x: jnp.copy(x) if eqx.is_array(x) else x, tree)
