"""The grid of a sweep: its cells and seeds, their states, and their merged results.

`sweep_file.py` loads a sweep. The state of a cell is read from its folder. Nothing here uses a
device.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cnn_archs import config as configs
from cnn_archs import roles
from cnn_archs.config_keys import unknown_message
from cnn_archs.errors import ConfigError, DataError, first_line
from cnn_archs.experiment import make_recipe
from cnn_archs.experiment_inputs import make_dataset
from cnn_archs.run_dir import Failure, RunDir
from cnn_archs.runtime.files import read_errors
from cnn_archs.sweep_dir import SweepDir
from cnn_archs.sweeps.sweep_file import check_metrics, check_overrides

MAX_TRIES = 2  # failed tries after which a cell is not tried again


class SweepCell(NamedTuple):
    """One cell of a sweep with one seed: a network to train.

    experiment, overrides: the source of `config`, which has the form of config.json; the seed is
    one of the overrides. run: the folder of the run. after: the evaluations to run after training.
    """

    name: str
    seed: int
    experiment: str
    overrides: tuple[str, ...]
    config: dict[str, Any]
    run: RunDir
    after: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name}/seed{self.seed}"

    def with_seed(self, seed: int) -> "SweepCell":
        """Return this cell with another seed."""
        keys = (*self.overrides, f"seed={seed}")
        config = configs.to_plain_dict(configs.load_config(self.experiment, list(keys)))
        run = SweepDir(self.run.path.parents[1]).run(self.name, seed)
        return self._replace(seed=seed, overrides=keys, config=config, run=run)

    def load_config(self) -> configs.Config:
        """Return the config as a locked Config, which `experiment.resolve` takes."""
        return configs.load_config(self.experiment, list(self.overrides))

    def is_done(self) -> bool:
        """Return whether the training and all evaluations after it are complete.

        Raises ConfigError if the folder holds a run of another config, DataError for a damaged
        file.
        """
        if not self.run.has_result() or not all(map(self.run.has_evaluation, self.after)):
            return False
        made = configs.to_plain_dict(self.run.config())
        roles.check_resumable(self.run.path, made, self.config)
        if foreign := roles.foreign_parts(self.run.saved_config(), self.run.result()):
            raise DataError(f"{self.run.path}: {foreign}; remove the file that is of another run")
        for name in self.after:
            self.run.evaluation(name)
        return all(made[key] == self.config[key] for key in ("steps", "epochs"))

    def failed_tries(self) -> int:
        """Return the number of consecutive failed tries."""
        failure = self.run.failure()
        return failure.get("tries", 0) if failure else 0

    def has_failed(self) -> bool:
        """Return whether the cell has failed MAX_TRIES times and is not tried again."""
        return self.failed_tries() >= MAX_TRIES

    def record_failure(self, error: str, code: int) -> None:
        """Record a failed try. code: the exit code of the process."""
        self.run.write_failure(Failure(error=error, code=code, tries=self.failed_tries() + 1))


def list_cells(
    sweep: Mapping[str, Any],
    folder: Path,
    overrides: Sequence[str] = (),
    only: Sequence[str] = (),
) -> list[SweepCell]:
    """List the cells of a sweep in `folder`, seed by seed, so that all cells have results early.

    overrides: applied to every cell, after its own. only: the names of the cells to list, in this
    order; empty: all. Raises ConfigError for an unknown or repeated name, a wrong config, and a
    metric of the sweep that its cells will not have.
    """
    if sweep["seeds"] < 1:
        raise ConfigError(f"--seeds={sweep['seeds']}: must be at least 1")
    for name in only:
        if name not in sweep["cells"]:
            raise ConfigError(unknown_message("--cells", name, list(sweep["cells"]), what="cell"))
        if only.count(name) > 1:
            raise ConfigError(f"--cells: {name} is named twice")
    check_overrides("--config", overrides)
    found = []
    for seed in range(sweep["seeds"]):
        for name in only or sweep["cells"]:
            experiment, *own = sweep["cells"][name]
            keys = (*own, *overrides, f"seed={seed}", "seeds=1")
            try:
                config = configs.to_plain_dict(configs.load_config(experiment, list(keys)))
            except ConfigError as e:
                raise ConfigError(f"cell {name}: {first_line(e)}") from e
            run, after = SweepDir(folder).run(name, seed), tuple(sweep.get("after", ()))
            found.append(SweepCell(name, seed, experiment, keys, config, run, after))
    check_metrics(sweep, {cell.name: cell.config for cell in found})
    return found


def sweep_record(
    stated: Mapping[str, Any], overrides: Sequence[str], found: Sequence[SweepCell], files: SweepDir
) -> dict[str, Any]:
    """Return the content of sweep.json: `stated`, and the configs of the cells that are `found`.

    The configs of other cells, from an earlier start with other `overrides`, are kept.
    """
    configured: dict[str, Any] = {}
    recipes: dict[str, Any] = {}
    if files.has_sweep():
        before = files.spec()
        configured, recipes = before.get("configs", {}), before.get("recipes", {})
    configured |= {cell.name: cell.config for cell in reversed(found)}
    recipes |= {e: plain_recipe(e) for e in sorted({cell.experiment for cell in found})}
    return {
        **stated,
        "overrides": list(overrides),
        "configs": {name: configured[name] for name in stated["cells"] if name in configured},
        "recipes": recipes,
    }


def plain_recipe(experiment: str) -> dict[str, Any]:
    """Return the config of an experiment without overrides; {} if it cannot be run without any."""
    try:
        return configs.to_plain_dict(configs.load_config(experiment, []))
    except ConfigError:
        return {}


def check_data(found: Iterable[SweepCell]) -> None:
    """Raise DataError or ConfigError if images of a cell, or the run it starts from, are missing.

    Equal datasets are looked for once; no image is read. The run may be one of the same sweep,
    which is still to be trained.
    """
    looked_for = set()
    for cell in found:
        data, start = cell.config["data"], cell.config["warm_start"]["workdir"]
        start = Path(start).expanduser().resolve() if start else None
        if start and not start.is_relative_to(cell.run.path.parents[1].resolve()):
            RunDir(start).check_run()
        if (key := (data["name"], data["data_dir"])) not in looked_for:
            looked_for.add(key)
            make_dataset(cell.load_config()).check_present()


def training_steps(cell: SweepCell) -> int | None:
    """Return the number of training steps of `cell`, or None if that needs a missing dataset."""
    config = cell.load_config()
    recipe = make_recipe(config)
    try:
        return recipe.steps or recipe.total_steps(make_dataset(config).training_images())
    except DataError:
        return None


def describe_progress(found: Sequence[SweepCell]) -> str:
    """Describe the progress of the seeds of one cell, such as "2 done, seed 2 at step 400"."""
    left = [cell for cell in found if not cell.is_done()]
    failed = sum(cell.has_failed() for cell in left)
    steps = [(cell.seed, cell.run.newest_step()) for cell in left]
    begun = [f"seed {seed} at step {step:,}" for seed, step in steps if step]
    done = len(found) - len(left)
    counts = [f"{n} {what}" for n, what in ((done, "done"), (failed, "failed")) if n]
    return ", ".join([*counts, *begun]) or "to do"


def group_by_program(found: Iterable[SweepCell], most: int) -> list[list[SweepCell]]:
    """Group cells that one program can train together, at most `most` in a group.

    Their datasets are in memory, and their configs have the same `roles.program_key`.
    """
    groups: dict[str, list[SweepCell]] = {}
    for cell in found:
        in_memory = make_dataset(cell.load_config()).in_memory
        key = roles.program_key(cell.config) if in_memory else str(cell)
        groups.setdefault(key, []).append(cell)
    return [group[i : i + most] for group in groups.values() for i in range(0, len(group), most)]


def group_by_step(found: Iterable[SweepCell]) -> list[list[SweepCell]]:
    """Group cells by the step of their newest checkpoint, from which a group resumes together."""
    groups: dict[int, list[SweepCell]] = {}
    for cell in found:
        groups.setdefault(cell.run.newest_step(), []).append(cell)
    return list(groups.values())


def concat_seeds(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return one result for all seeds of a cell, from the results of single runs.

    Lists are concatenated and seconds are summed; for `made` see `merge_provenance`. Raises
    ConfigError if the results differ in anything else that they must share, such as the steps.
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
                if columns.get("examples") != other[split].get("examples"):
                    raise ConfigError(
                        f"the seeds of one cell differ in the number of images of {split}: the "
                        "data has changed; remove the runs of one of both"
                    )
        for key in ("name", "dataset", "protocol", "steps", "params", "macs"):
            if other[key] != whole[key]:
                raise ConfigError(
                    f"the seeds of one cell differ in {key}: remove those of other runs"
                )
        made_of = [r["made"].get("data") for r in (first, other)]
        if all(made_of) and made_of[0] != made_of[1]:
            raise ConfigError(
                f"seeds {first['seeds'][0]} and {other['seeds'][0]} of one cell were trained on "
                "other images: remove the folder of one of them"
            )
    # Older results count compilation among the steps.
    whole["compile_seconds"] = sum(r.get("compile_seconds", 0.0) for r in results)
    images = sum(r["images_per_second"] * r["seconds"] for r in results)
    whole["images_per_second"] = images / whole["seconds"]
    whole["made"] = merge_provenance(results)
    return whole


def merge_provenance(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the `made` of a merged result: the config, all shared values, and `by_seed`.

    `by_seed` has the full `made` of each result, without its config but with its seconds, so no
    commit or version is lost. results: each of one run.
    """
    each = [{k: v for k, v in r["made"].items() if k != "config"} for r in results]
    shared = {k: v for k, v in each[0].items() if all(k in o and o[k] == v for o in each)}
    config = {**results[0]["made"]["config"], "seeds": sum(len(r["seeds"]) for r in results)}
    by_seed = [
        {"seed": r["seeds"][0], "seconds": r["seconds"], **made}
        for r, made in zip(results, each, strict=True)
    ]
    return {**shared, "config": config, "by_seed": by_seed}


def write_merged_results(sweep: SweepDir, found: Iterable[SweepCell]) -> dict[str, dict[str, Any]]:
    """Write CELL/result.json for each cell whose seeds are all done, and return {name: result}.

    Later seeds in the same folder that are done are merged too, so a sweep of fewer seeds does not
    remove the results of an earlier one with more.
    """
    by_name: dict[str, list[SweepCell]] = {}
    for cell in found:
        by_name.setdefault(cell.name, []).append(cell)
    whole = {}
    for name, seeds in by_name.items():
        if all(cell.is_done() for cell in seeds):
            seeds += later_seeds(seeds[-1])
            with read_errors(sweep.path / name):
                whole[name] = concat_seeds([cell.run.result() for cell in seeds])
            sweep.write_result(name, whole[name])
    return whole


def later_seeds(cell: SweepCell) -> Iterator[SweepCell]:
    """Yield the cells with the seeds after that of `cell`, until one is not done."""
    while (cell := cell.with_seed(cell.seed + 1)).is_done():
        yield cell
