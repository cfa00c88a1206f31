"""The log of a run: lines of JSON for programs, TensorBoard's event files for eyes."""

import json
import os
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from cnn_archs.train.guard import write_atomically


class Lines:
    """A file of one JSON a line, each with its `step`. Cut back to where a run goes on."""

    def __init__(self, path: Path, keep: int):
        """Opens it for steps after `keep`; what stands there beyond it goes."""
        kept = [line for line in read(path) if line["step"] <= keep]
        write_atomically(path, "".join(json.dumps(line) + "\n" for line in kept))
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
    """metrics.jsonl, TensorBoard's files, and diagnostics.jsonl where a run has `diagnostics`."""

    def __init__(self, workdir: Path, keep: int, diagnostics: bool):
        """Opens the log for steps after `keep`; what stands there beyond it goes."""
        self._lines = Lines(workdir / "metrics.jsonl", keep)
        self._layers = Lines(workdir / "diagnostics.jsonl", keep) if diagnostics else None
        self._board = SummaryWriter(str(workdir / "tensorboard"), purge_step=keep + 1)

    def write(self, step: int, split: str, seed: int, values: dict[str, Any]) -> None:
        """One line, and its values as TensorBoard's scalars `split/name/seedN`."""
        self._lines.write({"step": step, "split": split, "seed": seed, **values})
        for name, value in values.items():
            self._board.add_scalar(f"{split}/{name}/seed{seed}", value, step)

    def write_layers(
        self, step: int, epoch: float, seed: int, layers: list[dict[str, Any]]
    ) -> None:
        """A line of diagnostics.jsonl."""
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


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl, but for one that a kill cut; [] where there is none."""
    lines = []
    for text in path.read_text().splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines
