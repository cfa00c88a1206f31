"""Two things beside each other: a paper and ours, or two cells of a sweep."""

import statistics
from collections.abc import Sequence

from cnn_archs.analysis.cells import Cell, Collection
from cnn_archs.analysis.intervals import Interval, interval
from cnn_archs.analysis.printed import Printed
from cnn_archs.analysis.tables import NONE, SPLITS, Table, is_error, label, shown


def paper_and_ours(claims: Sequence[Printed]) -> Table:
    """Printed values beside ours."""
    rows = []
    for claim in claims:
        ours = [c.values(claim.metric) for c in claim.cells]
        if not all(ours):
            continue
        if len(ours) == 2:
            found = interval(*ours)
            said = points(found.difference, claim.metric) + seeds_of(found)
            printed = "above 0" if claim.value is None else points(claim.value, claim.metric)
            away = NONE if claim.value is None else found.difference - claim.value
        else:
            values = list(ours[0].values())
            said, printed = shown(values, claim.metric), shown_printed(claim)
            away = statistics.fmean(values) - (claim.value or 0.0)
        beyond = away if isinstance(away, str) else points(away, claim.metric)
        recipe = "; ".join(dict.fromkeys(recipe_of(c) for c in claim.cells))
        names = " − ".join(c.name for c in claim.cells)
        split = SPLITS.get(claim.metric.partition(".")[0], claim.metric)
        rows.append((claim.says, claim.source, names, split, printed, said, beyond, recipe))
    heads = ("the paper says", "source", "ours", "split", "paper", "ours", "away", "recipe")
    caption = "Paper | ours, in percent: mean ± standard deviation (seeds)"
    return Table(caption, heads, rows, left=4, words=(7,))


def shown_printed(claim: Printed) -> str:
    value = claim.value or 0.0
    number = f"{100 * value:.4g}" if is_error(claim.metric) else f"{value:.4g}"
    return f"{claim.bound} {number}".strip()


def points(value: float, metric: str) -> str:
    """A difference, with its sign; of errors in points."""
    return f"{100 * value:+.2f}" if is_error(metric) else f"{value:+.4g}"


def seeds_of(found: Interval) -> str:
    a, b = found.seeds
    return f" ({a})" if a == b else f" ({a} and {b})"


def recipe_of(cell: Cell) -> str:
    """How the cell's recipe differs from its experiment's."""
    if not cell.experiment:
        return "not known"
    return "changed: " + ", ".join(cell.changed) if cell.changed else "as printed"


def comparisons(collection: Collection) -> Table:
    """Each statement of a sweep: difference, interval, and whether the sign is sure, in words."""
    rows = []
    for c in collection.comparisons:
        cells = [collection.cell(c[key]) for key in ("higher", "lower")]
        values = [cell.values(c["metric"]) if cell else {} for cell in cells]
        names = f"{c['higher']} − {c['lower']}"
        what = label(c["metric"])
        if not all(values):
            none = " and ".join(
                n for n, v in zip((c["higher"], c["lower"]), values, strict=True) if not v
            )
            rows.append((c["says"], names, what, NONE, NONE, f"not known: no result of {none}"))
            continue
        found = interval(*values)
        rows.append(
            (
                *(c["says"], names, what, points(found.difference, c["metric"])),
                *(between(found, c["metric"]), verdict(found)),
            )
        )
    heads = ("statement", "compared", "what", "difference", "95 % interval", "is it so?")
    caption = "Differences of means over seeds, errors in points"
    return Table(caption, heads, rows, left=3, words=(4, 5))


def between(found: Interval, metric: str) -> str:
    """`+0.12 to +0.34, paired (5)`."""
    if found.low is None or found.high is None:
        return "none: one seed"
    low, high = points(found.low, metric), points(found.high, metric)
    return f"{low} to {high}, {found.kind}{seeds_of(found)}"


def verdict(found: Interval) -> str:
    """Of a statement that the difference is above 0."""
    as_stated = found.difference > 0
    if found.difference == 0:
        return "no: there is no difference"
    if found.low is None:
        said = "as stated" if as_stated else "the opposite"
        return f"the sign is {said}; of one seed, it cannot be called significant"
    if found.sure:
        return (
            "yes: the sign is as stated, and significant"
            if as_stated
            else "no: the sign is the opposite, and significant"
        )
    said = "as stated" if as_stated else "the opposite of what is stated"
    return f"not sure: the sign is {said}, but not significant"
