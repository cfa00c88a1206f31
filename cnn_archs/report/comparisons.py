"""Two things beside each other: a paper and ours, or two cells of a sweep."""

import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cnn_archs.report.printed_values import Printed
from cnn_archs.report.runs import Collection
from cnn_archs.report.statistics import Interval, difference_interval
from cnn_archs.report.table import Table
from cnn_archs.report.tables import NONE, is_error, label, shown


class Comparison(NamedTuple):
    """A statement of a sweep that one cell's mean is above another's.

    answer: `yes`, `no` or `open`; words: the same at length; numbers: what it is drawn from.
    """

    says: str
    answer: str
    words: str
    numbers: str


def comparisons(collection: Collection) -> list[Comparison]:
    return [compared(collection, stated) for stated in collection.comparisons]


def compared(collection: Collection, stated: Mapping[str, str]) -> Comparison:
    """Difference, 95 % interval, and whether the sign is sure."""
    names, metric = (stated["higher"], stated["lower"]), stated["metric"]
    cells = [collection.cell(name) for name in names]
    values = [cell.values(metric) if cell else {} for cell in cells]
    if not all(values):
        none = " and ".join(n for n, v in zip(names, values, strict=True) if not v)
        return Comparison(stated["says"], "open", f"Not known: there is no {metric} of {none}.", "")
    found = difference_interval(*values)
    unit = " points" if is_error(metric) else ""
    numbers = f"{label(metric)}, {names[0]} − {names[1]}: {signed(found.difference, metric)}{unit}"
    if found.low is None or found.high is None:
        numbers += f"; no interval, of {counted(found)}"
    else:
        low, high = signed(found.low, metric), signed(found.high, metric)
        numbers += f"; 95 % interval {low} to {high} ({found.kind}, {counted(found)})"
    return Comparison(stated["says"], *verdict(found), numbers)


def verdict(found: Interval) -> tuple[str, str]:
    """Of a statement that the difference is above 0: (answer, words)."""
    sign = "as stated" if found.difference > 0 else "the opposite of what is stated"
    if found.difference == 0:
        return "open", "There is no difference."
    if found.low is None:
        return "open", f"The sign is {sign}; without a second seed it cannot be significant."
    if not found.excludes_zero:
        return "open", f"The sign is {sign}, but not significant: the interval holds 0."
    answer = "yes" if found.difference > 0 else "no"
    return answer, f"{answer.capitalize()}: the sign is {sign}, and it is significant."


def counted(found: Interval) -> str:
    """`5 seeds`, or of each: `4 and 5 seeds`."""
    a, b = found.seeds
    return f"{a} seed{'s' * (a != 1)}" if a == b else f"{a} and {b} seeds"


def signed(value: float, metric: str) -> str:
    """A difference, with its sign; of errors in points."""
    text = f"{100 * value:+.2f}" if is_error(metric) else f"{value:+.4g}"
    return text.replace("-", "−")


def paper_and_ours(claims: Sequence[Printed]) -> Table:
    """Printed values beside ours; below a cell what of it, below a statement its source."""
    rows = []
    for claim in claims:
        ours = [c.values(claim.metric) for c in claim.cells]
        if not all(ours):
            continue
        two = len(ours) == 2
        printed, mean, away = (beside_difference if two else beside_mean)(claim, ours)
        names = " − ".join(c.name for c in claim.cells)
        recipe = f"changed: {', '.join(claim.changed)}" if claim.changed else "unchanged"
        if not all(c.experiment or c.config for c in claim.cells):
            recipe = "not known"
        what = f"{names}\n{label(claim.metric)}"
        rows.append((what, printed, mean, away, recipe, f"{claim.says}\n{claim.source}"))
    heads = ("network", "paper", "ours", "ours − paper", "recipe", "the paper says")
    caption = (
        "Errors in percent, differences in points: mean ± standard deviation (seeds). Where the "
        "experiment's recipe is changed, ours is not what the paper trained."
    )
    return Table(heads, rows, words=(0, 4, 5), caption=caption)


def beside_mean(claim: Printed, ours: Sequence[Mapping[int, float]]) -> tuple[str, str, str]:
    """(printed, ours, away) of one cell."""
    values, value = list(ours[0].values()), claim.value or 0.0
    number = f"{100 * value:.4g}" if is_error(claim.metric) else f"{value:.4g}"
    away = signed(statistics.fmean(values) - value, claim.metric)
    return f"{claim.bound} {number}".strip(), shown(values, claim.metric), away


def beside_difference(claim: Printed, ours: Sequence[Mapping[int, float]]) -> tuple[str, str, str]:
    """(printed, ours, away) of one cell less another."""
    found = difference_interval(*ours)
    mean = f"{signed(found.difference, claim.metric)} ({counted(found)})"
    if claim.value is None:
        return "above 0", mean, NONE
    away = signed(found.difference - claim.value, claim.metric)
    return signed(claim.value, claim.metric), mean, away
