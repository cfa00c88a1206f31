"""The log of a run: metrics.jsonl for programs, TensorBoard's event files for eyes."""

import json
import os
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from cnn_archs.train.guard import write_atomically


class MetricsLog:
    """One JSON a line: step, split, seed, values. Cut back to where a run goes on."""

    def __init__(self, workdir: Path, keep: int):
        """Opens the log for steps after `keep`; what stands there beyond it goes."""
        path = workdir / "metrics.jsonl"
        kept = [line for line in read(path) if line["step"] <= keep]
        write_atomically(path, "".join(json.dumps(line) + "\n" for line in kept))
        self._file = open(path, "a")  # noqa: SIM115 (open for as long as the run)
        self._board = SummaryWriter(str(workdir / "tensorboard"), purge_step=keep + 1)

    def write(self, step: int, split: str, seed: int, values: dict[str, Any]) -> None:
        """One line, and its values as TensorBoard's scalars `split/name/seedN`."""
        line = {"step": step, "split": split, "seed": seed, **values}
        self._file.write(json.dumps(line) + "\n")
        for name, value in values.items():
            self._board.add_scalar(f"{split}/{name}/seed{seed}", value, step)

    def sync(self) -> None:
        """What was written is on the disk: called before a checkpoint says it is past it."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._board.flush()

    def close(self) -> None:
        self.sync()
        self._file.close()
        self._board.close()


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl, but for one that a kill cut; [] where there is none."""
    lines = []
    for text in path.read_text().splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines
