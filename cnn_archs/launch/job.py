"""A request for the jobs of a scheduler, and the function that each node of a job runs."""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from cnn_archs.run_dir import LOCK
from cnn_archs.runtime.signals import stop_requests
from cnn_archs.sweep_dir import part_lock_name

Main = Callable[[Sequence[str]], int]  # the command line: arguments -> exit code


@dataclasses.dataclass(frozen=True)
class JobRequest:
    """A request for one job, or for an array of jobs that share one command.

    command: the arguments of cnn-archs, with --workdir. parts: the number of jobs; if there are
    several, each runs one --part of the command. nodes, gpus_per_node: of each job. hours: the time
    limit of each job.
    """

    name: str
    command: tuple[str, ...]
    workdir: Path
    parts: int
    nodes: int
    gpus_per_node: int
    hours: float

    def part_command(self, part: int | str) -> tuple[str, ...]:
        """Return the command of the job number `part`."""
        return (*self.command, f"--part={part}/{self.parts}") if self.parts > 1 else self.command

    def lock_name(self, part: int | str) -> str:
        """Return the name of the lock file in the workdir that the job holds while it runs."""
        return part_lock_name(part, self.parts) if self.command[0] == "sweep" else LOCK


def run_job(main: Main, arguments: Sequence[str]) -> None:
    """Call main(arguments) in a process that a scheduler may stop, and exit with its code."""
    sys.argv = ["cnn-archs", *arguments]  # for environment.json
    with stop_requests(scheduled=True):
        code = main(arguments)
    if code:
        sys.exit(code)
