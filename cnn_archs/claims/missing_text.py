"""Format the list of `claims --missing`: tables for a terminal, and the page docs/missing.md."""

from collections.abc import Mapping
from typing import Any

from cnn_archs.claims.schema import Claims
from cnn_archs.report.printed_values import short_reference
from cnn_archs.report.table import Table

HEAD = """\
# What is missing

Written by `cnn-archs claims --missing --kind={kind} --format=markdown > docs/missing.md`. Do not
edit this file: `make test` fails if it differs from the output of that command.

The statements below wait for a run: no result in `results/` counts for them. Each has the commands
that would decide it, and the hours that its trainings take on one {kind}, as
`cnn-archs plan --kind={kind}` estimates them: three networks each, without compilation, evaluations
and checkpoints, with an input that keeps up. Trainings that several statements share are counted
once in the sum of a paper. A `?` stands for a training whose step was not compiled yet:
`python benchmarks/step_costs.py` does that, and records it.

The command below a table submits all of its trainings to a SLURM cluster; the result of a cell is
then `runs/paper_KEY/CELL/result.json`. With `sweep --config=` in place of `submit --sweep=`, and
without `--jobs` and `--gpus_per_node`, it trains them on one machine. A folder of `results/` that
is not there has to be made first."""
ESTIMATES = {
    "measured": "speeds measured there",
    "near": "speeds of other networks measured there",
    "roofline": "a roofline, which leaves out the launching of kernels: small networks take longer",
}
OTHERS = """\
## What no run here decides

These statements need what is not here: data that is not public, labels of test images, ensembles,
or methods that are not built."""


def format_hours(hours: float | None) -> str:
    """Format device hours: `<0.1`, `2.3` or `1,200`; `?` if they are not known."""
    if hours is None:
        return "?"
    if hours < 0.1:
        return "<0.1"
    return f"{hours:.1f}" if hours < 9.95 else f"{float(f'{hours:.2g}'):,.0f}"


def statement_hours(s: Mapping[str, Any]) -> str:
    """Format the device hours of a statement; "" if it waits for a method that is no network."""
    return format_hours(s["device_hours"]) if s["trainings"] else ""


def missing_text(stated: Claims, found: Mapping[str, Any]) -> str:
    """Format the list for a terminal: a table for each paper, and its sum."""
    parts = []
    for one in found["papers"]:
        rows: list[tuple[str, ...]] = []
        for s in one["statements"]:
            first, *others = s["commands"]
            rows.append((s["id"], s["printed"], statement_hours(s), first))
            rows += [("", "", "", line) for line in others]
        heads = ("statement", "printed", f"{found['kind']} hours", "command")
        table = Table(heads, rows, words=(0, 1, 3)).text()
        parts.append(f"{stated.papers[one['paper']]}\n\n{table}\n\n{total(found, one)}")
        if one["command"]:
            parts.append(one["command"])
    needs = [(o["id"], o["reason"]) for o in found["others"]]
    if needs:
        parts.append(Table(("no run here decides", "because it"), needs, words=(0, 1)).text())
    return "\n\n".join(parts)


def total(found: Mapping[str, Any], one: Mapping[str, Any]) -> str:
    """Format how many statements of a paper wait for how many trainings, and their device hours."""
    count, runs = len(one["statements"]), one["runs"]
    said = f"{count} statement{'s wait' if count > 1 else ' waits'}"
    if not runs:
        return f"{said} for methods that are no networks"
    said += f" for {runs} trainings, each counted once" if runs > 1 else " for 1 training"
    if one["not_estimated"] == runs:
        return f"{said}; the time of none is estimated"
    unknown = f", without {one['not_estimated']} of them" if one["not_estimated"] else ""
    return (
        f"{said}: "
        f"{format_hours(one['device_hours'])} hours on one {found['kind']}{unknown}, by "
        + " and ".join(ESTIMATES[source] for source in one["estimated_by"])
    )


def missing_markdown(stated: Claims, found: Mapping[str, Any]) -> str:
    """Format the list as the page docs/missing.md."""
    parts = [HEAD.format(kind=found["kind"])]
    for one in found["papers"]:
        rows = [
            (
                s["says"],
                s["source"],
                s["printed"],
                statement_hours(s),
                "<br>".join(f"`{line}`" for line in s["commands"]),
            )
            for s in one["statements"]
        ]
        heads = ("statement", "source", "printed", f"{found['kind']} hours", "commands")
        table = Table(heads, rows, words=(0, 1, 2, 4)).markdown()
        parts += [f"## {stated.papers[one['paper']]}", table, f"{total(found, one)}."]
        parts += [f"```sh\n{one['command']}\n```"] if one["command"] else []
    others = [
        (short_reference(stated.papers[o["paper"]]), o["source"], o["says"], o["reason"])
        for o in found["others"]
    ]
    table = Table(("paper", "source", "statement", "why"), others, words=range(4)).markdown()
    return "\n\n".join([*parts, OTHERS, table])
