"""Write RESULTS.md: the papers' statements and what was found, then all results, in Markdown."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cnn_archs.claims.schema import Claims
from cnn_archs.claims.verdicts import STATUSES, format_found, format_printed, format_value
from cnn_archs.report import tables
from cnn_archs.report.printed_values import short_reference
from cnn_archs.report.read_runs import find_records, group_by_dataset
from cnn_archs.report.runs import Collection
from cnn_archs.report.table import Table

Verdicts = Sequence[Mapping[str, Any]]  # as verdicts.evaluate_claims returns them

HEAD = """\
# Results

Written by `cnn-archs claims --format=markdown > RESULTS.md`, and not by hand: `make test` fails
where it is not what that command prints. Statements are those of
[experiments/claims.toml](experiments/claims.toml), which says with each how it is checked.

*Exact*: computed now, and as printed. *Reproduced*: the mean of three networks or more is within a
tolerance that was fixed before the run, or one network's error is above another's by Welch's test
at 5 %. *Missed*: neither. *Not run*: there is no such result, or none of the whole recipe."""
HEADS = ("statement", "source", "printed", "ours", "status")
WIDEST_IN_PAGE = 100  # characters of a value, at most


def results_markdown(stated: Claims, found: Verdicts, results: Path) -> str:
    """Return the whole page. results: the folder whose result tables end the page."""
    parts = [HEAD, counts_table(stated, found)]
    for key, paper in stated.papers.items():
        rows = [claim_row(f) for f in found if f["paper"] == key]
        if rows:
            parts += [
                f"## {paper}",
                words_table(("statement", "source", "printed", "ours", "status"), rows),
            ]
    parts += list(missed_section(stated, found))
    parts += list(not_run_section(stated, found))
    parts += list(not_covered_section(stated))
    parts += list(runs_section(results))
    return "\n\n".join(parts)


def counts_table(stated: Claims, found: Verdicts) -> str:
    """Tabulate the number of claims by paper and status, with their sums."""
    of_papers = Counter((f["paper"], f["status"]) for f in found)
    gaps = Counter(gap["paper"] for gap in stated.not_covered)
    rows = [
        (paper, *(str(of_papers[key, status]) for status in STATUSES), str(gaps[key]))
        for key, paper in stated.papers.items()
    ]
    totals = Counter(f["status"] for f in found)
    sums = [str(totals[status]) for status in STATUSES]
    rows.append((f"all: {len(found)} statements", *sums, str(len(stated.not_covered))))
    return Table(("paper", *STATUSES, "without a claim"), rows).markdown()


def words_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a Markdown table whose columns are all flush left."""
    return Table(heads, rows, words=range(len(heads))).markdown()


def claim_row(f: Mapping[str, Any]) -> tuple[str, ...]:
    """Format one claim as a row of a table."""
    return (f["says"], f["source"], format_printed(f, WIDEST_IN_PAGE), format_ours(f), f["status"])


def format_ours(f: Mapping[str, Any]) -> str:
    """Format what was found; computed values get only digits that are equal on every machine."""
    return (
        format_found(f)
        if "seeds" in f
        else format_value(rounded(f.get("found", "")), WIDEST_IN_PAGE)
    )


def rounded(value: Any) -> Any:
    """Round floats to four significant digits, also in lists."""
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def missed_section(stated: Claims, found: Verdicts) -> Iterator[str]:
    """List the missed claims, each with the amount by which it is missed, or why it cannot hold."""
    rows = []
    for f in found:
        if f["status"] == "missed":
            by = format_value(rounded(f.get("missed_by", "found otherwise")))
            what = f"{f['says']} ({full_source(stated, f)})"
            rows.append(
                (what, format_printed(f, WIDEST_IN_PAGE), format_ours(f), f.get("disputed") or by)
            )
    if rows:
        yield "## Missed"
        yield words_table(
            ("statement", "printed", "ours", "by how much, or why it cannot hold"), rows
        )


def not_run_section(stated: Claims, found: Verdicts) -> Iterator[str]:
    """List the claims that are not run, grouped by what they need."""
    needs: dict[str, list[Mapping[str, Any]]] = {}
    for f in found:
        if f["status"] == "not run":
            needs.setdefault(f.get("needs", ""), []).append(f)
    if needs:
        yield "## Not run"
    for need, alike in sorted(needs.items(), key=lambda item: -len(item[1])):
        what = stated.needs.get(need, "a result that counts")
        lines = [
            f"- {full_source(stated, f)}: {f['says']}{why_not_counted(f, what)}" for f in alike
        ]
        yield f"{len(alike)} need{'s' * (len(alike) == 1)} {what}:\n\n" + "\n".join(lines)


def full_source(stated: Claims, f: Mapping[str, Any]) -> str:
    """Format the paper and the place of a claim."""
    return f"{short_reference(stated.papers[f['paper']])}, {f['source']}"


def why_not_counted(f: Mapping[str, Any], what: str) -> str:
    """Format why a result that exists does not count; return "" if there is no such result."""
    reason = f["reason"].removeprefix(f"needs {what}").removeprefix("; ")
    return f" But {reason}." if reason and not reason.startswith("there is no ") else ""


def not_covered_section(stated: Claims) -> Iterator[str]:
    """List the tables and figures that have no claim."""
    if stated.not_covered:
        yield "## Without a claim"
        rows = [
            (short_reference(stated.papers[gap["paper"]]), gap["source"], gap["reason"])
            for gap in stated.not_covered
        ]
        yield words_table(("paper", "table, figure or statement", "why"), rows)


def runs_section(results: Path) -> Iterator[str]:
    """Show the tables of a folder of results, as in a report."""
    collections = group_by_dataset(find_records(results)) if results.is_dir() else []
    if collections:
        yield "## Results of runs"
        yield (
            "Each file says what made it: command, config, versions, commit. The last epoch is "
            "reported, and nothing was chosen on test images."
        )
    for collection in collections:
        yield f"### {collection.title}"
        for t in (*tables.results_tables(collection), tables.runs_table(collection)):
            yield linked_table(t, collection, results.parent)


def linked_table(t: Table, collection: Collection, root: Path) -> str:
    """Format a table with its caption; the name of each cell links to its file.

    If a cell has several files, numbers link to the others.
    """
    rows = []
    for name, *others in t.rows:
        cell = collection.cell(name)
        paths = [run.path.relative_to(root).as_posix() for run in cell.runs] if cell else [""]
        further = [f" [{i}]({path})" for i, path in enumerate(paths[1:], 2)]
        rows.append([f"[{name}]({paths[0]})" + "".join(further), *others])
    return f"{t.caption}:\n\n{t._replace(rows=rows).markdown()}"
