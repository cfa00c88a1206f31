"""How long a network took to a given error, from the log that it left."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Reached(NamedTuple):
    """The first line of the log up to which an error was low enough."""

    step: int
    epoch: float


def time_to_error(lines: Sequence[Mapping[str, Any]], value: str, level: float) -> Reached | None:
    """When the mean of `value` was first at or below `level`; None: never.

    lines: of metrics.jsonl, of one split and seed, by step. That of training is the mean over the
    steps since the last line, `log_every` of them; a line of fewer, at an evaluation, counts
    together with the next.
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
