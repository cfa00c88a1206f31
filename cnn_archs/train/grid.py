"""A sweep as a grid: a file names its cells; the folder of each cell and seed tells its state.

A sweep file has `get_sweep(argument)`, which returns a dict: `title`; `seeds`, how many of each
cell; `cells`, {name: [experiment, key=value, ...]}; `after`, evaluations in each finished folder
(`AFTER`); and what the report reads besides (see `experiments/sweeps/degradation.py`).
Nothing here touches a device.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cnn_archs import config as configs
from cnn_archs.errors import ConfigError, DataError, first_line
from cnn_archs.experiment import dataset_of, recipe_of
from cnn_archs.train.guard import write_json
from cnn_archs.train.loop import FREE

SWEEPS = configs.EXPERIMENTS / "sweeps"
AFTER = ("robustness",)
TRIES = 2  # of a cell, before it has failed
# Keys whose values can differ in networks that are trained together: they are not in the program.
TRACED = ("seed", "schedule.learning_rate")


class Cell(NamedTuple):
    """One network to train. name: of the cell in its sweep; after: evaluations when it is trained.

    experiment, overrides: what `config` comes from, the seed among them. config: as config.json
    holds it.
    """

    name: str
    seed: int
    experiment: str
    overrides: tuple[str, ...]
    config: dict[str, Any]
    workdir: Path
    after: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name}/seed{self.seed}"

    def of_seed(self, seed: int) -> "Cell":
        """Returns this cell with another seed."""
        keys = (*self.overrides, f"seed={seed}")
        config = configs.plain(configs.load(self.experiment, list(keys)))
        workdir = self.workdir.with_name(f"seed{seed}")
        return self._replace(seed=seed, overrides=keys, config=config, workdir=workdir)

    def loaded(self) -> Any:
        """The config as `resolve` and its parts take it."""
        return configs.load(self.experiment, list(self.overrides))

    @property
    def done(self) -> bool:
        """Is it trained, as long as its config says, and evaluated? ConfigError if with another."""
        if not all((self.workdir / f"{name}.json").is_file() for name in ("result", *self.after)):
            return False
        made, own = configs.plain(configs.read(self.workdir)), self.config
        changed = configs.differences(made, own)
        if set(changed) - FREE:
            raise ConfigError(
                f"{self.workdir} holds a run with another config ({', '.join(changed)}); use "
                "another --workdir or remove that one"
            )
        return all(made[key] == own[key] for key in ("steps", "epochs"))

    @property
    def step(self) -> int:
        """Of its newest checkpoint; 0 without one."""
        names = (p.name for p in (self.workdir / "checkpoints").glob("*"))
        return max((int(name) for name in names if name.isdigit()), default=0)

    @property
    def failure(self) -> dict[str, Any]:
        """{error, code, tries} of its last try, if that failed; else {}."""
        path = self.workdir / "failed.json"
        return read(path) if path.is_file() else {}

    @property
    def failed(self) -> bool:
        """Has it been tried often enough?"""
        return self.failure.get("tries", 0) >= TRIES

    def fail(self, error: str, code: int) -> None:
        """Notes that a try has failed."""
        tries = self.failure.get("tries", 0) + 1
        self.workdir.mkdir(parents=True, exist_ok=True)
        write_json(self.workdir / "failed.json", {"error": error, "code": code, "tries": tries})


def load(file: str) -> dict[str, Any]:
    """What the sweep `file`, NAME[:argument] or PATH.py[:argument], says, checked."""
    path, argument = configs.locate(file, SWEEPS, what="sweep")
    stated = configs.call(configs.module_at(path), argument, "get_sweep")
    for key in ("title", "seeds", "cells"):
        if key not in stated:
            raise ConfigError(f"--config: {path} says no {key}")
    for name in stated.get("after", ()):
        if name not in AFTER:
            raise ConfigError(configs.unknown(f"{path}: after", name, list(AFTER)))
    for name in stated["cells"]:
        if Path(name).name != name or name in (".", ".."):
            raise ConfigError(f"--config: {path}: {name!r} cannot be the name of a folder")
    return {**stated, "file": Path(path).stem + (f":{argument}" if argument else "")}


def cells(
    sweep: Mapping[str, Any],
    folder: Path,
    overrides: Sequence[str] = (),
    only: Sequence[str] = (),
) -> list[Cell]:
    """The cells of a sweep: the first seed of each first, so that a whole picture is there early.

    overrides: of every cell, after its own. only: the names of those that are wanted, in this
    order; empty: all. ConfigError for a name that the sweep does not have, or has twice.
    """
    if sweep["seeds"] < 1:
        raise ConfigError(f"--seeds={sweep['seeds']}: must be at least 1")
    for name in only:
        if name not in sweep["cells"]:
            raise ConfigError(configs.unknown("--cells", name, list(sweep["cells"]), what="cell"))
        if only.count(name) > 1:
            raise ConfigError(f"--cells: {name} is named twice")
    found = []
    for seed in range(sweep["seeds"]):
        for name in only or sweep["cells"]:
            experiment, *own = sweep["cells"][name]
            keys = (*own, *overrides, f"seed={seed}", "seeds=1")
            try:
                config = configs.plain(configs.load(experiment, list(keys)))
            except ConfigError as e:
                raise ConfigError(f"cell {name}: {first_line(e)}") from e
            workdir, after = folder / name / f"seed{seed}", tuple(sweep.get("after", ()))
            found.append(Cell(name, seed, experiment, keys, config, workdir, after))
    return found


def steps_of(cell: Cell) -> int | None:
    """How many the training of `cell` has; None where that takes data that is not there."""
    config = cell.loaded()
    recipe = recipe_of(config)
    try:
        return recipe.steps or recipe.total_steps(dataset_of(config).training_images())
    except DataError:
        return None


def states(found: Sequence[Cell]) -> str:
    """What has been done of the seeds of a cell, for a person."""
    done, failed = sum(c.done for c in found), sum(c.failed and not c.done for c in found)
    begun = [f"seed {c.seed} at step {c.step:,}" for c in found if c.step and not c.done]
    counts = [f"{n} {what}" for n, what in ((done, "done"), (failed, "failed")) if n]
    return ", ".join([*counts, *begun]) or "to do"


def alike(found: Iterable[Cell], most: int) -> list[list[Cell]]:
    """Those that are trained together, `most` at once: their configs differ in TRACED keys alone,
    and their images are on the devices."""
    groups: dict[str, list[Cell]] = {}
    for cell in found:
        tree = json.loads(json.dumps(cell.config))
        if not dataset_of(cell.loaded()).in_memory:
            tree["alone"] = str(cell)
        for key in TRACED:
            section, _, leaf = f".{key}".rpartition(".")
            (tree[section[1:]] if section else tree).pop(leaf, None)
        groups.setdefault(json.dumps(tree, sort_keys=True), []).append(cell)
    return [group[i : i + most] for group in groups.values() for i in range(0, len(group), most)]


def level(found: Iterable[Cell]) -> list[list[Cell]]:
    """Those at the same step: what is trained together goes on from one."""
    groups: dict[int, list[Cell]] = {}
    for cell in found:
        groups.setdefault(cell.step, []).append(cell)
    return list(groups.values())


def merged(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The result of all seeds of a cell, out of a result for each: lists one after another.

    Seconds are summed. `made` is what all have alike, and in `by_seed` what each has. What else
    differs is a mistake, and a ConfigError.
    """
    first, *others = results
    whole = json.loads(json.dumps(first))
    for other in others:
        whole["seeds"] += other["seeds"]
        whole["seconds"] += other["seconds"]
        for split, columns in whole.items():
            if isinstance(columns, dict) and "top1_error" in columns:
                for key, values in columns.items():
                    if isinstance(values, list):
                        values += other[split][key]
        for key in ("name", "dataset", "protocol", "steps", "params", "macs"):
            if other[key] != whole[key]:
                raise ConfigError(f"seeds of one cell differ in {key}: remove those of other runs")
    images = sum(r["images_per_second"] * r["seconds"] for r in results)
    whole["images_per_second"] = images / whole["seconds"]
    whole["made"] = made_of(results)
    return whole


def made_of(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The `made` of a merged result: config, all else that is alike, and `by_seed` what made each.

    results: of one run each. No run's commit, versions, cores or seconds are lost.
    """
    each = [{k: v for k, v in r["made"].items() if k != "config"} for r in results]
    alike = {k: v for k, v in each[0].items() if all(k in o and o[k] == v for o in each)}
    config = {**results[0]["made"]["config"], "seeds": sum(len(r["seeds"]) for r in results)}
    by_seed = [
        {"seed": r["seeds"][0], "seconds": r["seconds"], **made}
        for r, made in zip(results, each, strict=True)
    ]
    return {**alike, "config": config, "by_seed": by_seed}


def merge(found: Iterable[Cell]) -> dict[str, dict[str, Any]]:
    """Writes CELL/result.json, of all its seeds, where all are done -> {name: result}.

    Seeds that come after those in `found` are merged too where they are done: a sweep of fewer
    seeds takes nothing away from a longer one in the same folder.
    """
    by_name: dict[str, list[Cell]] = {}
    for cell in found:
        by_name.setdefault(cell.name, []).append(cell)
    whole = {}
    for name, seeds in by_name.items():
        if all(cell.done for cell in seeds):
            seeds += later(seeds[-1])
            whole[name] = merged([read(cell.workdir / "result.json") for cell in seeds])
            write_json(seeds[0].workdir.parent / "result.json", whole[name])
    return whole


def later(cell: Cell) -> Iterator[Cell]:
    """The seeds after `cell`'s that are done, up to the first that is not."""
    while (cell := cell.of_seed(cell.seed + 1)).done:
        yield cell


def read(path: Path) -> dict[str, Any]:
    """A JSON file; DataError where it is damaged."""
    try:
        return json.loads(path.read_text())
    except ValueError as e:
        raise DataError(f"{path} is damaged: {first_line(e)}") from e
