"""Several processes of one command on this machine, which train one network together."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence

from cnn_archs.errors import ConfigError, Stopped
from cnn_archs.launch.device_probe import probe
from cnn_archs.runtime.console import print_status
from cnn_archs.runtime.signals import ENDS_WITH_STDIN, StopRequest, stop_requests

FAILURE_SECONDS = 10.0  # seconds that the others have to end by themselves, once one has failed
POLL_SECONDS = 0.1


class Child:
    """A process. heard: the last lines of its stderr, unless that is ours."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], aloud: bool):
        self.popen = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=None if aloud else subprocess.DEVNULL,
            stderr=None if aloud else subprocess.PIPE,
            text=True,
            env={**os.environ, ENDS_WITH_STDIN: "1", **environment},
            start_new_session=True,  # a terminal's ^C is for us, who tell them
        )
        self.heard: deque[str] = deque(maxlen=20)
        if not aloud:
            threading.Thread(target=self.listen, daemon=True).start()

    def listen(self) -> None:
        assert self.popen.stderr
        self.heard.extend(self.popen.stderr)


def run_processes(arguments: Sequence[str], count: int) -> int:
    """Runs this program with `arguments` in `count` processes -> the code of the first that failed.

    The first process's output is ours; what another says is said if it fails. GPUs are shared out;
    on a CPU each process has as many devices as XLA_FLAGS says. After a signal all are told.
    ConfigError for a count that cannot be.
    """
    shares = process_environments(count)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        coordinator = f"localhost:{free.getsockname()[1]}"
    program = (sys.executable, sys.argv[0], *arguments, f"--coordinator={coordinator}")
    with stop_requests() as stop:
        children = [
            Child((*program, f"--num_processes={count}", f"--process_id={i}"), share, aloud=i == 0)
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
    """What shows each of `count` processes its share of the GPUs, if there are any."""
    if count < 1:
        raise ConfigError(f"--processes={count}: must be at least 1")
    machine = probe()
    if machine.backend != "gpu":
        return [{}] * count
    gpus = machine.gpu_names()
    if len(gpus) % count:
        raise ConfigError(f"--processes={count} does not share out {len(gpus)} GPUs evenly")
    each = len(gpus) // count
    return [
        {"CUDA_VISIBLE_DEVICES": ",".join(gpus[i * each : (i + 1) * each])} for i in range(count)
    ]


def wait_for_children(children: Sequence[Child], stop: StopRequest) -> int:
    """Waits for all. Once one fails, the others have GRACE seconds; once we are told to stop, they
    have as long as they need."""
    told, failed, deadline = False, 0, float("inf")
    while True:
        codes = [child.popen.poll() for child in children]
        if stop and not told:
            told = True
            for child in children:
                child.popen.send_signal(signal.SIGTERM)
        bad = [i for i, code in enumerate(codes) if code not in (None, 0, Stopped.code)]
        if bad and not failed:
            failed, deadline = (
                report_failure(children[bad[0]], bad[0]),
                time.monotonic() + FAILURE_SECONDS,
            )
        if None not in codes or time.monotonic() > deadline:
            return failed or max(filter(None, codes), default=0)
        time.sleep(POLL_SECONDS)


def report_failure(child: Child, index: int) -> int:
    """Says why a process has failed -> its exit code, as of this one."""
    code = child.popen.returncode
    if code < 0:
        print_status(
            f"error: process {index} was ended by signal {-code}, and the others with it: run the "
            "same command again to go on"
        )
        return 1
    time.sleep(POLL_SECONDS)  # until all is heard
    if child.heard:
        print_status("".join(child.heard).rstrip())
    return code
