"""Compare means: a paper's value with ours, or two cells of a sweep."""

import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cnn_archs.report.printed_values import PrintedValue
from cnn_archs.report.runs import Collection
from cnn_archs.report.statistics import Interval, difference_interval
from cnn_archs.report.table import Table
from cnn_archs.report.tables import NO_VALUE, format_values, is_error, metric_label


class Comparison(NamedTuple):
    """A sweep's statement that one cell's mean is above another's, and what was found.

    answer: `yes`, `no` or `open`. words: the answer as a sentence. numbers: the difference and its
    interval.
    """

    says: str
    answer: str
    words: str
    numbers: str


def compare_cells(collection: Collection) -> list[Comparison]:
    """Check every comparison that the sweep states."""
    return [compare_pair(collection, stated) for stated in collection.comparisons]


def compare_pair(collection: Collection, stated: Mapping[str, str]) -> Comparison:
    """Check one statement by the difference of means and its 95 % interval."""
    names, metric = (stated["higher"], stated["lower"]), stated["metric"]
    cells = [collection.cell(name) for name in names]
    values = [cell.values(metric) if cell else {} for cell in cells]
    if not all(values):
        none = " and ".join(n for n, v in zip(names, values, strict=True) if not v)
        return Comparison(stated["says"], "open", f"Not known: there is no {metric} of {none}.", "")
    of = [cell.measured(metric.partition(".")[0]) for cell in cells if cell]
    if of[0] != of[1]:
        words = f"Not comparable: {names[0]} is tested on {of[0]}; {names[1]} on {of[1]}."
        return Comparison(stated["says"], "open", words, "")
    found = difference_interval(*values)
    unit = " points" if is_error(metric) else ""
    difference = format_difference(found.difference, metric)
    numbers = f"{metric_label(metric)}, {names[0]} − {names[1]}: {difference}{unit}"
    if found.low is None or found.high is None:
        numbers += f"; no interval, of {format_seed_counts(found)}"
    else:
        unsure = min(found.seeds) == 2 and not found.excludes_zero
        few = "; two seeds are too few for a narrow one" if unsure else ""
        low, high = format_difference(found.low, metric), format_difference(found.high, metric)
        numbers += (
            f"; 95 % interval {low} to {high} ({found.kind}, {format_seed_counts(found)}{few})"
        )
    return Comparison(stated["says"], *conclusion(found), numbers)


def conclusion(found: Interval) -> tuple[str, str]:
    """Return (answer, words) for the statement that the difference is above 0."""
    sign = "as stated" if found.difference > 0 else "the opposite of what is stated"
    if found.difference == 0:
        return "open", "There is no difference."
    if found.low is None:
        return "open", f"The sign is {sign}; without a second seed it cannot be significant."
    if not found.excludes_zero and min(found.seeds) == 2:
        return "open", f"The sign is {sign}; two seeds are too few to tell it from chance."
    if not found.excludes_zero:
        return "open", f"The sign is {sign}, but not significant: the interval holds 0."
    answer = "yes" if found.difference > 0 else "no"
    return answer, f"{answer.capitalize()}: the sign is {sign}, and it is significant."


def format_seed_counts(found: Interval) -> str:
    """Format `5 seeds`, or `4 and 5 seeds` if two networks have different numbers."""
    a, b = found.seeds
    return f"{a} seed{'s' * (a != 1)}" if a == b else f"{a} and {b} seeds"


def format_difference(value: float, metric: str) -> str:
    """Format a difference with its sign; differences of errors are in percentage points."""
    text = f"{100 * value:+.2f}" if is_error(metric) else f"{value:+.4g}"
    return text.replace("-", "−")


def paper_table(claims: Sequence[PrintedValue]) -> Table:
    """Tabulate printed values beside ours.

    The second line of a cell is in smaller print: the metric below the network, the source below
    the statement.
    """
    rows = []
    for claim in claims:
        ours = [c.values(claim.metric) for c in claim.cells]
        if not all(ours):
            continue
        two = len(ours) == 2
        split = claim.metric.partition(".")[0]
        if two and len({cell.measured(split) for cell in claim.cells}) > 1:
            continue
        printed, mean, away = (beside_difference if two else beside_mean)(claim, ours)
        names = " − ".join(c.name for c in claim.cells)
        recipe = f"changed: {', '.join(claim.changed)}" if claim.changed else "unchanged"
        if not all(c.experiment or c.config for c in claim.cells):
            recipe = "not known"
        what = f"{names}\n{metric_label(claim.metric)}"
        rows.append((what, printed, mean, away, recipe, f"{claim.says}\n{claim.source}"))
    heads = ("network", "paper", "ours", "ours − paper", "recipe", "the paper says")
    caption = (
        "Errors in percent, differences in points: mean ± standard deviation (seeds). Where the "
        "experiment's recipe is changed, ours is not what the paper trained."
    )
    return Table(heads, rows, words=(0, 4, 5), caption=caption)


def beside_mean(claim: PrintedValue, ours: Sequence[Mapping[int, float]]) -> tuple[str, str, str]:
    """Format (printed, ours, ours minus printed) for one cell."""
    values, value = list(ours[0].values()), claim.value or 0.0
    number = f"{100 * value:.4g}" if is_error(claim.metric) else f"{value:.4g}"
    away = format_difference(statistics.fmean(values) - value, claim.metric)
    return f"{claim.bound} {number}".strip(), format_values(values, claim.metric), away


def beside_difference(
    claim: PrintedValue, ours: Sequence[Mapping[int, float]]
) -> tuple[str, str, str]:
    """Format (printed, ours, ours minus printed) for the difference of two cells."""
    found = difference_interval(*ours)
    mean = f"{format_difference(found.difference, claim.metric)} ({format_seed_counts(found)})"
    if claim.value is None:
        return "above 0", mean, NO_VALUE
    away = format_difference(found.difference - claim.value, claim.metric)
    return format_difference(claim.value, claim.metric), mean, away
