"""Read sweeps, workdirs and result files into records, even of runs that are not finished.

A missing file is no error: the record says what is missing.
"""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cnn_archs.config_keys import flatten
from cnn_archs.errors import ConfigError, DataError, escaped
from cnn_archs.report.run_recipe import cell_of_run, known_recipe, plain_experiment
from cnn_archs.report.runs import CellRecord, Collection, RunRecord
from cnn_archs.report.text import split_sizes
from cnn_archs.result_files import is_result, read_result
from cnn_archs.roles import common_outcome_differences, foreign_parts
from cnn_archs.run_dir import RESULT, RunDir
from cnn_archs.sweep_dir import SweepDir


class ForeignFile(DataError):
    """A file in the folder of a run is of another run."""


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


def find_records(
    path: Path, above: frozenset[Path] = frozenset()
) -> Iterator[Collection | CellRecord]:
    """Yield the record of a sweep, a workdir or a result file, or those inside any other folder.

    above: the folders that `path` was found in; a link to one of them is not followed.
    """
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
        within = above | {path.resolve()}
        for folder in filter(Path.is_dir, inner):
            if folder.resolve() not in within:
                yield from find_records(folder, within)
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
    recipes, configs = stated.get("recipes", {}), stated.get("configs", {})
    for name, (experiment, *overrides) in stated["cells"].items():
        runs = read_seeds(folder, name, stated["seeds"], configs.get(name, {}))
        changed = (*overrides, *stated.get("overrides", []))
        recipe = flatten(recipes.get(experiment, {})) or known_recipe(plain_experiment(experiment))
        cells.append(CellRecord(escaped(name), plain_experiment(experiment), changed, runs, recipe))
    return Collection(
        title=stated["title"],
        # What a sweep file says of its cells does not hold for cells that were changed.
        notes="" if stated.get("overrides") else stated.get("notes", ""),
        cells=cells,
        comparisons=[
            {key: escaped(text) for key, text in c.items()} for c in stated.get("comparisons", [])
        ],
        x=stated.get("x", ""),
        groups={
            escaped(group): list(map(escaped, names))
            for group, names in stated.get("groups", {}).items()
        },
        columns=stated.get("columns", []),
        reach=stated.get("reach", []),
        sweep=True,
    )


def read_seeds(
    folder: SweepDir, name: str, seeds: int, config: Mapping[str, Any]
) -> list[RunRecord]:
    """Read the runs of a cell; one that is not of this cell is left out, with the reason.

    config: that of the cell, {} if it is not known. Then it is that of the first run.
    """
    records: list[RunRecord] = []
    tested: RunRecord | None = None
    for run in folder.runs(name, seeds):
        seed = int(run.path.name.removeprefix("seed"))
        try:
            record = read_run(run)
            config = config or record.config
            if reason := not_of_cell(record, seed, config, tested):
                raise ForeignFile(reason)
        except ForeignFile as e:
            record = RunRecord(run.path, missing=f"left out: {e}")
        records.append(record)
        tested = tested or (record if record.result else None)
    return records


def not_of_cell(
    record: RunRecord, seed: int, config: Mapping[str, Any], tested: RunRecord | None
) -> str:
    """Return why a run is not of a cell with `config` and this seed, or "".

    tested: another run of the cell that has a result, if any.
    """
    made = record.config
    if "seed" in made and (made["seed"], made.get("seeds", 1)) != (seed, 1):
        return f"config.json is of seed {made['seed']}"
    if other := common_outcome_differences(made, config):
        return f"the run has another config than its cell ({', '.join(other)})"
    if not tested:
        return ""
    sizes, others = split_sizes(record.result), split_sizes(tested.result)
    for split in sorted(sizes.keys() & others.keys()):
        if sizes[split] != others[split]:
            return f"its {split} has {sizes[split]:,} images, that of the others {others[split]:,}"
    for split in sorted(record.digests.keys() & tested.digests.keys()):
        if record.digests[split] != tested.digests[split]:
            return f"its {split} images are not those of {tested.path.name}"
    return ""


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
        differing = [
            key
            for key in ("name", "dataset", "protocol", "steps", "epochs", "params")
            if first.result.get(key) != other.result.get(key)
        ]
        a, b = split_sizes(first.result), split_sizes(other.result)
        differing += [f"{split}.examples" for split in a if split in b and a[split] != b[split]]
        differing += common_outcome_differences(first.config, other.config)
        if differing:
            raise DataError(f"{pair} are not seeds of one cell: they differ in {differing[0]}")
        for seed in other.result["seeds"]:
            if seed in seen:
                raise DataError(f"{seen[seed]} and {other.path} both have seed {seed}")
            seen[seed] = other.path
    return dataclasses.replace(cell_of_run(first, name), runs=runs)


def read_result_file(path: Path) -> RunRecord:
    """Read a result file; one without seeds counts as one network with seed 0.

    It is of an ensemble, or of a method that draws no random numbers.
    """
    if not is_result(path):
        raise DataError(f"{path} is not a result: it has no protocol, dataset or test")
    result = read_result(path)
    if "seeds" not in result:
        result = {**result, "seeds": [0]}
    made = result.get("made", {})
    return RunRecord(path, result=result, config=made.get("config", {}), environment=made)


def read_run(folder: RunDir) -> RunRecord:
    """Read what is in the folder of a run, whether it is finished or not.

    Raises ForeignFile if a file in it is of another run.
    """
    if not folder.path.is_dir():
        return RunRecord(folder.path, missing="not started")
    metrics = folder.metrics()
    result = folder.result() if folder.has_result() else {}
    config = folder.saved_config() if folder.has_config() else {}
    if foreign := foreign_parts(config, result, (line["seed"] for line in metrics)):
        raise ForeignFile(f"{folder.path}: {foreign}; restore the run's own file or remove it")
    place, digests = folder.recorded_images()
    return RunRecord(
        path=folder.path,
        folder=place,
        digests=digests,
        missing="" if result else missing(folder, metrics),
        result=result,
        config=config,
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
