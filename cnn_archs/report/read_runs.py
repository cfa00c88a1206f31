"""From folders to cells: sweeps, workdirs and result files, as runs left them.

Nothing that is missing is an error: it is said.
"""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cnn_archs.config import rename_old_override
from cnn_archs.errors import ConfigError, DataError
from cnn_archs.report.runs import Cell, Collection, Run
from cnn_archs.run_dir import RESULT, RunDir, is_result, read_result
from cnn_archs.sweep_dir import SweepDir


def collect(paths: Sequence[Path]) -> list[Collection]:
    """A collection for each sweep, in order, then one of other runs and results a dataset.

    ConfigError for a path that is not there or holds nothing; DataError for a damaged file.
    """
    found: list[Collection | Cell] = []
    for path in paths:
        here = list(within(path))
        if not here:
            what = "no sweep, run or result in" if path.exists() else "no"
            raise ConfigError(f"report: there is {what} {path}")
        found += here
    return grouped(found)


def grouped(found: Iterable[Collection | Cell]) -> list[Collection]:
    """Sweeps as they are, cells by dataset."""
    sweeps: list[Collection] = []
    cells: dict[str, list[Cell]] = {}
    for one in found:
        if isinstance(one, Collection):
            sweeps.append(one)
        else:
            cells.setdefault(one.dataset, []).append(one)
    rest = [
        Collection(f"Runs on {dataset}" if dataset else "Runs", "", unique(alike))
        for dataset, alike in cells.items()
    ]
    return [*sweeps, *rest]


def within(path: Path) -> Iterator[Collection | Cell]:
    """A sweep, a workdir, a result file, or what is in a folder of such."""
    if path.is_file():
        yield cell_of(file(path), path.parent.name if path.name == RESULT else path.stem)
    elif SweepDir(path).has_sweep():
        yield sweep(SweepDir(path))
    elif RunDir(path).has_config():
        yield cell_of(run_of(RunDir(path)), path.name)
    elif path.is_dir():
        inner = sorted(path.iterdir())
        for folder in filter(Path.is_dir, inner):
            yield from within(folder)
        files = [p for p in inner if p.suffix == ".json" and p.name != RESULT]
        for name in dict.fromkeys(split_name(p)[0] for p in files if is_result(p)):
            yield cell_of_files(path, name)


def unique(cells: Sequence[Cell]) -> list[Cell]:
    """Cells of one name are told apart by a number."""
    seen: dict[str, int] = {}
    named = []
    for cell in cells:
        seen[cell.name] = n = seen.get(cell.name, 0) + 1
        named.append(dataclasses.replace(cell, name=f"{cell.name} ({n})") if n > 1 else cell)
    return named


def sweep(folder: SweepDir) -> Collection:
    """Reads the cells of a sweep."""
    stated = folder.spec()
    cells = []
    for name, (experiment, *overrides) in stated["cells"].items():
        runs = [run_of(run) for run in folder.runs(name, stated["seeds"])]
        changed = (*overrides, *stated.get("overrides", []))
        cells.append(Cell(name, plain(experiment), changed, runs))
    return Collection(
        title=stated["title"],
        notes=stated.get("notes", ""),
        cells=cells,
        comparisons=stated.get("comparisons", []),
        x=stated.get("x", ""),
        groups=stated.get("groups", {}),
        columns=stated.get("columns", []),
        reach=stated.get("reach", []),
        sweep=True,
    )


def split_name(path: Path) -> tuple[str, int]:
    """Returns the cell and the seed that a result file is named by: (NAME, 2) of NAME_seed2.json.

    The seed is -1 where the name has none.
    """
    named = re.fullmatch(r"(.+)_seed(\d+)", path.stem)
    return (named[1], int(named[2])) if named else (path.stem, -1)


def files_of(folder: Path, name: str) -> list[Path]:
    """Lists the result files of a cell: NAME.json, then NAME_seed0.json, NAME_seed1.json, ..."""
    there = [p for p in folder.glob("*.json") if split_name(p)[0] == name and is_result(p)]
    return sorted(there, key=split_name)


def cell_of_files(folder: Path, name: str) -> Cell:
    """Reads the result files of a cell.

    DataError where they are of different networks, or where two of them have the same seed.
    """
    runs = [file(path) for path in files_of(folder, name)]
    first, *others = runs
    seen = {seed: first.path for seed in first.result.get("seeds", [])}
    for other in others:
        pair = f"{first.path} and {other.path}"
        for key in ("name", "dataset", "protocol", "steps", "epochs", "params"):
            if first.result.get(key) != other.result.get(key):
                raise DataError(f"{pair} are no seeds of one cell: they differ in {key}")
        for seed in other.result["seeds"]:
            if seed in seen:
                raise DataError(f"{seen[seed]} and {other.path} both have seed {seed}")
            seen[seed] = other.path
    return dataclasses.replace(cell_of(first, name), runs=runs)


def cell_of(run: Run, name: str) -> Cell:
    """A run as a cell of its own; experiment and overrides from its command line, if it trained."""
    experiment, overrides = "", []
    command = run.environment.get("command", [])
    for argument in command if "train" in command else []:
        key, _, value = argument.removeprefix("--").partition("=")
        if key == "config":
            experiment = plain(value)
        elif key.startswith("config."):
            overrides.append(rename_old_override(f"{key.removeprefix('config.')}={value}"))
    return Cell(name, experiment, tuple(overrides), [run])


def plain(experiment: str) -> str:
    """`experiments/x.py:argument` as `x:argument`."""
    path, colon, argument = experiment.partition(":")
    return Path(path).name.removesuffix(".py") + colon + argument


def file(path: Path) -> Run:
    """Reads a result file that was copied; the networks of an ensemble are left out."""
    if not is_result(path):
        raise DataError(f"{path} is no result: it has no protocol, dataset or test")
    result = read_result(path)
    if "members" in result:  # one ensemble: no seeds
        result = {**result, "seeds": [0]}
    made = result.get("made", {})
    return Run(path, result=result, config=made.get("config", {}), environment=made)


def run_of(folder: RunDir) -> Run:
    """Reads what is in the folder of a run, however far the run came."""
    if not folder.path.is_dir():
        return Run(folder.path, missing="not started")
    metrics = folder.metrics()
    result = folder.result() if folder.has_result() else {}
    return Run(
        path=folder.path,
        missing="" if result else missing(folder, metrics),
        result=result,
        config=folder.saved_config() if folder.has_config() else {},
        environment=result.get("made") or folder.environment(),
        metrics=metrics,
        diagnostics=folder.diagnostics(),
        robustness=folder.evaluation("robustness") if folder.has_evaluation("robustness") else {},
        filters=folder.filters(),
    )


def missing(folder: RunDir, metrics: Sequence[Mapping[str, Any]]) -> str:
    """Says why a run has no result. metrics: the lines of its log."""
    if failure := folder.failure():
        tries = f", {failure['tries']} tries" if "tries" in failure else ""
        return f"failed: {failure['error']} (exit code {failure['code']}{tries})"
    steps = max((line["step"] for line in metrics), default=0)
    return f"not finished: {steps:,} steps so far" if steps else "not started"
