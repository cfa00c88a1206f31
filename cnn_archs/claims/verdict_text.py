"""Format verdicts: a table for a terminal, and the values for every other page."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from cnn_archs.claims.schema import Claims
from cnn_archs.claims.verdicts import STATUSES
from cnn_archs.report.table import Table

WIDEST = 28  # characters of a value in the table, at most


def format_verdicts(claims: Claims, found: Sequence[Mapping[str, Any]]) -> str:
    """Format one line per claim, then the missed claims with reasons, and what the others need."""
    heads = ("status", "claim", "source", "printed", "found")
    lines = [(f["status"], f["id"], f["source"], format_printed(f), format_found(f)) for f in found]
    counts = Counter(f["status"] for f in found)
    total = ", ".join(f"{counts[status]} {status}" for status in STATUSES)
    parts = (
        Table(heads, lines, words=(0, 1, 2)).text(),
        format_missed(found),
        format_needs(claims, found),
        f"{len(found)} claims: {total}; {len(claims.not_covered)} tables, figures and statements "
        "without a claim",
    )
    return "\n\n".join(filter(None, parts))


def format_missed(found: Sequence[Mapping[str, Any]]) -> str:
    """Format the missed claims, each with the amount by which, or the reason why, it is missed."""
    lines = [
        (f["id"], f.get("disputed") or format_value(f.get("missed_by", "found otherwise")))
        for f in found
        if f["status"] == "missed"
    ]
    return Table(("missed", "by or because"), lines, words=(0, 1)).text() if lines else ""


def format_needs(claims: Claims, found: Sequence[Mapping[str, Any]]) -> str:
    """Format how many claims are not run, grouped by what they need."""
    counts = Counter(f.get("needs", "") for f in found if f["status"] == "not run")
    otherwise = "a result: --format=json says of which experiment"
    lines = [(str(n), claims.needs.get(need, otherwise)) for need, n in counts.most_common()]
    return Table(("not run", "needs"), lines, words=(0, 1)).text() if lines else ""


def format_printed(found: Mapping[str, Any], widest: int = WIDEST) -> str:
    """Format the printed value with its unit."""
    value = format_value(found["value"], widest)
    return f"{value} {found['unit']}" if "unit" in found and value != "higher" else value


def format_value(value: Any, widest: int = WIDEST) -> str:
    """Format a value for the table, cut to `widest` characters."""
    if isinstance(value, bool) or not isinstance(value, int | float | list):
        said = str(value)
    elif isinstance(value, int):
        said = f"{value:,}"
    elif isinstance(value, float):
        said = f"{value:.7g}" if abs(value) < 1e4 else f"{value:,.0f}"
    else:
        nested = any(isinstance(v, list) for v in value)
        parts = [
            " ".join(map(format_value, v)) if isinstance(v, list) else format_value(v)
            for v in value
        ]
        said = ("; " if nested or "," in "".join(parts) else ", ").join(parts)
    return said if len(said) <= widest else said[: widest - 3] + "..."


def format_found(found: Mapping[str, Any]) -> str:
    """Format what was found, with standard deviation and number of networks, or with p."""
    if "found" not in found:
        return ""
    several = isinstance(found["found"], list)
    if "seeds" not in found or several:
        return format_value(found["found"])
    if "sign" in found:
        return format_seen(found)
    if "sd" in found:
        return f"{found['found']:.2f} ± {found['sd']:.2f} ({found['seeds']})"
    return f"{found['found']:+.3g}, p = {found['p']:.2g}"


def format_seen(found: Mapping[str, Any]) -> str:
    """Format what was found at a shorter length: the sign, the difference and its interval."""
    return (
        f"{found['sign']} at {found['length']}: {found['found']:+.2f}, 95 % interval "
        f"{found['low']:.2f} to {found['high']:.2f}, p = {found['p']:.2g}"
    )
