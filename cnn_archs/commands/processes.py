"""Flags and first steps of the commands whose work several processes share."""

import argparse
import os
import sys

from cnn_archs.commands.shared import check_trained_runs
from cnn_archs.errors import ConfigError

FOUND = (
    "SLURM, Open MPI, Kubernetes and TPU pods tell each process its index, so that none of the "
    "flags about several processes is needed there."
)


def declare_processes(parser: argparse.ArgumentParser) -> None:
    """Declare the flags that start several processes, or connect this one to others."""
    several = parser.add_argument_group("several processes")
    several.add_argument(
        "--processes", type=int, default=0, metavar="N", help="start N processes on this machine"
    )
    several.add_argument(
        "--coordinator", default="", metavar="HOST:PORT", help="address of process 0"
    )
    several.add_argument(
        "--num_processes", type=int, default=0, metavar="N", help="total number of processes"
    )
    several.add_argument(
        "--process_id", type=int, default=-1, metavar="I", help="index of this process, from 0"
    )


def check_processes(arguments: argparse.Namespace) -> None:
    """Raise ConfigError if flags that describe one of several processes go with --processes."""
    if arguments.coordinator or arguments.num_processes or arguments.process_id >= 0:
        raise ConfigError(
            "--processes starts all of them here: it takes no --coordinator, --num_processes or "
            "--process_id"
        )


def run_in_processes(arguments: argparse.Namespace) -> int:
    """Run a command with --processes=N as N processes of this machine; return their exit code."""
    from cnn_archs.launch import local

    flags = [a for a in arguments.argv if not a.startswith("--processes=")]
    if len(flags) == len(arguments.argv):
        at = flags.index("--processes")
        del flags[at : at + 2]
    return local.run_processes(flags, arguments.processes)


def share_work(arguments: argparse.Namespace) -> None:
    """Make this process one of those that share the work of a command on trained runs.

    With --processes=N it runs the command as N processes instead, and exits with their exit code.
    """
    if arguments.processes:
        check_processes(arguments)
        check_trained_runs(arguments)
        sys.exit(run_in_processes(arguments))
    connect(arguments)


def connect(arguments: argparse.Namespace) -> None:
    """Connect to the other processes, if any. Must run before a device is used.

    A process that `run_in_processes` has started ends when that one does.
    """
    from cnn_archs.distributed import connection
    from cnn_archs.runtime.signals import ENDS_WITH_STDIN, end_with_parent

    if os.environ.get(ENDS_WITH_STDIN):
        end_with_parent()
    connection.initialize(arguments.coordinator, arguments.num_processes, arguments.process_id)
