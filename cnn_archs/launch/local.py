"""Run one command as several processes on this machine, which share its work."""

import os
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Sequence

from cnn_archs.errors import ConfigError, PeerLost, Stopped
from cnn_archs.launch.device_probe import probe
from cnn_archs.runtime.console import print_status
from cnn_archs.runtime.own_process import process_command
from cnn_archs.runtime.signals import ENDS_WITH_STDIN, StopRequest, stop_requests

FAILURE_SECONDS = 10.0  # time for the other processes to end by themselves once one has failed
POLL_SECONDS = 0.1


class Child:
    """A child process.

    share_output: whether it writes to the stdout and stderr of this process; otherwise its stdout
    is discarded, and `last_lines` keeps the end of its stderr.
    """

    def __init__(self, command: Sequence[str], environment: dict[str, str], share_output: bool):
        self.popen = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=None if share_output else subprocess.DEVNULL,
            stderr=None if share_output else subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, ENDS_WITH_STDIN: "1", **environment},
            start_new_session=True,  # ^C in a terminal reaches only this process, which tells them
        )
        self.last_lines: deque[str] = deque(maxlen=20)
        if not share_output:
            threading.Thread(target=self.listen, daemon=True).start()

    def listen(self) -> None:
        """Read stderr until it is closed."""
        assert self.popen.stderr
        self.last_lines.extend(self.popen.stderr)


def run_processes(arguments: Sequence[str], count: int) -> int:
    """Run this program with `arguments` in `count` processes and return an exit code.

    The code is that of the first process that failed, else the largest. The output of process 0 is
    shown, and so is the end of the stderr of another process that fails. GPUs are divided among the
    processes; on a CPU each process has the devices that XLA_FLAGS sets. A signal is passed on to
    all processes. Raises ConfigError if `count` is less than 1 or does not divide the GPUs.
    """
    shares = process_environments(count)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    program = process_command("cnn_archs.cli:main", *arguments, f"--coordinator={coordinator}")
    with stop_requests() as stop:
        children = [
            Child(
                (*program, f"--num_processes={count}", f"--process_id={i}"),
                share,
                share_output=i == 0,
            )
            for i, share in enumerate(shares)
        ]
        try:
            return wait_for_children(children, stop)
        finally:
            for child in children:
                child.popen.kill()
                with child.popen:
                    child.popen.wait()


def process_environments(count: int) -> list[dict[str, str]]:
    """Return the environment variables that show each of `count` processes its share of the GPUs.

    Raises ConfigError if `count` is less than 1 or does not divide the number of GPUs.
    """
    if count < 1:
        raise ConfigError(f"--processes={count}: must be at least 1")
    machine = probe()
    if machine.backend != "gpu":
        return [{}] * count
    gpus = machine.gpu_names()
    if len(gpus) % count:
        raise ConfigError(f"--processes={count} does not divide {len(gpus)} GPUs evenly")
    each = len(gpus) // count
    return [
        {"CUDA_VISIBLE_DEVICES": ",".join(gpus[i * each : (i + 1) * each])} for i in range(count)
    ]


def wait_for_children(children: Sequence[Child], stop: StopRequest) -> int:
    """Wait until all children have ended, and return the exit code of `run_processes`.

    Once one child fails, the others have FAILURE_SECONDS to end. Once `stop` is set, or a signal
    has stopped one of them, all are told to stop and have as long as they need.
    """
    told, failed, deadline = False, 0, float("inf")
    while True:
        codes = [child.popen.poll() for child in children]
        if (stop or Stopped.code in codes) and not told:
            told = True
            for child in children:
                child.popen.send_signal(signal.SIGTERM)
        if not failed and failures(codes):
            time.sleep(POLL_SECONDS)  # until others have ended by the same error
            codes = [child.popen.poll() for child in children]
            first = failures(codes)[0]
            failed = report_failure(children[first], first)
            deadline = time.monotonic() + FAILURE_SECONDS
        if None not in codes or time.monotonic() > deadline:
            return failed or max(filter(None, codes), default=0)
        time.sleep(POLL_SECONDS)


def failures(codes: Sequence[int | None]) -> list[int]:
    """Return the indices of the processes that have failed, first the probable cause of the others.

    codes: the exit codes; None for a process that has not ended. A process that has lost another
    one is no cause, and has not failed if that one was stopped. An error that all have is told by
    process 0, whose output is shown.
    """
    lost = {i for i, code in enumerate(codes) if code == PeerLost.code}
    bad = [i for i, code in enumerate(codes) if code not in (None, 0, Stopped.code)]
    if Stopped.code in codes:
        bad = [i for i in bad if i not in lost]
    return sorted(bad, key=lambda i: (i in lost, i in lost and i == 0))


def report_failure(child: Child, index: int) -> int:
    """Print why a child has failed, and return its exit code: 1 if a signal ended it."""
    code = child.popen.returncode
    if code < 0:
        print_status(
            f"error: process {index} was ended by signal {-code}, and the others with it: run the "
            "same command again, which resumes a training"
        )
        return 1
    time.sleep(POLL_SECONDS)  # until its last lines have been read
    if child.last_lines:
        print_status("".join(child.last_lines).rstrip())
    return code
