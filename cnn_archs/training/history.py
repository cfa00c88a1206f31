"""The parts of a run: which process made which steps, from what code and on what.

A part begins when a process starts the run or goes on with it; a process that differs from the one
before it in none of FACTS continues its part. A part is a dict of `first_step`, the number of steps
made before it, and FACTS. Checkpoints keep the parts, and result.json lists them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from cnn_archs.runtime.console import print_status

Part = dict[str, Any]
FACTS = ("git_commit", "python", "jax", "jaxlib", "backend", "processor", "cpus")
UNKNOWN: Part = {"first_step": 0, "git_commit": "unknown"}  # of runs that kept no parts


def part_of(made: Mapping[str, Any], first_step: int) -> Part:
    """Returns the part that a process begins at a step. made: its `environment`."""
    stated = {**made, **made["packages"]}
    return {"first_step": first_step, **{fact: stated[fact] for fact in FACTS}}


def gone_on(histories: Sequence[list[Part]], new: Part) -> list[list[Part]]:
    """Returns the parts of runs, trained together, whose next steps are `new`'s.

    histories: of each run, the parts in the checkpoint that it goes on from; empty at its start.
    Where `new` differs from the last of them, a line on stderr says in what.
    """
    facts = [changed(parts[-1], new) if parts else [] for parts in histories]
    if said := ", ".join(dict.fromkeys(fact for of_run in facts for fact in of_run)):
        print_status(
            f"from step {new['first_step']} on this run is made otherwise than before ({said}): "
            "its bits need not be those of a run that was never stopped"
        )
    return [
        [*parts, new] if different or not parts else parts
        for parts, different in zip(histories, facts, strict=True)
    ]


def changed(last: Part, new: Part) -> list[str]:
    """Lists the FACTS in which two parts differ, each as `name old -> new`."""
    pairs = ((fact, last.get(fact, "unknown"), new[fact]) for fact in FACTS)
    return [f"{fact} {old} -> {now}" for fact, old, now in pairs if old != now]
