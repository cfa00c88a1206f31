"""Read and write the files in the folder of a sweep, and find the folders of its runs."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from cnn_archs.config_keys import rename_old_keys, rename_old_override
from cnn_archs.errors import DataError
from cnn_archs.run_dir import RESULT, RunDir
from cnn_archs.runtime.files import lock, write_json
from cnn_archs.runtime.json_files import NUMBER, read_json

SPEC = {
    **{"title": str, "notes?": str, "x?": str, "seeds": int, "cells": {...: [str]}},
    **{"overrides?": [str], "columns?": [str], "groups?": {...: [str]}},
    **{"configs?": {...: dict}, "recipes?": {...: dict}},
    "comparisons?": [{"says": str, "higher": str, "lower": str, "metric": str}],
    "reach?": [{"metric": str, "level": NUMBER}],
}


class SweepSpec(TypedDict):
    """The content of sweep.json: a sweep file, and what its cells were made of.

    cells: {name: [experiment, key=value, ...]}. overrides: of the last start. configs: the config
    of each cell that was started, for its first seed, by name. recipes: the config of each
    experiment without overrides.
    """

    title: str
    seeds: int
    cells: dict[str, list[str]]
    overrides: NotRequired[list[str]]
    notes: NotRequired[str]
    comparisons: NotRequired[list[dict[str, str]]]
    x: NotRequired[str]
    groups: NotRequired[dict[str, list[str]]]
    columns: NotRequired[list[str]]
    reach: NotRequired[list[dict[str, Any]]]
    configs: NotRequired[dict[str, dict[str, Any]]]
    recipes: NotRequired[dict[str, dict[str, Any]]]


@dataclass(frozen=True)
class SweepDir:
    """The folder of a sweep. CELL/seedN in it is the RunDir of one seed of a cell."""

    path: Path

    @property
    def _spec_file(self) -> Path:
        return self.path / "sweep.json"

    def run(self, cell: str, seed: int) -> RunDir:
        """Return the folder of one seed of a cell."""
        return RunDir(self.path / cell / f"seed{seed}")

    def runs(self, cell: str, seeds: int) -> list[RunDir]:
        """Return the runs of the first `seeds` seeds of a cell, and of all others with a folder."""
        present = [path.name.removeprefix("seed") for path in (self.path / cell).glob("seed*")]
        every = {*range(seeds), *(int(seed) for seed in present if seed.isdecimal())}
        return [self.run(cell, seed) for seed in sorted(every)]

    def has_sweep(self) -> bool:
        return self._spec_file.is_file()

    def spec(self) -> SweepSpec:
        """Return the sweep file as it was saved, with renamed config keys updated."""
        stated = read_json(self._spec_file, SPEC)
        for name, cell in stated["cells"].items():
            if not cell:
                raise DataError(f"{self._spec_file} is damaged: the cell {name} has no experiment")
            stated["cells"][name] = list(map(rename_old_override, cell))
        for key in ("configs", "recipes"):
            stated[key] = {n: rename_old_keys(c) for n, c in stated.get(key, {}).items()}
        stated["overrides"] = list(map(rename_old_override, stated.get("overrides", [])))
        return cast(SweepSpec, stated)

    def write_spec(self, stated: Mapping[str, Any]) -> None:
        write_json(self._spec_file, stated)

    def write_result(self, cell: str, result: Mapping[str, Any]) -> None:
        """Write the result of all seeds of a cell."""
        write_json(self.path / cell / RESULT, result)

    def result_files(self) -> list[Path]:
        """List the result files of single seeds."""
        return sorted(self.path.glob(f"*/*/{RESULT}"))

    def lock(self, part: int, parts: int) -> AbstractContextManager[None]:
        """Hold the lock of one of the `parts` of this sweep. Raises ConfigError if it is taken."""
        return lock(self.path / part_lock_name(part, parts))

    def other_locks(self, parts: int) -> list[Path]:
        """List the lock files of processes that divide this sweep into another number of parts."""
        found = self.path.glob(part_lock_name("*", "*"))
        return [path for path in found if not path.match(part_lock_name("*", parts))]


def part_lock_name(part: int | str, parts: int | str) -> str:
    """Return the name of the lock file of a part of a sweep. "*" matches any number."""
    return f"part{part}of{parts}.lock"
