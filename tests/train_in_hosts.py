"""What one of two processes runs that train one model together; `test_train_hosts` starts
them.

    python train_in_hosts.py PROCESS PORT FOLDER
"""

import dataclasses
import os
import pathlib
import signal
import sys

import jax


def main(process: int, port: int, folder: pathlib.Path) -> None:
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_platforms", "cpu")
    jax.distributed.initialize(
        f"127.0.0.1:{port}",
        num_processes=2,
        process_id=process,
        initialization_timeout=120,
        heartbeat_timeout_seconds=10,
        shutdown_timeout_seconds=10,
    )

    import exact_training

    import eventjax as ej

    fit = lambda **settings: exact_training.exact_fit(devices=jax.devices(), **settings)
    try:
        unlike = ej.data.Batches(
            exact_training.exact_batches().arrays, 4, seed=process, drop_last=True
        )
        fit(epochs=1, batches=unlike, progress=False)
    except ValueError as error:
        (folder / f"refused{process}.txt").write_text(str(error))

    states = folder / "states"
    try:
        fit(epochs=1, checkpoints=folder / f"own{process}", progress=False)
    except ValueError as error:
        (folder / f"own{process}.txt").write_text(str(error))

    # The second call goes on from the checkpoint of the first.
    for epochs in (1, 2):
        with ej.train.MetricsLog(folder / f"log{process}.jsonl") as log:
            fitted = fit(epochs=epochs, checkpoints=states, log=log)
    weight = fitted.model.layers[0].connection.weight
    ej.train.save_arrays(folder / f"weight{process}.npz", weight=weight)
    ej.train.save_json(folder / f"history{process}.json", {"rows": fitted.history})
    print("trained", float(weight.sum()), flush=True)

    fit(epochs=50, batches=_Killing(process), progress=False)


@dataclasses.dataclass(frozen=True)
class _Killing:
    """Batches in whose third epoch process 1 dies."""

    process: int

    def __len__(self):
        return 3

    def epoch(self, number):
        import exact_training

        for batch in exact_training.exact_batches().epoch(number):
            if number == 2 and self.process == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            yield batch


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), pathlib.Path(sys.argv[3]))
