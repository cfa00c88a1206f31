"""What a report is of: runs, the cells that they belong to, and cells that are read together.

A cell is one network under one recipe, with any number of seeds. Of a sweep it is what the sweep
calls so; else it is a workdir or a result file.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cnn_archs.roles import changes_outcome


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """One workdir, or one result file: networks of one or more seeds.

    missing: why there is no result; then `result` is empty. metrics and diagnostics: lines.
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
    """experiment, overrides: as `train` takes them; empty where nobody knows them."""

    name: str
    experiment: str
    overrides: tuple[str, ...]
    runs: Sequence[RunRecord]

    @property
    def finished(self) -> list[RunRecord]:
        return [run for run in self.runs if run.result]

    def first(self, key: str) -> Any:
        """A value of the result that is the same for all seeds: name, params, ...; else None."""
        return next((run.result[key] for run in self.finished if key in run.result), None)

    @property
    def dataset(self) -> str:
        """Its name, "" where nothing tells it."""
        return self.first("dataset") or self.config.get("data", {}).get("name", "")

    @property
    def seeds(self) -> list[int]:
        """Of the networks that are trained to their end."""
        return sorted(seed for run in self.finished for seed in run.result.get("seeds", []))

    def values(self, metric: str) -> dict[int, float]:
        """{seed: value} of `split.name` of the results; empty where they have no such thing."""
        split, _, name = metric.partition(".")
        return {
            seed: value
            for run in self.finished
            for seed, value in zip(
                run.result.get("seeds", []), run.result.get(split, {}).get(name, []), strict=False
            )
        }

    def lines(self, split: str) -> dict[int, list[Mapping[str, Any]]]:
        """{seed: lines of metrics.jsonl of that split, by step}, finished runs or not."""
        found: dict[int, list[Mapping[str, Any]]] = {}
        for run in self.runs:
            for line in run.metrics:
                if line["split"] == split:
                    found.setdefault(line["seed"], []).append(line)
        return {seed: sorted(found[seed], key=lambda p: p["step"]) for seed in sorted(found)}

    @property
    def config(self) -> Mapping[str, Any]:
        return next((run.config for run in self.runs if run.config), {})

    @property
    def changed(self) -> list[str]:
        """The overrides that make it another recipe than the experiment's."""
        return [o for o in self.overrides if changes_outcome(o.partition("=")[0], self.config)]

    @property
    def depth(self) -> int | None:
        """The number of layers with weights, if the config has `blocks` or a VGG `column`."""
        model = self.config.get("model", {})
        if "blocks" in model and model.get("kind") in ("basic", "bottleneck"):
            return (2 if model["kind"] == "basic" else 3) * sum(model["blocks"]) + 2
        if "column" in model:
            from cnn_archs.models import vgg  # imports jax, which no other report needs

            column = model["column"]
            return vgg.depth_of(column) if column in vgg.TABLE_1 else None
        return None


@dataclasses.dataclass(frozen=True)
class Collection:
    """Cells that are read together: a sweep, or all else that the report is of."""

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
        return next((cell for cell in self.cells if cell.name == name), None)
