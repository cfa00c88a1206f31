"""The log of a run: lines of JSON for programs, TensorBoard's event files for eyes."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from cnn_archs.run_dir import RunDir
from cnn_archs.runtime.files import write_text


class Lines:
    """A file of one JSON a line, each with its `step`. Cut back to where a run goes on."""

    def __init__(self, path: Path, written: Sequence[dict[str, Any]], keep: int):
        """Opens `path`, in which the lines `written` stand, and removes those after step `keep`."""
        kept = [line for line in written if line["step"] <= keep]
        write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
        self._file = open(path, "a")  # noqa: SIM115 (open for as long as the run)

    def write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line) + "\n")

    def sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self.sync()
        self._file.close()


class MetricsLog:
    """The metrics of a run, as lines and for TensorBoard; with `diagnostics`, of its layers too."""

    def __init__(self, folder: RunDir, keep: int, diagnostics: bool):
        """Opens the log of a run, and removes what it holds of steps after `keep`."""
        metrics, layers = folder.metrics(), folder.diagnostics() if diagnostics else []
        self._lines = Lines(folder.metrics_file, metrics, keep)
        self._layers = Lines(folder.diagnostics_file, layers, keep) if diagnostics else None
        self._board = SummaryWriter(str(folder.tensorboard), purge_step=keep + 1)

    def write(self, step: int, split: str, seed: int, values: dict[str, Any]) -> None:
        """One line, and its values as TensorBoard's scalars `split/name/seedN`."""
        self._lines.write({"step": step, "split": split, "seed": seed, **values})
        for name, value in values.items():
            self._board.add_scalar(f"{split}/{name}/seed{seed}", value, step)

    def write_layers(
        self, step: int, epoch: float, seed: int, layers: list[dict[str, Any]]
    ) -> None:
        """Writes the statistics of the layers, as one line."""
        assert self._layers
        self._layers.write({"step": step, "epoch": epoch, "seed": seed, "layers": layers})

    def sync(self) -> None:
        """What was written is on the disk: called before a checkpoint says it is past it."""
        for lines in filter(None, (self._lines, self._layers)):
            lines.sync()
        self._board.flush()

    def close(self) -> None:
        for lines in filter(None, (self._lines, self._layers)):
            lines.close()
        self._board.close()


class Nowhere:
    """A log that keeps nothing: of a process that is not the first."""

    def write(self, step: int, split: str, seed: int, values: dict[str, Any]) -> None:
        pass

    def write_layers(
        self, step: int, epoch: float, seed: int, layers: list[dict[str, Any]]
    ) -> None:
        pass

    def sync(self) -> None:
        pass


Log = MetricsLog | Nowhere
