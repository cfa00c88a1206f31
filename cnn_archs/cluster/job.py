"""A job: what is asked of a scheduler, and the front door that its nodes come in by."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from cnn_archs.run_dir import LOCK, part_lock
from cnn_archs.signals import stop_requests


@dataclasses.dataclass(frozen=True)
class Request:
    """What is asked of a scheduler.

    command: the arguments of cnn-archs, with --workdir; parts: in how many jobs, each a --part of
    it. nodes, gpus_per_node, hours: of each job.
    """

    name: str
    command: tuple[str, ...]
    workdir: Path
    parts: int
    nodes: int
    gpus_per_node: int
    hours: float

    def of_part(self, part: int | str) -> tuple[str, ...]:
        """The command of one job."""
        return (*self.command, f"--part={part}/{self.parts}") if self.parts > 1 else self.command

    def lock(self, part: int | str) -> str:
        """The file in the workdir that a job holds while it runs."""
        return part_lock(part, self.parts) if self.command[0] == "sweep" else LOCK


def run(arguments: Sequence[str]) -> None:
    """The command `arguments`, in a process that a scheduler may stop; exits as it does."""
    from cnn_archs import cli

    sys.argv = ["cnn-archs", *arguments]  # for environment.json
    with stop_requests(scheduled=True):
        code = cli.main(arguments)
    if code:
        sys.exit(code)
