"""What the user sees while a model trains."""

from typing import Any


class Silent:
    """Shows nothing."""

    def __enter__(self):
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def go_on_after(self, step: int) -> None:
        pass

    def step(self, loss: float) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def epoch(self, row: dict[str, Any]) -> None:
        pass


class Bar:
    """A bar over all steps, and one line of text for each epoch and event."""

    def __init__(self, epochs: int, steps: int):
        try:
            from rich.progress import (
                BarColumn,
                Progress,
                TaskProgressColumn,
                TextColumn,
                TimeRemainingColumn,
            )
        except ImportError as error:
            raise ImportError(
                "The progress bar needs rich: install `eventjax[train]`, or call with "
                "`progress=False`."
            ) from error
        self._epochs = epochs
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            TextColumn("loss {task.fields[loss]:.4f}"),
            transient=True,
        )
        self._task = self._progress.add_task(
            "training", total=epochs * steps, loss=float("nan")
        )

    def __enter__(self):
        self._progress.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._progress.stop()

    def go_on_after(self, step: int) -> None:
        self._progress.update(self._task, completed=step)

    def step(self, loss: float) -> None:
        self._progress.update(self._task, advance=1, loss=loss)

    def note(self, text: str) -> None:
        self._progress.console.print(
            text, markup=False, highlight=False, soft_wrap=True
        )

    def epoch(self, row: dict[str, Any]) -> None:
        width = len(str(self._epochs))
        parts = [f"epoch {row['epoch']:{width}}/{self._epochs}"]
        parts.append(f"loss {row['train_loss']:.4f}")
        for name in ("train_accuracy", "validation_accuracy"):
            if name in row:
                parts.append(f"{name.replace('_', ' ')} {100 * row[name]:.1f} %")
        parts.append(f"{row['seconds']:.1f} s")
        self.note("  ".join(parts))
