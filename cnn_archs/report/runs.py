"""The records of a report: runs, cells of runs, and collections of cells.

A cell is one network under one recipe, with any number of seeds: a cell of a sweep, or a single
workdir or result file.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cnn_archs.roles import changes_outcome


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """One workdir or one result file, with one or more seeds.

    missing: why there is no result; `result` is then empty. metrics, diagnostics: the lines of
    these files.
    """

    path: Path
    missing: str = ""
    result: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    environment: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    metrics: Sequence[Mapping[str, Any]] = ()
    diagnostics: Sequence[Mapping[str, Any]] = ()
    robustness: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    filters: bytes = b""


@dataclasses.dataclass(frozen=True)
class CellRecord:
    """One cell. experiment, overrides: as given to `train`; empty if they are not known."""

    name: str
    experiment: str
    overrides: tuple[str, ...]
    runs: Sequence[RunRecord]

    @property
    def finished(self) -> list[RunRecord]:
        """The runs that have a result."""
        return [run for run in self.runs if run.result]

    def first(self, key: str) -> Any:
        """Return a value that all results share, such as name or params; None if none has it."""
        return next((run.result[key] for run in self.finished if key in run.result), None)

    @property
    def dataset(self) -> str:
        """The name of the dataset, or "" if it is not known."""
        return self.first("dataset") or self.config.get("data", {}).get("name", "")

    @property
    def seeds(self) -> list[int]:
        """The seeds that are trained to their end, sorted."""
        return sorted(seed for run in self.finished for seed in run.result.get("seeds", []))

    def values(self, metric: str) -> dict[int, float]:
        """Return {seed: value} of a metric `split.name`; {} if the results lack it."""
        split, _, name = metric.partition(".")
        return {
            seed: value
            for run in self.finished
            for seed, value in zip(
                run.result.get("seeds", []), run.result.get(split, {}).get(name, []), strict=False
            )
        }

    def lines(self, split: str) -> dict[int, list[Mapping[str, Any]]]:
        """Return {seed: lines of a split in metrics.jsonl, ordered by step}.

        Unfinished runs are included.
        """
        found: dict[int, list[Mapping[str, Any]]] = {}
        for run in self.runs:
            for line in run.metrics:
                if line["split"] == split:
                    found.setdefault(line["seed"], []).append(line)
        return {seed: sorted(found[seed], key=lambda p: p["step"]) for seed in sorted(found)}

    @property
    def config(self) -> Mapping[str, Any]:
        """The config of the first run that has one, or {}."""
        return next((run.config for run in self.runs if run.config), {})

    @property
    def changed(self) -> list[str]:
        """The overrides that change the outcome of the experiment's recipe."""
        return [o for o in self.overrides if changes_outcome(o.partition("=")[0], self.config)]

    @property
    def depth(self) -> int | None:
        """The number of layers with weights, or None.

        It is known if the config has `blocks`, or the `column` of a VGG.
        """
        model = self.config.get("model", {})
        if "blocks" in model and model.get("kind") in ("basic", "bottleneck"):
            return (2 if model["kind"] == "basic" else 3) * sum(model["blocks"]) + 2
        if "column" in model:
            from cnn_archs.models import vgg  # here, since it imports jax

            column = model["column"]
            return vgg.depth_of(column) if column in vgg.TABLE_1 else None
        return None


@dataclasses.dataclass(frozen=True)
class Collection:
    """Cells that are shown together: a sweep, or all other runs on one dataset."""

    title: str
    notes: str
    cells: Sequence[CellRecord]
    comparisons: Sequence[Mapping[str, str]] = ()
    x: str = ""
    groups: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    columns: Sequence[str] = ()
    reach: Sequence[Mapping[str, Any]] = ()
    sweep: bool = False

    def cell(self, name: str) -> CellRecord | None:
        """Return the cell of that name, or None."""
        return next((cell for cell in self.cells if cell.name == name), None)
