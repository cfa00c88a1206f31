"""Writes the metrics of a run as lines of JSON and as TensorBoard event files."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cnn_archs.run_dir import RunDir
from cnn_archs.runtime.files import write_text
from cnn_archs.training.event_file import EventFile


class JsonlWriter:
    """A file with one JSON object per line, each of which has its `step`."""

    def __init__(self, path: Path, written: Sequence[dict[str, Any]], keep: int):
        """Open `path`, which holds the lines `written`, and remove those after step `keep`."""
        kept = [line for line in written if line["step"] <= keep]
        write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 (open for as long as the run)

    def write(self, line: dict[str, Any]) -> None:
        """Append a line."""
        self._file.write(json.dumps(line) + "\n")

    def sync(self) -> None:
        """Wait until all lines are on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Sync and close the file."""
        self.sync()
        self._file.close()


class RunWriter:
    """Writes the metrics of a run to its folder, and optionally the statistics of its layers."""

    def __init__(self, folder: RunDir, keep: int, diagnostics: bool):
        """Open the files of `folder`, and remove their entries for steps after `keep`.

        diagnostics: whether statistics of the layers are written as well.
        """
        written = folder.metrics()
        layers = folder.diagnostics() if diagnostics else []  # both are read before one is opened
        self._lines = JsonlWriter(folder.metrics_file, written, keep)
        self._layers = None
        if diagnostics:
            self._layers = JsonlWriter(folder.diagnostics_file, layers, keep)
        self._events = EventFile(folder.tensorboard, purge_step=keep + 1)

    def write(self, step: int, split: str, seed: int, values: dict[str, Any]) -> None:
        """Write one line, and its values as the TensorBoard scalars `split/name/seedN`."""
        self._lines.write({"step": step, "split": split, "seed": seed, **values})
        for name, value in values.items():
            self._events.write_scalar(f"{split}/{name}/seed{seed}", value, step)

    def write_layers(
        self, step: int, epoch: float, seed: int, layers: list[dict[str, Any]]
    ) -> None:
        """Write the statistics of the layers as one line."""
        assert self._layers
        self._layers.write({"step": step, "epoch": epoch, "seed": seed, "layers": layers})

    def sync(self) -> None:
        """Wait until everything is on the disk, as a checkpoint of a later step requires."""
        for lines in filter(None, (self._lines, self._layers)):
            lines.sync()
        self._events.flush()

    def close(self) -> None:
        """Close all files."""
        for lines in filter(None, (self._lines, self._layers)):
            lines.close()
        self._events.close()


class NullWriter:
    """A writer that keeps nothing, for processes other than the first."""

    def write(self, step: int, split: str, seed: int, values: dict[str, Any]) -> None:
        pass

    def write_layers(
        self, step: int, epoch: float, seed: int, layers: list[dict[str, Any]]
    ) -> None:
        pass

    def sync(self) -> None:
        pass


MetricWriter = RunWriter | NullWriter
