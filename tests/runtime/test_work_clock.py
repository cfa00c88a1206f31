"""The clock of a training does not count the time in which its process was stopped."""

import signal
import subprocess
import sys
import time
from typing import Any

from cnn_archs.runtime.work_clock import WorkClock

PROGRAM = """
import sys, time
from cnn_archs.runtime.work_clock import WorkClock
with WorkClock() as clock:
    counted, passed = clock.now(), time.monotonic()
    print("ready", flush=True)
    sys.stdin.readline()
    print(clock.now() - counted, time.monotonic() - passed)
"""


def test_a_process_that_stands_still_counts_no_time():
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", PROGRAM], text=True, **pipes) as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGSTOP)
        time.sleep(4)
        process.send_signal(signal.SIGCONT)
        out, _ = process.communicate("\n", timeout=60)
    counted, passed = map(float, out.split())
    assert passed > 4 and counted < passed - 3


def test_waiting_and_working_count():
    with WorkClock() as clock:
        begin, passed = clock.now(), time.monotonic()
        time.sleep(2.5)
        sum(range(10**6))
        assert clock.now() - begin > 0.9 * (time.monotonic() - passed) > 2
