"""The page of a report: one HTML file, everything in it, nothing loaded."""

import base64
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from cnn_archs.report import (
    comparisons,
    layer_plots,
    learning_curves,
    printed_values,
    scatter,
    tables,
)
from cnn_archs.report.read_runs import collect
from cnn_archs.report.runs import Collection
from cnn_archs.report.svg import STYLES, Figure
from cnn_archs.report.table import Table
from cnn_archs.runtime.files import write_text

# Styles of lines in a legend, as SVG has them.
DASHES = ["none" if s == "-" else " ".join(str(2 * n) for n in s[1]) for s in STYLES]


class Image(NamedTuple):
    """A picture that a run left. data: of a PNG."""

    data: str
    says: str


class Section(NamedTuple):
    """What the page says of a collection, part by part; empty parts are left out."""

    collection: Collection
    summary: str
    comparisons: Sequence[comparisons.Comparison]
    paper: Table
    results: Sequence[Table]
    epochs: Table
    reached: Table
    selection: str
    figures: Sequence[Figure]
    filters: Sequence[Image]
    ran: Table
    versions: Sequence[str]
    missing: Table


def write(paths: Sequence[Path], output: Path) -> dict[str, Any]:
    """Writes the page of `paths` -> what it is of, for `report --format=json`."""
    sections = [section(c) for c in collect(paths)]
    write_text(output, rendered(sections))
    return {
        "file": str(output),
        "sections": [
            {
                "title": s.collection.title,
                "cells": [c.name for c in s.collection.cells],
                "finished": sum(len(c.seeds) for c in s.collection.cells),
                "missing": len(s.missing.rows),
                "figures": [f.title for f in s.figures],
            }
            for s in sections
        ],
    }


def section(collection: Collection) -> Section:
    claims = list(printed_values.printed(collection.cells, printed_values.load()))
    drawn = (
        *learning_curves.curves(collection),
        *(learning_curves.warm_up(collection), scatter.against(collection)),
        *scatter.costs(collection),
        *(
            layer_plots.responses(collection),
            layer_plots.gradients(collection),
            layer_plots.robustness(collection),
        ),
    )
    return Section(
        collection=collection,
        summary=summary(collection),
        comparisons=comparisons.comparisons(collection),
        paper=comparisons.paper_and_ours(claims),
        results=list(tables.results(collection)),
        epochs=tables.epochs(collection),
        reached=tables.reached(collection),
        selection=tables.selection(collection),
        figures=[figure for figure in drawn if figure],
        filters=list(filters(collection)),
        ran=tables.ran(collection),
        versions=tables.versions(collection),
        missing=tables.missing(collection),
    )


def summary(collection: Collection) -> str:
    """How many networks there are, and how many are missing."""
    cells = len(collection.cells)
    networks = sum(len(c.seeds) for c in collection.cells if c.first("seconds"))
    without = sum(bool(run.missing) for c in collection.cells for run in c.runs)
    said = f"{cells} cell{'s' * (cells != 1)}, {networks} trained network{'s' * (networks != 1)}"
    return f"{said}; {without} without a result, listed below." if without else f"{said}."


def filters(collection: Collection) -> Iterator[Image]:
    """The first layer's filters, of the first run of each cell that has them."""
    for cell in collection.cells:
        data = next((run.filters for run in cell.runs if run.filters), b"")
        if data:
            encoded = base64.b64encode(data).decode()
            yield Image(f"data:image/png;base64,{encoded}", f"first-layer filters of {cell.name}")


def rendered(sections: Sequence[Section]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    title = sections[0].collection.title if len(sections) == 1 else "Report of classic CNNs"
    return environment.get_template("page.html").render(
        title=title, sections=sections, dashes=DASHES
    )
