"""The history of a run: which process made which steps, with which code and on which machine.

A history is a list of segments. A segment begins when a process starts or resumes the run, unless
the process before it had the same FACTS: then the old segment continues. A segment is a
dict of `first_step`, the number of steps made before it, and FACTS. Checkpoints keep the history,
and result.json lists it, under the name `parts`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from cnn_archs.runtime.console import print_status

Segment = dict[str, Any]
FACTS = ("git_commit", "python", "jax", "jaxlib", "backend", "device", "processor", "cpus")
UNKNOWN: Segment = {"first_step": 0, "git_commit": "unknown"}  # for runs without a history


def make_segment(made: Mapping[str, Any], device: str, first_step: int) -> Segment:
    """Return the segment of a process that begins at `first_step`.

    made: its environment. device: the devices that it trains on, such as "8 x NVIDIA H200".
    """
    facts = {**made, **made["packages"], "device": device}
    return {"first_step": first_step, **{fact: facts[fact] for fact in FACTS}}


def extend_histories(
    histories: Sequence[list[Segment]],
    new: Segment,
    data_changes: Sequence[Sequence[Mapping[str, Any]]],
) -> list[list[Segment]]:
    """Return the histories of runs that are trained together, extended by `new`.

    histories: per run, the history in the checkpoint that it resumes; empty for a new run.
    data_changes: per run, the accepted changes of its data; those that its history does not have
    yet begin a segment that does. If `new` differs from the last segment of any, a line on stderr
    names the differences.
    """
    changes = [changed_facts(segments[-1], new) if segments else [] for segments in histories]
    if described := ", ".join(dict.fromkeys(fact for of_run in changes for fact in of_run)):
        print_status(
            f"this run resumes at step {new['first_step']} with other software or hardware "
            f"({described}): its results may not be bit for bit those of a "
            "run that was never stopped"
        )
    return [
        extend_history(segments, new, facts, accepted)
        for segments, facts, accepted in zip(histories, changes, data_changes, strict=True)
    ]


def extend_history(
    segments: list[Segment],
    new: Segment,
    facts: Sequence[str],
    data_changes: Sequence[Mapping[str, Any]],
) -> list[Segment]:
    """Return the history of one run, extended by `new` if anything is not as before.

    facts: the FACTS in which `new` differs. data_changes: see `extend_histories`.
    """
    told = [change for segment in segments for change in segment.get("changed_data", [])]
    untold = [change for change in data_changes if change not in told]
    if segments and not facts and not untold:
        return segments
    return [*segments, {**new, **({"changed_data": untold} if untold else {})}]


def changed_facts(last: Segment, new: Segment) -> list[str]:
    """Return the FACTS in which two segments differ, each as `name old -> new`.

    Older versions did not record all of them.
    """
    pairs = ((fact, last[fact], new[fact]) for fact in FACTS if fact in last)
    return [f"{fact} {old} -> {now}" for fact, old, now in pairs if old != now]
