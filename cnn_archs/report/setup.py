"""Describe how the cells of a report were trained, from the configs of their runs alone."""

from collections.abc import Sequence
from typing import Any

from cnn_archs.report.runs import CellRecord, Change, Collection
from cnn_archs.report.table import Table


def setup_table(collection: Collection) -> Table:
    """Tabulate the settings in which cells differ from the recipes of their experiments."""
    found: dict[str, tuple[Change, list[str]]] = {}
    for cell in with_recipe(collection):
        for change in cell.changes:
            found.setdefault(repr(change), (change, []))[1].append(cell.name)
    every = len(collection.cells)
    rows = [
        (
            change.key,
            "not stated" if change.stated is None else format_value(change.stated),
            format_value(change.value),
            f"all {every}" if len(names) == every > 1 else ", ".join(names),
        )
        for change, names in found.values()
    ]
    heads = ("setting", "in the recipe", "here", "cells")
    caption = "Settings that differ from the recipe of the experiment, from the configs of the runs"
    return Table(heads, rows, words=(0, 1, 2, 3), caption=caption)


def format_value(value: Any) -> str:
    """Format a value of a config; an empty text as two quotes."""
    return repr(value) if value == "" else str(value)


def with_recipe(collection: Collection) -> list[CellRecord]:
    """List the cells whose config and recipe are both known."""
    return [cell for cell in collection.cells if cell.config and cell.recipe]


def setup_sentences(collection: Collection) -> list[str]:
    """State which cells have the whole recipes of their experiments, and what was held out."""
    known = with_recipe(collection)
    whole = [cell.name for cell in known if not cell.changes]
    unknown = [cell.name for cell in collection.cells if cell not in known]
    said = []
    if collection.sweep and whole:
        one = collection.cells == known and len(whole) == len(known)
        said.append(
            "Nothing is reduced: every cell has the whole recipe of its experiment."
            if one
            else f"The whole recipe of their experiment have: {', '.join(whole)}."
        )
    if collection.sweep and unknown:
        said.append(f"Not known is the recipe of {', '.join(unknown)}.")
    return [*said, *selection_sentences(collection.cells)]


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
        return [*said, "Selection: none. Nothing is held out, and the last epoch is reported."]
    counts = " or ".join(f"{n:,}" if n else "none" for n in sorted(held))
    return [
        *said,
        f"Selection: {counts} of the training images are held out, by class; best epochs are "
        "chosen on them, never on test images.",
    ]
