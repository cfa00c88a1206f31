"""The tables of a network's summary: of one network, or of two side by side."""

import dataclasses
import difflib
from collections.abc import Sequence
from typing import Any

from cnn_archs.models.summary import LayerSummary, totals
from cnn_archs.report.table import Table

LayerPair = tuple[LayerSummary | None, LayerSummary | None]
WORDS = (0, 1)  # columns of words; the others are numbers


def summary_document(
    name: str, image_shape: tuple[int, int, int], rows: Sequence[LayerSummary]
) -> dict[str, Any]:
    """Return the document that `summarize --format=json` prints."""
    layers = [
        {k: v for k, v in dataclasses.asdict(r).items() if (k, v) != ("branches", None)}
        for r in rows
    ]
    return {"name": name, "input": list(image_shape), **totals(rows), "layers": layers}


def format_tables(tables: Sequence[Table], form: str) -> str:
    """Format `tables` as aligned text, or as Markdown if form is "markdown"."""
    return "\n\n".join(t.markdown() if form == "markdown" else t.text() for t in tables)


def summary_tables(rows: Sequence[LayerSummary]) -> list[Table]:
    """Return a table with one row per layer, and one of the branches if any module has them."""
    head = ("layer", "type", "window", "output", "parameters", "multiply-adds", "bytes")
    lines = [
        (
            *(r.name, r.type, r.window, format_shape(r.out)),
            *(f"{r.params:,}", f"{r.macs:,}", f"{r.memory:,}"),
            *("?" if n is None else str(n) for n in (r.receptive_field, r.stride, r.offset)),
        )
        for r in rows
    ]
    sums = [f"{n:,}" for n in totals(rows).values()]
    lines.append(("total", "", "", "", *sums, "", "", ""))
    layers = Table((*head, "sees", "stride", "offset"), lines, WORDS)
    modules = [r for r in rows if r.branches]
    return [layers, branches_table(modules)] if modules else [layers]


def branches_table(modules: Sequence[LayerSummary]) -> Table:
    """Return the parameters and multiply-adds of each branch of the modules that have branches."""
    names = list(dict.fromkeys(name for r in modules for name in r.branches or {}))
    lines = []
    for r in modules:
        parts = r.branches or {}
        for i, what in enumerate(("parameters", "multiply-adds")):
            each = [f"{parts[name][i]:,}" if name in parts else "" for name in names]
            first = (r.name, what, format_shape(r.out)) if i == 0 else ("", what, "")
            lines.append((*first, *each, f"{sum(part[i] for part in parts.values()):,}"))
    return Table(("module", "", "output", *names, "sum"), lines, WORDS)


def comparison_table(a: Sequence[LayerSummary], b: Sequence[LayerSummary]) -> Table:
    """Return a table of networks A and B, with layers of the same name in one line.

    The ratio of a line is the multiply-adds of B divided by those of A.
    """
    heads = (f"{c} {name}" for name in "AB" for c in ("output", "parameters", "multiply-adds"))
    lines = []
    for x, y in match_layers(a, b):
        row = x or y
        assert row
        lines.append((row.name, row.type, *layer_cells(x), *layer_cells(y), mac_ratio(x, y)))
    x, y = (
        LayerSummary("total", "", (0, 0, 0), sums["params"], sums["macs"], memory=sums["memory"])
        for sums in (totals(a), totals(b))
    )
    lines.append(("total", "", "", *layer_cells(x)[1:], "", *layer_cells(y)[1:], mac_ratio(x, y)))
    return Table(("layer", "type", *heads, "ratio"), lines, WORDS)


def match_layers(a: Sequence[LayerSummary], b: Sequence[LayerSummary]) -> list[LayerPair]:
    """Return the rows in the order of both networks, with those of the same name side by side."""
    pairs: list[LayerPair] = []
    matcher = difflib.SequenceMatcher(None, [r.name for r in a], [r.name for r in b], False)
    for tag, a0, a1, b0, b1 in matcher.get_opcodes():
        if tag == "equal":
            pairs += zip(a[a0:a1], b[b0:b1], strict=True)
        else:
            pairs += [(x, None) for x in a[a0:a1]] + [(None, y) for y in b[b0:b1]]
    return pairs


def layer_cells(row: LayerSummary | None) -> tuple[str, str, str]:
    """Format output, parameters and multiply-adds of a row; empty cells without one."""
    return (format_shape(row.out), f"{row.params:,}", f"{row.macs:,}") if row else ("", "", "")


def mac_ratio(x: LayerSummary | None, y: LayerSummary | None) -> str:
    """Format the multiply-adds of y divided by those of x, if both have some."""
    return f"{y.macs / x.macs:.2f}" if x and y and x.macs else ""


def format_shape(out: Sequence[int]) -> str:
    """Format a shape as in `28x28x192`."""
    return "x".join(map(str, out))
