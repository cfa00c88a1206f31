"""Read sweeps, workdirs and result files into records, even of runs that are not finished.

A missing file is no error: the record says what is missing.
"""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cnn_archs.config_files import split_argument
from cnn_archs.config_keys import rename_old_override
from cnn_archs.errors import ConfigError, DataError
from cnn_archs.report.runs import CellRecord, Collection, RunRecord
from cnn_archs.run_dir import RESULT, RunDir, is_result, read_result
from cnn_archs.sweep_dir import SweepDir


def read_collections(paths: Sequence[Path]) -> list[Collection]:
    """Read one collection per sweep, in order, then one per dataset of all other runs and results.

    Raises ConfigError for a path that does not exist or holds nothing, DataError for a damaged
    file.
    """
    found: list[Collection | CellRecord] = []
    for path in paths:
        here = list(find_records(path))
        if not here:
            what = "no sweep, run or result in" if path.exists() else "no"
            raise ConfigError(f"report: there is {what} {path}")
        found += here
    return group_by_dataset(found)


def group_by_dataset(found: Iterable[Collection | CellRecord]) -> list[Collection]:
    """Put the cells that belong to no sweep into one collection per dataset."""
    sweeps: list[Collection] = []
    cells: dict[str, list[CellRecord]] = {}
    for one in found:
        if isinstance(one, Collection):
            sweeps.append(one)
        else:
            cells.setdefault(one.dataset, []).append(one)
    rest = [
        Collection(f"Runs on {dataset}" if dataset else "Runs", "", with_unique_names(alike))
        for dataset, alike in cells.items()
    ]
    return [*sweeps, *rest]


def find_records(path: Path) -> Iterator[Collection | CellRecord]:
    """Yield the record of a sweep, a workdir or a result file, or those inside any other folder."""
    if path.is_file():
        yield cell_of_run(
            read_result_file(path), path.parent.name if path.name == RESULT else path.stem
        )
    elif SweepDir(path).has_sweep():
        yield read_sweep(SweepDir(path))
    elif RunDir(path).has_config():
        yield cell_of_run(read_run(RunDir(path)), path.name)
    elif path.is_dir():
        inner = sorted(path.iterdir())
        for folder in filter(Path.is_dir, inner):
            yield from find_records(folder)
        files = [p for p in inner if p.suffix == ".json" and p.name != RESULT]
        for name in dict.fromkeys(cell_and_seed(p)[0] for p in files if is_result(p)):
            yield read_cell_files(path, name)


def with_unique_names(cells: Sequence[CellRecord]) -> list[CellRecord]:
    """Add a number to the names that occur more than once."""
    seen: dict[str, int] = {}
    named = []
    for cell in cells:
        seen[cell.name] = n = seen.get(cell.name, 0) + 1
        named.append(dataclasses.replace(cell, name=f"{cell.name} ({n})") if n > 1 else cell)
    return named


def read_sweep(folder: SweepDir) -> Collection:
    """Read the cells of a sweep."""
    stated = folder.spec()
    cells = []
    for name, (experiment, *overrides) in stated["cells"].items():
        runs = [read_run(run) for run in folder.runs(name, stated["seeds"])]
        changed = (*overrides, *stated.get("overrides", []))
        cells.append(CellRecord(name, plain_experiment(experiment), changed, runs))
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


def cell_and_seed(path: Path) -> tuple[str, int]:
    """Return the cell and the seed in the name of a result file: (NAME, 2) for NAME_seed2.json.

    The seed is -1 if the name has none.
    """
    named = re.fullmatch(r"(.+)_seed(\d+)", path.stem)
    return (named[1], int(named[2])) if named else (path.stem, -1)


def result_files_of(folder: Path, name: str) -> list[Path]:
    """List the result files of a cell: NAME.json, then NAME_seed0.json, NAME_seed1.json, ..."""
    there = [p for p in folder.glob("*.json") if cell_and_seed(p)[0] == name and is_result(p)]
    return sorted(there, key=cell_and_seed)


def read_cell_files(folder: Path, name: str) -> CellRecord:
    """Read the result files of a cell.

    Raises DataError if they are of different networks, or if two of them have the same seed.
    """
    runs = [read_result_file(path) for path in result_files_of(folder, name)]
    first, *others = runs
    seen = {seed: first.path for seed in first.result.get("seeds", [])}
    for other in others:
        pair = f"{first.path} and {other.path}"
        for key in ("name", "dataset", "protocol", "steps", "epochs", "params"):
            if first.result.get(key) != other.result.get(key):
                raise DataError(f"{pair} are not seeds of one cell: they differ in {key}")
        for seed in other.result["seeds"]:
            if seed in seen:
                raise DataError(f"{seen[seed]} and {other.path} both have seed {seed}")
            seen[seed] = other.path
    return dataclasses.replace(cell_of_run(first, name), runs=runs)


def cell_of_run(run: RunRecord, name: str) -> CellRecord:
    """Make a cell of one run.

    If the run trained, the experiment and the overrides are those of its command line.
    """
    experiment, overrides = "", []
    command = run.environment.get("command", [])
    for argument in command if "train" in command else []:
        key, _, value = argument.removeprefix("--").partition("=")
        if key == "config":
            experiment = plain_experiment(value)
        elif key.startswith("config."):
            overrides.append(rename_old_override(f"{key.removeprefix('config.')}={value}"))
    return CellRecord(name, experiment, tuple(overrides), [run])


def plain_experiment(experiment: str) -> str:
    """Shorten `experiments/x.py:argument` to `x:argument`."""
    path, argument = split_argument(experiment)
    return Path(path).name.removesuffix(".py") + (f":{argument}" if argument else "")


def read_result_file(path: Path) -> RunRecord:
    """Read a result file; an ensemble counts as one network with seed 0."""
    if not is_result(path):
        raise DataError(f"{path} is not a result: it has no protocol, dataset or test")
    result = read_result(path)
    if "members" in result:  # an ensemble, which has no seeds
        result = {**result, "seeds": [0]}
    made = result.get("made", {})
    return RunRecord(path, result=result, config=made.get("config", {}), environment=made)


def read_run(folder: RunDir) -> RunRecord:
    """Read what is in the folder of a run, whether it is finished or not."""
    if not folder.path.is_dir():
        return RunRecord(folder.path, missing="not started")
    metrics = folder.metrics()
    result = folder.result() if folder.has_result() else {}
    return RunRecord(
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
    """Return the reason why a run has no result. metrics: the lines of its log."""
    if failure := folder.failure():
        tries = f", {failure['tries']} tries" if "tries" in failure else ""
        return f"failed: {failure['error']} (exit code {failure['code']}{tries})"
    steps = max((line["step"] for line in metrics), default=0)
    return f"not finished: {steps:,} steps so far" if steps else "not started"
