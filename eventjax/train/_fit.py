"""The loop around the step."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import PRNGKeyArray, PyTree

from .._solution import RESULTS
from ._capacity import grow, layers
from ._progress import Bar, Silent
from ._records import MetricsLog
from ._step import evaluate_batch, LossFn, make_step, Report
from ._tally import Tally


class Failure(RuntimeError):
    """Training or evaluation cannot go on; the message says where and why."""


@runtime_checkable
class EpochBatches(Protocol):
    """What `fit` asks of training data; `eventjax.data.Batches` is one."""

    def __len__(self) -> int: ...

    def epoch(self, number: int) -> Iterator[Any]: ...


# Every sample once, with a mask of those that are real: `eventjax.data.padded_batches`.
EvaluationBatches = Callable[[], Iterable[tuple[Any, np.ndarray]]]


class Fitted(NamedTuple):
    """What `fit` returns.

    - `model`: the model that the selection rule chose.
    - `epoch`: the epoch it comes from, counted from 1.
    - `selection`: the rule in words.
    - `history`: one dictionary of metrics per epoch, as logged.
    """

    model: Any
    epoch: int
    selection: str
    history: list[dict[str, Any]]


def fit(
    model: PyTree,
    loss_fn: LossFn,
    batches: EpochBatches,
    optimiser: optax.GradientTransformation,
    *,
    epochs: int,
    validation: EvaluationBatches | None = None,
    select_best: str | None = None,
    trainable: PyTree | Callable[[Any], bool] = eqx.is_inexact_array,
    learning_rate: optax.Schedule | None = None,
    saturation: float = 10.0,
    max_skipped: int = 10,
    log: MetricsLog | None = None,
    progress: bool = True,
    key: PRNGKeyArray,
) -> Fitted:
    """Train a model, and neither lose a spike nor hide a fault on the way.

    A step in which a layer emitted more spikes than its capacity is not applied: the
    capacity is doubled until they fit, and the step is repeated with the same batch and
    key. A step whose loss or gradients are not finite is not applied either; it is
    skipped. Both are logged.

    **Arguments:**

    - `model`: a `Network`, or any pytree with one in it. It is left as it is.
    - `loss_fn`: `(model, batch, key) -> (losses, solution, metrics)`, see `make_step`. In
        evaluation `key` is `None`, which tells it to leave out dropout and the like. A
        metric called `"accuracy"` is shown as such.
    - `batches`: for instance an `eventjax.data.Batches`.
    - `optimiser`: any.
    - `epochs`: how many.
    - `validation`: a function without arguments that returns batches and masks, for
        instance `lambda: eventjax.data.padded_batches(arrays, 500)`.
    - `select_best`: name of the metric whose highest value on the validation data selects
        the epoch to return, the earliest if there are several. By default the last epoch
        is returned.
    - `trainable`: which leaves are trained, as for `equinox.filter`.
    - `learning_rate`: the optimiser's schedule, if it is to be logged: the rate as a
        function of the number of steps applied so far.
    - `saturation`: a neuron that fires more often than this per sample, on average over
        an epoch, counts as saturated.
    - `max_skipped`: more skipped steps in a row than this are an error.
    - `log`: where to write a line per epoch and event.
    - `progress`: whether to show a progress bar and a line per epoch.
    - `key`: a `jax.random` key. Each step gets its own.

    **Returns:** a `Fitted`.

    **Raises:** `Failure` if a simulation fails otherwise than by a full buffer, if steps
    are skipped again and again, or if validation gives a loss that is not finite.
    `ValueError` for arguments that do not fit each other.
    """
    if epochs < 1:
        raise ValueError(f"`epochs` must be at least 1, got {epochs}.")
    if select_best is not None and validation is None:
        raise ValueError(
            "`select_best` needs `validation` data, which were not given. The training "
            "data cannot stand in for them."
        )
    bar = Bar(epochs, len(batches)) if progress else Silent()
    run = _Run(model, loss_fn, optimiser, trainable, max_skipped, log, bar)
    history, best = [], None
    with bar:
        for epoch in range(1, epochs + 1):
            start, tally = time.perf_counter(), Tally(saturation)
            skipped = run.skipped
            for batch in batches.epoch(epoch - 1):
                report = run.step(batch, key)
                if report is not None:
                    tally.add(report)
            row = {"epoch": epoch, "step": run.steps}
            row |= {f"train_{name}": value for name, value in tally.means().items()}
            if validation is not None:
                means = run.evaluate(validation())
                row |= {f"validation_{name}": value for name, value in means.items()}
            row |= tally.activity()
            if learning_rate is not None:
                row["learning_rate"] = float(learning_rate(run.steps - run.skipped - 1))
            row["skipped"] = run.skipped - skipped
            row["seconds"] = time.perf_counter() - start
            history.append(row)
            run.log("epoch", **row)
            bar.epoch(row)
            if select_best is not None:
                value = row[f"validation_{select_best}"]
                if best is None or value > best[0]:
                    best = value, epoch, _copy(run.model)
    if best is None:
        return Fitted(run.model, epochs, "last epoch", history)
    rule = f"highest validation {select_best}, earliest epoch if several"
    return Fitted(best[2], best[1], rule, history)


def evaluate(
    model: PyTree, loss_fn: LossFn, batches: Iterable[tuple[Any, np.ndarray]]
) -> dict[str, float]:
    """Mean loss and metrics over samples, without training.

    Layers get more capacity where they need it; the model itself is left as it is.

    **Arguments:**

    - `model`, `loss_fn`: as for `fit`; `loss_fn` gets `None` as its key.
    - `batches`: pairs of a batch and a mask of those samples that count, as
        `eventjax.data.padded_batches` gives them.

    **Returns:** the mean over all samples that count, by name, `"loss"` included.

    **Raises:** `Failure` if a simulation fails otherwise than by a full buffer, or a loss
    is not finite.
    """
    return _evaluate(model, loss_fn, batches, lambda event, **values: None)[0]


class _Run:
    """The model, its optimiser's state, and what is remembered from step to step."""

    def __init__(self, model, loss_fn, optimiser, trainable, max_skipped, log, bar):
        # The step donates its arguments, and the caller's model is not ours to give.
        self.model = _copy(model)
        self.opt_state = _copy(optimiser.init(eqx.filter(model, trainable)))
        self.steps = 0
        self.skipped = 0
        self._skipped_in_a_row = 0
        self._loss_fn = loss_fn
        self._optimiser = optimiser
        self._trainable = trainable
        self._max_skipped = max_skipped
        self._step = make_step(loss_fn, optimiser, trainable)
        self._log = log
        self._bar = bar

    def step(self, batch, key) -> Report | None:
        """One step; `None` if it was skipped."""
        self.steps += 1
        key = jr.fold_in(key, self.steps)
        report = self._try(batch, key)
        while bool(report.overfull):
            self._adopt(_enlarged(self.model, report, self.log))
            report = self._try(batch, key)
        if not bool(report.simulated):
            raise Failure(f"Step {self.steps}: {_what_failed(report)}")
        if bool(report.finite):
            self._skipped_in_a_row = 0
            self._bar.step(float(report.metrics["loss"]) / int(report.samples))
            return report
        self.skipped += 1
        self._skipped_in_a_row += 1
        self.log("skipped", reason="loss or gradient not finite")
        if self._skipped_in_a_row > self._max_skipped:
            raise Failure(
                f"Step {self.steps}: the loss or a gradient was not finite in "
                f"{self._skipped_in_a_row} steps in a row. Neurons may only just touch "
                "the threshold, where the exact gradient has no bound, or the loss may "
                "not be defined for what they do; a smaller learning rate may help."
            )
        return None

    def evaluate(self, batches) -> dict[str, float]:
        means, grown = _evaluate(self.model, self._loss_fn, batches, self.log)
        self._adopt(grown)
        return means

    def log(self, event: str, **values: Any) -> None:
        if event != "epoch":
            values = {"step": self.steps, **values}
            self._bar.note(
                f"{event}: " + ", ".join(f"{k} {v}" for k, v in values.items())
            )
        if self._log is not None:
            self._log.write(event, **values)

    def _try(self, batch, key) -> Report:
        report, self.model, self.opt_state = self._step(
            (batch, key), self.model, self.opt_state
        )
        return report

    def _adopt(self, grown: PyTree) -> None:
        """Go on with a model of larger capacities. The optimiser's state has the model's
        structure inside it, capacities included, so it is given the new one."""
        structure = jax.eval_shape(
            self._optimiser.init, eqx.filter(grown, self._trainable)
        )
        self.model = grown
        self.opt_state = jax.tree.unflatten(
            jax.tree.structure(structure), jax.tree.leaves(self.opt_state)
        )


def _evaluate(model, loss_fn, batches, log) -> tuple[dict[str, float], PyTree]:
    """Mean metrics, and the model with the capacities that were needed."""
    tally = Tally(saturation=float("inf"))
    for number, (batch, is_real) in enumerate(batches):
        report = evaluate_batch(loss_fn, model, batch, is_real)
        while bool(report.overfull):
            model = _enlarged(model, report, log)
            report = evaluate_batch(loss_fn, model, batch, is_real)
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


def _copy(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda x: jnp.copy(x) if eqx.is_array(x) else x, tree)
