"""The page of a report: one HTML file that contains everything and loads nothing."""

import base64
import hashlib
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
    setup,
    tables,
)
from cnn_archs.report.read_runs import read_collections
from cnn_archs.report.runs import Collection
from cnn_archs.report.svg import STYLES, Figure
from cnn_archs.report.table import Table
from cnn_archs.runtime.console import escaped_lines
from cnn_archs.runtime.files import write_errors, write_text

SCRIPT = Path(__file__).parent / "page.js"
# The line styles as SVG's stroke-dasharray, for the legends.
DASHES = ["none" if s == "-" else " ".join(str(2 * n) for n in s[1]) for s in STYLES]


class FilterImage(NamedTuple):
    """A picture of a cell's filters. data: a PNG as a data URI; says: its alternative text."""

    cell: str
    data: str
    says: str


class ReportSection(NamedTuple):
    """The parts of the page about one collection, in order; empty parts are left out."""

    collection: Collection
    summary: str
    setup: Table
    setup_sentences: Sequence[str]
    comparisons: Sequence[comparisons.Comparison]
    paper: Table
    results: Sequence[Table]
    epochs: Sequence[Table]
    reached: Table
    figures: Sequence[Figure]
    filters: Sequence[FilterImage]
    ran: Table
    versions: Sequence[str]
    missing: Table


def write_report(paths: Sequence[Path], output: Path) -> dict[str, Any]:
    """Write the page of `paths` to `output`; return its summary for `report --format=json`."""
    sections = [make_section(c) for c in read_collections(paths)]
    page = escaped_lines(render_page(sections))
    with write_errors(output):
        write_text(output, page)
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


def make_section(collection: Collection) -> ReportSection:
    """Draw all figures and make all tables of a collection."""
    claims = list(
        printed_values.find_printed_values(collection.cells, printed_values.read_claims_file())
    )
    drawn = (
        *learning_curves.error_figures(collection),
        learning_curves.warm_up_figure(collection),
        *scatter.size_figures(collection),
        *scatter.cost_figures(collection),
        layer_plots.responses_figure(collection),
        layer_plots.gradients_figure(collection),
        *layer_plots.robustness_figures(collection),
    )
    return ReportSection(
        collection=collection,
        summary=summary_sentence(collection),
        setup=setup.setup_table(collection),
        setup_sentences=setup.setup_sentences(collection),
        comparisons=comparisons.compare_cells(collection),
        paper=comparisons.paper_table(claims),
        results=list(tables.results_tables(collection)),
        epochs=list(tables.epochs_tables(collection)),
        reached=tables.reached_table(collection),
        figures=[figure for figure in drawn if figure],
        filters=list(filter_images(collection)),
        ran=tables.runs_table(collection),
        versions=tables.version_sentences(collection),
        missing=tables.missing_table(collection),
    )


def summary_sentence(collection: Collection) -> str:
    """Format how many cells and networks there are, and how many networks have no result."""
    cells = len(collection.cells)
    networks = sum(len(c.seeds) for c in collection.cells if c.first("seconds"))
    without = sum(bool(run.missing) for c in collection.cells for run in c.runs)
    said = f"{collection.datasets}: " if collection.datasets else ""
    said += f"{cells} cell{'s' * (cells != 1)}, {networks} trained network{'s' * (networks != 1)}"
    return f"{said}; {without} without a result, listed below." if without else f"{said}."


def filter_images(collection: Collection) -> Iterator[FilterImage]:
    """Yield the first-layer filters of each cell that has them, from its first such run."""
    for cell in collection.cells:
        data = next((run.filters for run in cell.runs if run.filters), b"")
        if data:
            encoded = base64.b64encode(data).decode()
            yield FilterImage(
                cell.name,
                f"data:image/png;base64,{encoded}",
                f"first-layer filters of {cell.name}",
            )


def render_page(sections: Sequence[ReportSection]) -> str:
    """Fill the template `page.html`. Its policy admits one script, `page.js`, by its digest."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    title = sections[0].collection.title if len(sections) == 1 else "Report of classic CNNs"
    script = SCRIPT.read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html").render(
        title=title, sections=sections, dashes=DASHES, script=script, digest=digest
    )
