"""Read and write the files in the folder of a run.

Only this module knows the names of these files; `sweep_dir` has those of a sweep. A reader raises
a DataError of one line that names the file if it is damaged: if it is not JSON, or lacks a key
that every version of the package has written.
"""

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from cnn_archs import config as configs
from cnn_archs.config_keys import rename_old_keys
from cnn_archs.errors import ConfigError, DataError, closest_word
from cnn_archs.result_files import CONFIG, ENVIRONMENT, TRAINING, read_result
from cnn_archs.runtime.files import lock, read_errors, write_json
from cnn_archs.runtime.json_files import (
    NUMBER,
    Shape,
    read_json,
    read_json_lines,
)

LOCK = "lock"  # held while a run trains
RESULT = "result.json"
FILTERS = "filters.png"

METRICS: Shape = {
    **{"step": int, "split": str, "seed": int, "epoch": NUMBER, "loss": NUMBER},
    **{"top1_error": NUMBER, "examples": int, "time?": NUMBER, ...: NUMBER},
}
LAYER: Shape = {"name": str, ...: (*NUMBER, type(None))}
DIAGNOSTICS = {"step": int, "seed": int, "layers": [LAYER]}
ROBUSTNESS: Shape = {...: {"unit": str, "amounts": [NUMBER], "top1_error": [[NUMBER]]}}

DESCRIPTIONS = {  # name of a file in the folder of a run -> description for the user
    RESULT: "the numbers above, as a list over seeds",
    "curves.png": "error and loss by epoch",
    "robustness.json": "errors on shifted, rotated, scaled and sheared test images",
    "metrics.jsonl": "logged values, one JSON object per line",
    "config.json": "every setting",
    "data.json": "the images that it was made of: classes, numbers, digests",
    "environment.json": "versions, devices, commit, command line",
    "checkpoints": "to resume from, or to load",
    "tensorboard": "the logged values, for TensorBoard",
    "profile": "a trace of some steps, for xprof or TensorBoard",
}


class Failure(TypedDict):
    """The reason why a cell of a sweep failed.

    code: the exit code. tries: the number of failed tries.
    """

    error: str
    code: int
    tries: NotRequired[int]


@dataclass(frozen=True)
class RunDir:
    """The folder of one run. Any of its files may be missing."""

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
        """The file with the statistics of the training images, for preprocessing."""
        return self.path / "statistics.npz"

    @property
    def data_file(self) -> Path:
        """The record of the data that the run was made of; see `data/record.py`."""
        return self.path / "data.json"

    def recorded_images(self) -> tuple[str, dict[str, str]]:
        """Return the absolute path of the run's images and {split: digest}; "" and {} without."""
        if not self.data_file.is_file():
            return "", {}
        record = read_json(self.data_file, {"folder": str, "splits": {...: {"digest": str}}})
        return record["folder"], {name: s["digest"] for name, s in record["splits"].items()}

    def data_files(self, changes: int) -> Path:
        """The list of the images' files after so many accepted changes of the data."""
        return self.path / f"data_files_{changes}.json.gz"

    @property
    def curves(self) -> Path:
        return self.path / "curves.png"

    def has_curves_of_result(self) -> bool:
        """Return whether curves.png was drawn after the result was written."""
        both = self.curves.is_file() and self.has_result()
        return both and self.curves.stat().st_mtime_ns >= self.result_file.stat().st_mtime_ns

    @property
    def output(self) -> Path:
        """The file with the output of the sweep's process that trained this run."""
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
        """Hold the lock of this folder. Raises ConfigError if another process holds it."""
        return lock(self.path / LOCK)

    def contents(self) -> list[tuple[Path, str]]:
        """List the files that exist, each with its description."""
        paths = [(self.path / name, what) for name, what in DESCRIPTIONS.items()]
        return [(path, what) for path, what in paths if path.exists()]

    # Configuration and environment.

    def has_config(self) -> bool:
        """Return whether a run was started or imported in this folder."""
        return self._config.is_file()

    def check_run(self) -> None:
        """Raise ConfigError if there is no run in this folder, DataError if it lost its config."""
        if not self.has_config():
            self.check_config_kept()
            near = closest_run(self.path)
            hint = f"; did you mean {near}?" if near else ""
            raise ConfigError(f"there is no run in {self.path} (no {self._config.name}){hint}")

    def check_config_kept(self) -> None:
        """Raise DataError if there are checkpoints here, but not the config that they belong to."""
        if self.has_checkpoints() and not self.has_config():
            raise DataError(
                f"{self.path} has checkpoints but no {self._config.name}, which says what they are "
                "of: put that file back, or use another --workdir"
            )

    def config(self) -> configs.Config:
        """Return the complete, locked config of the run. Raises ConfigError if there is no run."""
        self.check_run()
        return configs.read_config(self._config)

    def saved_config(self) -> dict[str, Any]:
        """Return the config as it was saved, without newer keys but with renamed keys updated."""
        sections = {f"{kind}?": {"name": str} for kind in configs.base_module().CHOICES}
        return rename_old_keys(read_json(self._config, {**sections, **CONFIG}))

    def write_config(self, config: Mapping[str, Any]) -> None:
        write_json(self._config, config)

    def environment(self) -> dict[str, Any]:
        """Return versions, devices, commit and command line; {} if they were not written."""
        return read_json(self._environment, ENVIRONMENT) if self._environment.is_file() else {}

    def origin(self) -> dict[str, Any]:
        """Return the entry `imported` of environment.json, {} if no weights were imported."""
        return {k: v for k, v in self.environment().items() if k == "imported"}

    def label(self) -> str:
        """Return the name of the run for messages: its folder, or that of the weights it is of."""
        imported = self.origin().get("imported")
        named = imported.get("weights") if isinstance(imported, dict) else None
        return named if isinstance(named, str) else str(self.path)

    def trained_steps(self, step: int) -> int:
        """Return the training steps of the network at `step` of this run.

        A run of stored weights begins at step 0 with what its card says was trained before.
        """
        imported = self.origin().get("imported")
        before = imported.get("steps") if isinstance(imported, dict) else None
        return step + (before if isinstance(before, int) else 0)

    def recipe(self) -> dict[str, Any]:
        """Return the entry `recipe` of environment.json, {} if there is none."""
        return {k: v for k, v in self.environment().items() if k == "recipe"}

    def write_environment(self, environment: Mapping[str, Any]) -> None:
        write_json(self._environment, environment)

    # Progress.

    def _list_checkpoints(self) -> list[str]:
        """List the names in the folder of checkpoints. Raises DataError if it cannot be read."""
        with read_errors(self.checkpoints):
            return os.listdir(self.checkpoints) if self.checkpoints.is_dir() else []

    def has_checkpoints(self) -> bool:
        return bool(self._list_checkpoints())

    def newest_step(self) -> int:
        """Return the step of the newest checkpoint; 0 if there is none."""
        return max((int(name) for name in self._list_checkpoints() if name.isdigit()), default=0)

    def metrics(self) -> list[dict[str, Any]]:
        """Return the sound lines of the log, one dict each; [] if nothing was logged."""
        return read_json_lines(self.metrics_file, METRICS)

    def diagnostics(self) -> list[dict[str, Any]]:
        """Return the statistics of the layers, one dict per logged step and seed; [] if none."""
        return read_json_lines(self.diagnostics_file, DIAGNOSTICS)

    # Results.

    def has_result(self) -> bool:
        return self.result_file.is_file()

    def result(self) -> dict[str, Any]:
        """Return the result of the run. Raises DataError if there is none."""
        return read_result(self.result_file, TRAINING)

    def write_result(self, result: Mapping[str, Any]) -> None:
        write_json(self.result_file, result)

    def remove_result(self) -> None:
        self.result_file.unlink(missing_ok=True)

    def has_evaluation(self, name: str) -> bool:
        return self._evaluation(name).is_file()

    def evaluation(self, name: str) -> dict[str, Any]:
        """Return the findings of the evaluation `name`: {kind of change: amounts and errors}."""
        path = self._evaluation(name)
        found = read_json(path, ROBUSTNESS)
        for kind, values in found.items():
            if len(values["amounts"]) != len(values["top1_error"]):
                raise DataError(f"{path} is damaged: {kind} has other amounts than errors")
            if not all(values["top1_error"]):
                raise DataError(f"{path} is damaged: {kind} has an amount without errors")
        return found

    def write_evaluation(self, name: str, found: Mapping[str, Any]) -> None:
        write_json(self._evaluation(name), found)

    def filters(self) -> bytes:
        """Return the PNG picture of the first layer's filters; b"" if there is none."""
        path = self.figures / FILTERS
        return path.read_bytes() if path.is_file() else b""

    def failure(self) -> Failure | None:
        """Return why the last try failed; None if it did not."""
        if not self._failure.is_file():
            return None
        return cast(Failure, read_json(self._failure, {"error": str, "code": int, "tries?": int}))

    def write_failure(self, failure: Failure) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self._failure, failure)

    def remove_failure(self) -> None:
        self._failure.unlink(missing_ok=True)


def closest_run(path: Path) -> Path | None:
    """Return the folder of a run that `path` was probably meant to be; None if none is like it.

    It is the folder of that name in runs/, or differs in the spelling of the names in its path.
    """
    if not path.is_absolute() and RunDir("runs" / path).has_config():
        return "runs" / path
    found = Path(path.anchor)
    for name in path.parts[len(found.parts) :]:
        if not (found / name).is_dir():
            with suppress(OSError):
                folders = [entry.name for entry in os.scandir(found) if entry.is_dir()]
                name = closest_word(name, folders) or name
        found /= name
    return found if RunDir(found).has_config() else None


def jobs_folder(workdir: Path) -> Path:
    """Return the folder with the scripts and logs of a scheduler's jobs."""
    return workdir / "jobs"
