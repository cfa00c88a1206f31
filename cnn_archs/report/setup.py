"""Describe how the cells of a report were trained, from the configs of their runs alone."""

from collections.abc import Sequence

from cnn_archs.config_files import split_argument
from cnn_archs.report.runs import CellRecord, Change, Collection, format_setting
from cnn_archs.report.table import Table

LENGTHS = {"epochs": "steps", "steps": "epochs"}  # one of the two is 0


def setup_table(collection: Collection) -> Table:
    """Tabulate the settings in which cells differ from the recipes of their experiments."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for cell in with_recipe(collection):
        for change in cell.changes:
            if change.key not in LENGTHS or change.value:
                row = (change.key, stated_value(change, cell), format_setting(change.value))
                found.setdefault(row, []).append(cell.name)
    every = len(collection.cells)
    rows = [
        (*row, f"all {every}" if len(names) == every > 1 else ", ".join(names))
        for row, names in found.items()
    ]
    heads = ("setting", "in the recipe", "here", "cells")
    caption = "Settings that differ from the recipe of the experiment, from the configs of the runs"
    return Table(heads, sorted(rows), words=(0, 1, 2, 3), caption=caption)


def stated_value(change: Change, cell: CellRecord) -> str:
    """Format the value in the recipe; a length is given there in epochs or in steps."""
    if change.stated is None:
        return "not stated"
    other = LENGTHS.get(change.key, "")
    if other and not change.stated and cell.recipe.get(other):
        return f"{cell.recipe[other]:,} {other}"
    return format_setting(change.stated)


def with_recipe(collection: Collection) -> list[CellRecord]:
    """List the cells whose config and recipe are both known."""
    return [cell for cell in collection.cells if cell.config and cell.recipe]


def setup_sentences(collection: Collection) -> list[str]:
    """State which cells have the recipes of their experiments, and what was held out.

    An experiment may itself be a short one, such as `alexnet_cifar10:quick`, so it is named.
    """
    known = with_recipe(collection)
    same = [cell for cell in known if not cell.changes]
    groups = {
        "No setting differs from the recipe": [cell for cell in same if not cell.unstated],
        "No setting differs from the recipe, as far as it is recorded": [
            cell for cell in same if cell.unstated
        ],
        "The recipe is not known": [cell for cell in collection.cells if cell not in known],
    }
    said = [f"{words}: {name_cells(cells)}." for words, cells in groups.items() if cells]
    return [*said, *selection_sentences(collection.cells)]


def name_cells(cells: Sequence[CellRecord]) -> str:
    """List the names of cells, as `name_cell` gives them."""
    return ", ".join(map(name_cell, cells))


def name_cell(cell: CellRecord) -> str:
    """Return the name of a cell, with its experiment if that is known and named otherwise."""
    if split_argument(cell.experiment)[0].endswith(".py"):
        return f"{cell.name} ({cell.experiment}, a file that is not one of this package's)"
    return (
        f"{cell.name} ({cell.experiment})" if cell.experiment not in ("", cell.name) else cell.name
    )


def selection_sentences(cells: Sequence[CellRecord]) -> list[str]:
    """State how many training images the cells use, and how many are held out to select epochs."""
    sections = [data for cell in cells if "holdout" in (data := cell.config.get("data", {}))]
    if not sections:
        return []
    held = {data["holdout"] for data in sections}
    used = {data.get("examples", 0) for data in sections}
    counts = " or ".join(f"{n:,}" if n else "all" for n in sorted(used))
    said = [] if used == {0} else [f"Of the training images {counts} are used, chosen by class."]
    if held == {0}:
        return [
            *said,
            "No training images are held out to choose an epoch: every error is that of the last "
            "epoch.",
        ]
    counts = " or ".join(f"{n:,}" if n else "none" for n in sorted(held))
    return [
        *said,
        f"Selection: {counts} of the training images are held out, by class; best epochs are "
        "chosen on them, never on test images.",
    ]
