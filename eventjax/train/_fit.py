"""The loop around the step."""

import itertools as it
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import numpy as np
import optax
from jaxtyping import PRNGKeyArray, PyTree

from ._checkpoint import Checkpoints, NoCheckpoints
from ._devices import Devices, mesh_of, on_one
from ._epoch_state import epoch_states, settings_of
from ._hosts import check_same, check_shared, has_several
from ._progress import Bar, Silent
from ._records import is_first_process, MetricsLog, PathLike
from ._run import evaluate_all, Run
from ._same_run import fingerprint
from ._step import LossFn
from ._tally import Tally


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
    select_on: Literal["validation", "train"] = "validation",
    trainable: PyTree | Callable[[Any], bool] = eqx.is_inexact_array,
    learning_rate: optax.Schedule | None = None,
    saturation: float = 10.0,
    max_skipped: int = 10,
    log: MetricsLog | None = None,
    checkpoints: PathLike | None = None,
    checkpoint_every: int | None = None,
    keep: int = 2,
    progress: bool = True,
    devices: Devices | None = None,
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
    - `optimiser`: any of optax, see `make_step`. What its rules change at the end of an
        epoch (`plateau`) is logged.
    - `epochs`: how many.
    - `validation`: a function without arguments that returns batches and masks, for
        instance `lambda: eventjax.data.padded_batches(arrays, 500)`.
    - `select_best`: name of the metric whose highest value selects the epoch to return,
        the earliest if there are several. By default the last epoch is returned.
    - `select_on`: whether `select_best` is read on the validation data or, `"train"`, on
        the training data while it trained, for papers that do so.
    - `trainable`: which leaves are trained, as for `equinox.filter`.
    - `learning_rate`: the optimiser's schedule, if it is to be logged: the rate as a
        function of the number of steps applied so far. What `plateau` has scaled it by
        is in the logged value.
    - `saturation`: a neuron that fires more often than this per sample, on average over
        an epoch, counts as saturated.
    - `max_skipped`: more skipped steps in a row than this are an error.
    - `log`: where to write a line per epoch and event. A run that is resumed writes the
        lines of the epochs before once more, so give it a new log.
    - `checkpoints`: a folder for the state of this run after each epoch, the best model so
        far included. If it holds one, training goes on from the newest, and gives bit for
        bit what it would have given without the interruption. More `epochs` than before
        may be asked for. Functions (`loss_fn`, `optimiser`) cannot be compared: give the
        same. A checkpoint is written while training goes on, and counts once all of it is
        there: a run may be killed at any moment. Needs `eventjax[train]`.
    - `checkpoint_every`: for long epochs, after how many steps without a checkpoint one is
        written within an epoch. A run that is resumed in an epoch draws and leaves out
        the batches that it has seen already.
    - `keep`: how many checkpoints stay, the oldest is removed when a new one is there. To
        go on from one before the newest, remove the folders of those after it.
    - `progress`: whether to show a progress bar and a line per epoch.
    - `devices`: those between which each batch is divided, such as `jax.devices()`, see
        `make_step`; by default all runs on one. They may belong to several processes
        (`jax.distributed`): then each calls `fit` with the same arguments, takes its share
        of the data, and gets the same result, but only the first writes the log and shows
        progress, and the folder of `checkpoints` must be one that all see. A run may be
        resumed with another number of devices, which is logged: it goes on to rounding as
        it would have, unless the loss draws random numbers, which are others then.
    - `key`: a `jax.random` key. Each step gets its own.

    **Returns:** a `Fitted`, its model on one device.

    **Raises:** `Failure` if a simulation fails otherwise than by a full buffer, if steps
    are skipped again and again, if validation gives a loss that is not finite, or if a
    checkpoint is damaged or cannot be written. `ValueError` for arguments that do not fit
    each other, an epoch without a batch, or a checkpoint that is not of this run.
    """
    if epochs < 1:
        raise ValueError(f"`epochs` must be at least 1, got {epochs}.")
    if select_best is not None and validation is None and select_on == "validation":
        raise ValueError(
            "`select_best` needs `validation` data, which were not given. The training "
            "data cannot stand in for them, unless you say so with `select_on`."
        )
    _check_checkpoints(checkpoints, checkpoint_every, keep)
    mesh = mesh_of(devices)
    if has_several(mesh):
        every = 0 if checkpoint_every is None else checkpoint_every
        first = next(iter(batches.epoch(0)), None)
        check_same(
            model=model,
            batches=(np.array(len(batches)), first),
            epochs=np.array(epochs),
            validation=np.array(validation is not None),
            checkpoints=np.array([checkpoints is not None, every, keep]),
            key=key,
        )
        if checkpoints is not None:
            check_shared(checkpoints)
    shown = progress and is_first_process()
    bar = Bar(epochs, len(batches)) if shown else Silent()
    run = Run(model, loss_fn, optimiser, trainable, max_skipped, log, bar, mesh)
    _check_metrics(run, validation)
    store = NoCheckpoints()
    if checkpoints is not None:
        rules = {"select_best": select_best, "saturation": saturation}
        rules["validation"] = "none" if validation is None else "given"
        if select_on != "validation":
            rules["select_on"] = select_on
        if epoch_states(run.opt_state):
            rules["optimiser"] = settings_of(run.opt_state)
        mark = fingerprint(model, batches, trainable, learning_rate, key, **rules)
        store = Checkpoints(checkpoints, mark, checkpoint_every, keep)
    with bar, store:
        before = store.restore(run, epochs)
        run.log_devices()
        for epoch in range(run.notes.epoch + 1, epochs + 1):
            tally, before = Tally(saturation, before), None
            for batch in _batches_left(batches, epoch, tally.steps):
                store.within_epoch(run, tally)
                tally.add(run.step(batch, key))
            row = {"epoch": epoch, "step": run.notes.step}
            row |= {f"train_{name}": value for name, value in tally.means().items()}
            if validation is not None:
                means = run.evaluate(validation())
                row |= {f"validation_{name}": value for name, value in means.items()}
            row |= tally.activity()
            if learning_rate is not None:
                applied = run.notes.step - run.notes.skipped
                rate = float(learning_rate(applied - 1))
                row["learning_rate"] = rate * run.rate_scale
            row["skipped"] = tally.skipped
            row["seconds"] = tally.seconds
            value = None if select_best is None else row[f"{select_on}_{select_best}"]
            run.end_epoch(row, value)
            store.after_epoch(run)
    history = run.notes.history
    if run.best is None:
        return Fitted(on_one(mesh, run.model), epochs, "last epoch", history)
    rule = f"highest {select_on} {select_best}, earliest epoch if several"
    return Fitted(on_one(mesh, run.best), run.notes.best_epoch, rule, history)


def _batches_left(batches: EpochBatches, epoch: int, seen: int) -> Iterator[Any]:
    """The batches of an epoch after those that were seen before an interruption."""
    number = seen
    for batch in it.islice(batches.epoch(epoch - 1), seen, None):
        number += 1
        yield batch
    if number == seen:
        raise ValueError(
            f"`batches` gave no batch in epoch {epoch}"
            + (f" after the {seen} that were seen before." if seen else ".")
            + " `batches.epoch(number)` must begin anew at each call."
        )


def _check_checkpoints(
    checkpoints: PathLike | None, checkpoint_every: int | None, keep: int
) -> None:
    if checkpoint_every is not None and checkpoint_every < 1:
        raise ValueError(
            f"`checkpoint_every` must be at least 1 step, got {checkpoint_every}."
        )
    if checkpoint_every is not None and checkpoints is None:
        raise ValueError(
            "`checkpoint_every` needs `checkpoints`, a folder to write them to; it was "
            "not given."
        )
    if keep < 1:
        raise ValueError(f"`keep` must be at least 1, got {keep}.")


def _check_metrics(run: Run, validation: EvaluationBatches | None) -> None:
    for state in epoch_states(run.opt_state):
        if state.metric.startswith("validation_") and validation is None:
            raise ValueError(
                f"The optimiser reads `{state.metric}` at the end of each epoch, which "
                "needs `validation` data; they were not given."
            )


def evaluate(
    model: PyTree,
    loss_fn: LossFn,
    batches: Iterable[tuple[Any, np.ndarray]],
    *,
    devices: Devices | None = None,
) -> dict[str, float]:
    """Mean loss and metrics over samples, without training.

    Layers get more capacity where they need it; the model itself is left as it is.

    **Arguments:**

    - `model`, `loss_fn`: as for `fit`; `loss_fn` gets `None` as its key.
    - `batches`: pairs of a batch and a mask of those samples that count, as
        `eventjax.data.padded_batches` gives them.
    - `devices`: those between which each batch is divided, as for `fit`.

    **Returns:** the mean over all samples that count, by name, `"loss"` included.

    **Raises:** `Failure` if a simulation fails otherwise than by a full buffer, or a loss
    is not finite.
    """
    no_log = lambda event, **values: None
    return evaluate_all(model, loss_fn, batches, no_log, mesh_of(devices))[0]
