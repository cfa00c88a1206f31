"""Writes the metrics of a run as lines of JSON and as TensorBoard event files."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cnn_archs.run_dir import RunDir
from cnn_archs.runtime.console import print_status
from cnn_archs.runtime.files import write_text
from cnn_archs.training.event_file import EventFiles


class JsonlWriter:
    """A file with one JSON object per line, each of which has its `step`."""

    def __init__(self, path: Path, written: Sequence[dict[str, Any]], keep: int, expected: int):
        """Open `path`, which holds the lines `written`, and remove those after step `keep`.

        expected: the number of lines that there were when that step was saved; 0 if it is not
        known. If there are fewer, a line on stderr says how many are lost.
        """
        kept = [line for line in written if line["step"] <= keep]
        self.count = len(kept)
        if self.count < expected:
            lost = expected - self.count
            print_status(f"{path}: {lost} of {expected} lines up to step {keep} are lost")
        write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 (open for as long as the run)

    def write(self, line: dict[str, Any]) -> None:
        """Append a line."""
        self._file.write(json.dumps(line) + "\n")
        self.count += 1

    def flush(self) -> None:
        """Hand all lines to the system."""
        self._file.flush()

    def sync(self) -> None:
        """Wait until the lines that were flushed are on the disk. Any thread may call it."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Sync and close the file."""
        self.flush()
        self.sync()
        self._file.close()


class RunWriter:
    """Writes the metrics of a run to its folder, and optionally the statistics of its layers."""

    def __init__(
        self,
        folder: RunDir,
        seeds: Sequence[int],
        settings: Mapping[str, Any],
        keep: int,
        diagnostics: bool,
        expected: Mapping[str, int],
    ):
        """Open the files of `folder`, and remove their entries for steps after `keep`.

        settings: {section.key: value} of the config, for TensorBoard. diagnostics: whether
        statistics of the layers are written as well. expected: the `line_counts` when step `keep`
        was saved; {} if they are not known.
        """
        written = folder.metrics()
        layers = folder.diagnostics() if diagnostics else []  # both are read before one is opened
        self._lines = JsonlWriter(folder.metrics_file, written, keep, expected.get("metrics", 0))
        self._layers = None
        if diagnostics:
            lines = expected.get("diagnostics", 0)
            self._layers = JsonlWriter(folder.diagnostics_file, layers, keep, lines)
        self._events = EventFiles(folder.tensorboard, seeds, keep + 1, settings)

    def write(self, step: int, split: str, seed: int, values: dict[str, Any]) -> None:
        """Write one line with the present time, in seconds since 1970.

        TensorBoard gets its values as the scalars `split/name` of the folder of the seed.
        """
        now = round(time.time(), 3)
        self._lines.write({"step": step, "split": split, "seed": seed, "time": now, **values})
        for name, value in values.items():
            self._events.write_scalar(seed, f"{split}/{name}", value, step, now)

    def write_layers(
        self, step: int, epoch: float, seed: int, layers: list[dict[str, Any]]
    ) -> None:
        """Write the statistics of the layers as one line."""
        assert self._layers
        self._layers.write({"step": step, "epoch": epoch, "seed": seed, "layers": layers})

    def line_counts(self) -> dict[str, int]:
        """Return the number of lines in each log."""
        layers = {"diagnostics": self._layers.count} if self._layers else {}
        return {"metrics": self._lines.count, **layers}

    def flush(self) -> None:
        """Hand all lines to the system, before `sync`."""
        for lines in filter(None, (self._lines, self._layers)):
            lines.flush()

    def sync(self) -> None:
        """Wait until everything is on the disk, as a checkpoint of a later step requires.

        Any thread may call it.
        """
        for lines in filter(None, (self._lines, self._layers)):
            lines.sync()
        self._events.flush()

    def close(self) -> None:
        """Close all files."""
        for lines in filter(None, (self._lines, self._layers)):
            lines.close()
        self._events.flush()


class NullWriter:
    """A writer that keeps nothing, for processes other than the first."""

    def write(self, step: int, split: str, seed: int, values: dict[str, Any]) -> None:
        pass

    def write_layers(
        self, step: int, epoch: float, seed: int, layers: list[dict[str, Any]]
    ) -> None:
        pass

    def line_counts(self) -> dict[str, int]:
        return {}

    def flush(self) -> None:
        pass

    def sync(self) -> None:
        pass


MetricWriter = RunWriter | NullWriter
