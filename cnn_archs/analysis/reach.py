"""How long a network took to a given error, from the log that it left."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Reached(NamedTuple):
    """The first line of the log at which an error was low enough."""

    step: int
    epoch: float


def reach(lines: Sequence[Mapping[str, Any]], value: str, level: float) -> Reached | None:
    """When `value` was first at or below `level`; None: never.

    lines: of metrics.jsonl, of one split and seed, by step. That of training is the mean of the
    steps since the last line: it is known every `log_every` steps.
    """
    found = (Reached(line["step"], line["epoch"]) for line in lines if line[value] <= level)
    return next(found, None)
