"""The folder of a run: the names of its files, read and written.

No other module knows these names; those of a sweep are in `sweep_dir`. If a file is damaged, its
reader raises a DataError of one line that names it: if it is not JSON, or lacks a key that every
commit has written.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from cnn_archs import config as configs
from cnn_archs.errors import ConfigError, DataError
from cnn_archs.runtime.files import (
    KeyTypes,
    check_keys,
    lock,
    read_checked,
    read_checked_lines,
    read_json,
    write_json,
)

LOCK = "lock"  # held while a run trains
RESULT = "result.json"
FILTERS = "filters.png"

NUMBER = (int, float)
EVALUATION_KEYS: KeyTypes = {"name": str, "dataset": str, "protocol": str, "test": dict}
TRAINING_KEYS: KeyTypes = {
    **EVALUATION_KEYS,
    "seeds": list,
    "steps": int,
    "seconds": NUMBER,
    "images_per_second": NUMBER,
    "params": int,
    "macs": int,
}
METRIC_KEYS: KeyTypes = {
    "step": int,
    "split": str,
    "seed": int,
    "epoch": NUMBER,
    "loss": NUMBER,
    "top1_error": NUMBER,
    "examples": int,
}

DESCRIPTIONS = {  # file of a run -> what it is, for a person
    RESULT: "the numbers above, a list of seeds for each",
    "curves.png": "error and loss by epoch",
    "robustness.json": "error against how far test images are moved",
    "metrics.jsonl": "one JSON a line: step, split, seed, values",
    "config.json": "every setting",
    "environment.json": "versions, devices, commit, command line",
    "checkpoints": "to go on from, or to load",
    "tensorboard": "the same for TensorBoard",
    "profile": "a trace of some steps, for xprof or TensorBoard",
}


class Failure(TypedDict):
    """Why a cell of a sweep failed. code: the exit code; tries: how many have failed."""

    error: str
    code: int
    tries: NotRequired[int]


@dataclass(frozen=True)
class RunDir:
    """The folder of one run, which may hold any part of it, or nothing."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    @property
    def profile(self) -> Path:
        return self.path / "profile"

    @property
    def figures(self) -> Path:
        return self.path / "figures"

    @property
    def statistics(self) -> Path:
        """The statistics of the training images, for preprocessing."""
        return self.path / "statistics.npz"

    @property
    def curves(self) -> Path:
        return self.path / "curves.png"

    @property
    def output(self) -> Path:
        """What the process of a sweep has printed."""
        return self.path / "log.txt"

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def diagnostics_file(self) -> Path:
        return self.path / "diagnostics.jsonl"

    @property
    def _config(self) -> Path:
        return self.path / "config.json"

    @property
    def result_file(self) -> Path:
        return self.path / RESULT

    @property
    def _environment(self) -> Path:
        return self.path / "environment.json"

    @property
    def _failure(self) -> Path:
        return self.path / "failed.json"

    def _evaluation(self, name: str) -> Path:
        return self.path / f"{name}.json"

    def lock(self) -> AbstractContextManager[None]:
        """Holds this folder; ConfigError if another process holds it."""
        return lock(self.path / LOCK)

    def contents(self) -> list[tuple[Path, str]]:
        """Lists the files that are there, each with what it is."""
        paths = [(self.path / name, what) for name, what in DESCRIPTIONS.items()]
        return [(path, what) for path, what in paths if path.exists()]

    # What the run is.

    def has_config(self) -> bool:
        """Whether a run was begun or imported here."""
        return self._config.is_file()

    def check_run(self) -> None:
        """Raises a ConfigError unless there is a run."""
        if not self.has_config():
            raise ConfigError(f"there is no run in {self.path} (no {self._config.name})")

    def config(self) -> configs.Config:
        """The config of the run, complete and locked; ConfigError if there is no run."""
        self.check_run()
        return configs.read_config(self._config)

    def saved_config(self) -> dict[str, Any]:
        """The config as it was saved, by today's names of its keys; without newer keys."""
        saved = read_checked(self._config, {"model": dict, "data": dict})
        sections = [kind for kind in configs.base_module().CHOICES if kind in saved]
        check_keys(self._config, saved, dict.fromkeys(sections, dict))
        return configs.rename_old_keys(saved)

    def write_config(self, config: Mapping[str, Any]) -> None:
        write_json(self._config, config)

    def environment(self) -> dict[str, Any]:
        """Versions, devices, commit and command line; {} if there are none."""
        return read_json(self._environment) if self._environment.is_file() else {}

    def write_environment(self, environment: Mapping[str, Any]) -> None:
        write_json(self._environment, environment)

    # How far it is.

    def has_checkpoints(self) -> bool:
        return any(self.checkpoints.glob("*"))

    def newest_step(self) -> int:
        """The step of the newest checkpoint; 0 if there is none."""
        names = (path.name for path in self.checkpoints.glob("*"))
        return max((int(name) for name in names if name.isdigit()), default=0)

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of the log; [] if there is no log."""
        return read_checked_lines(self.metrics_file, METRIC_KEYS)

    def diagnostics(self) -> list[dict[str, Any]]:
        """The statistics of the layers, a dict for each logged step and seed; [] if none."""
        return read_checked_lines(self.diagnostics_file, {"step": int, "seed": int, "layers": list})

    # What came of it.

    def has_result(self) -> bool:
        return self.result_file.is_file()

    def result(self) -> dict[str, Any]:
        """The result of the run; DataError if there is none."""
        return read_result(self.result_file, TRAINING_KEYS)

    def write_result(self, result: Mapping[str, Any]) -> None:
        write_json(self.result_file, result)

    def remove_result(self) -> None:
        self.result_file.unlink(missing_ok=True)

    def has_evaluation(self, name: str) -> bool:
        return self._evaluation(name).is_file()

    def evaluation(self, name: str) -> dict[str, Any]:
        """What the evaluation `name` found: {kind of change: errors against amounts of it}."""
        path = self._evaluation(name)
        found = read_json(path)
        check_keys(path, found, dict.fromkeys(found, dict))
        for kind in found.values():
            check_keys(path, kind, {"unit": str, "amounts": list, "top1_error": list})
        return found

    def write_evaluation(self, name: str, found: Mapping[str, Any]) -> None:
        write_json(self._evaluation(name), found)

    def filters(self) -> bytes:
        """The picture of the first layer's filters, as a PNG; b"" if there is none."""
        path = self.figures / FILTERS
        return path.read_bytes() if path.is_file() else b""

    def failure(self) -> Failure | None:
        """Why the last try failed; None if it did not."""
        if not self._failure.is_file():
            return None
        return cast(
            Failure, read_checked(self._failure, {"error": str, "code": int}, {"tries": int})
        )

    def write_failure(self, failure: Failure) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self._failure, failure)

    def remove_failure(self) -> None:
        self._failure.unlink(missing_ok=True)


def jobs_folder(workdir: Path) -> Path:
    """The folder of the scripts and logs of a scheduler's jobs."""
    return workdir / "jobs"


def read_result(path: Path, kinds: KeyTypes = EVALUATION_KEYS) -> dict[str, Any]:
    """Reads a result.json, or a copy of one under another name.

    kinds: the keys that it must have, with their types. The config in it has today's keys.
    """
    result = read_checked(path, kinds, {"made": dict})
    if not isinstance(result["test"].get("top1_error"), list | float | int):
        raise DataError(f"{path} is damaged: test.top1_error is missing or of another type")
    made = result.get("made", {})
    if isinstance(config := made.get("config"), dict):
        made["config"] = configs.rename_old_keys(config)
    return result


def is_result(path: Path) -> bool:
    """Whether `path` holds a result; DataError where it is not JSON."""
    return path.is_file() and EVALUATION_KEYS.keys() <= read_json(path).keys()


def list_results(folder: Path) -> list[Path]:
    """The result files in the folders that are in `folder`."""
    return [path for path in sorted(folder.glob("*/*.json")) if is_result(path)]
