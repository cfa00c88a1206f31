"""The records of a report: runs, cells of runs, and collections of cells.

A cell is one network under one recipe, with any number of seeds: a cell of a sweep, or a single
workdir or result file.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cnn_archs.config_keys import flatten
from cnn_archs.report.text import format_protocol
from cnn_archs.roles import changes_outcome

ALL = "all training images"


class Measured(NamedTuple):
    """The images and the protocol that an error was measured with.

    A report compares and averages only errors of one kind.

    images: the dataset and the size of its images. protocol: how the network was tested. examples:
    the number of images, 0 for training images, of which cells may use some. digest: of the images
    of a folder, "" if it is not known. imported: whether the weights are those of a file, not
    trained further.
    """

    images: str
    protocol: str
    examples: int
    digest: str
    imported: bool = False

    def __str__(self) -> str:
        counted = f", {self.examples:,} images" if self.examples else ""
        marked = f" (digest {self.digest[:8]})" if self.digest else ""
        origin = ", imported weights" if self.imported else ""
        return f"{self.images}, {self.protocol}{counted}{marked}{origin}"


class Change(NamedTuple):
    """A setting of a cell that its experiment's recipe has otherwise.

    stated: the value in the recipe, or None if the recipe does not state one.
    """

    key: str
    stated: Any
    value: Any


def format_setting(value: Any) -> str:
    """Format a value of a config as one writes it in a flag; an empty text as two quotes."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"({','.join(map(format_setting, value))}{',' * (len(value) == 1)})"
    return '""' if value == "" else str(value)


def depth_of(model: Mapping[str, Any]) -> int | None:
    """Return the number of layers with weights of a section `model`, or None; see `depth`."""
    if "blocks" in model and model.get("kind") in ("basic", "bottleneck"):
        return (2 if model["kind"] == "basic" else 3) * sum(model["blocks"]) + 2
    if "column" in model:
        from cnn_archs.models import vgg  # here, since it imports jax

        column = model["column"]
        return vgg.depth_of(column) if column in vgg.TABLE_1 else None
    return None


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """One workdir or one result file, with one or more seeds.

    missing: why there is no result; `result` is then empty. metrics, diagnostics: the lines of
    these files. folder, digests: where its images were, and {split: digest of them}, if recorded.
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
    folder: str = ""
    digests: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class CellRecord:
    """One cell.

    experiment, overrides: as given to `train`; empty if they are not known. recipe: the config of
    the experiment without overrides, as {section.key: value}; empty if it is not known.
    """

    name: str
    experiment: str
    overrides: tuple[str, ...]
    runs: Sequence[RunRecord]
    recipe: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def finished(self) -> list[RunRecord]:
        """The runs that have a result."""
        return [run for run in self.runs if run.result]

    def first(self, key: str) -> Any:
        """Return a value that all results share, such as name or params; None if none has it."""
        return next((run.result[key] for run in self.finished if key in run.result), None)

    @property
    def dataset(self) -> str:
        """The name of the dataset, with the folder if it is one of images; "" if not known."""
        data = self.config.get("data", {})
        name = str(self.first("dataset") or data.get("name", ""))
        if name != "image_folder":
            return name
        folder = next((run.folder for run in self.runs if run.folder), data.get("data_dir"))
        return f"{name} in {folder}"

    @property
    def images(self) -> str:
        """The dataset and, unless its images are used as they are stored, their size."""
        data = self.config.get("data", {})
        shape, downsample = data.get("image_shape") or [0], data.get("downsample", 1)
        size = f", images of {'x'.join(map(str, shape))}" if any(shape) else ""
        return self.dataset + size + (f", {downsample} times smaller" if downsample > 1 else "")

    @property
    def training_images(self) -> str:
        """Return the number of training images the cell is trained on, from its config."""
        if not (data := self.config.get("data", {})):
            return "training images that are not recorded"
        held, used = data.get("holdout", 0), data.get("examples", 0)
        if used:
            return f"{used:,} training images"
        return f"all but {held:,} training images" if held else ALL

    def measured(self, split: str) -> Measured | None:
        """Return what the errors on a split are errors of; None if the cell has no result."""
        if not self.finished:
            return None
        result = self.finished[0].result
        tested = format_protocol(result)
        if members := result.get("members"):
            tested += f", ensembles of {len(members)}"
        trained_on = split.startswith("train")
        examples = 0 if trained_on else result.get(split, {}).get("examples", 0)
        digests = self.finished[0].digests if "image_folder" in self.dataset else {}
        digest = digests.get("train" if trained_on else split.removesuffix("_average"), "")
        imported = "imported" in result.get("made", {}) and not result.get("steps")
        return Measured(self.images, tested, examples, digest, imported)

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
        """The settings, as `key=value`, that change the outcome of the experiment's recipe.

        Without a config they are the overrides.
        """
        if self.config:
            return [f"{change.key}={format_setting(change.value)}" for change in self.changes]
        return [o for o in self.overrides if changes_outcome(o.partition("=")[0], self.config)]

    @property
    def changes(self) -> list[Change]:
        """The settings of the config that change the outcome of the experiment's recipe.

        A recipe may lack fields of the model, which then have their defaults; of these, the ones
        that an override names count.
        """
        config = flatten(self.config)
        named = {override.partition("=")[0] for override in self.overrides}
        return [
            Change(key, self.recipe.get(key), value)
            for key, value in config.items()
            if changes_outcome(key, self.config)
            and (
                self.recipe[key] != value
                if key in self.recipe
                else key in named or not key.startswith("model.")
            )
        ]

    @property
    def unstated(self) -> bool:
        """Return True if the recipe lacks settings of the config: it is known in part only."""
        keys = flatten(self.config)
        return any(k not in self.recipe and changes_outcome(k, self.config) for k in keys)

    @property
    def depth(self) -> int | None:
        """The number of layers with weights, or None.

        It is known if the config has `blocks`, or the `column` of a VGG.
        """
        return depth_of(self.config.get("model", {}))


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

    @property
    def datasets(self) -> str:
        """The names of the datasets of all cells."""
        return " and ".join(dict.fromkeys(cell.dataset for cell in self.cells if cell.dataset))

    def by_measured(self, split: str) -> dict[Measured, list[CellRecord]]:
        """Group the cells that have results by what their errors on `split` are errors of."""
        alike: dict[Measured, list[CellRecord]] = {}
        for cell in self.cells:
            if measured := cell.measured(split):
                alike.setdefault(measured, []).append(cell)
        return alike

    def cell(self, name: str) -> CellRecord | None:
        """Return the cell of that name, or None."""
        return next((cell for cell in self.cells if cell.name == name), None)
