"""Find the time of training until an error was reached, from the log of a run."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Reached(NamedTuple):
    """The step and epoch of the first log line at which the error was low enough."""

    step: int
    epoch: float


def time_to_error(lines: Sequence[Mapping[str, Any]], value: str, level: float) -> Reached | None:
    """Find when the mean of `value` was first at or below `level`; None if it never was.

    lines: of metrics.jsonl, of one split and seed, ordered by step. A training line is the mean
    over the steps since the line before, usually `log_every` steps. A line of fewer images, as
    before an evaluation, is averaged with the next.
    """
    enough = max((line["examples"] for line in lines), default=0)
    total, examples = 0.0, 0
    for line in lines:
        total += line[value] * line["examples"]
        examples += line["examples"]
        if examples < enough:
            continue
        if total / examples <= level:
            return Reached(line["step"], line["epoch"])
        total, examples = 0.0, 0
    return None
