"""Tests for the threads that read ahead: their order, their bound, their errors and their end."""

import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from cnn_archs.data.loading.threads import run_in_order

ROOT = Path(__file__).resolve().parents[3]


def reading_threads():
    return [t for t in threading.enumerate() if t is not threading.main_thread()]


def test_a_yield_means_that_its_call_is_done_whatever_the_order_of_the_ends():
    done = []

    def work(k):
        time.sleep(0.02 * (k % 3 == 0))  # every third call ends after those behind it
        done.append(k)

    for k, _ in enumerate(run_in_order(work, 20, threads=4, ahead=3)):
        assert k in done
    assert sorted(done) == list(range(20)) and done != sorted(done)
    assert not reading_threads()


def test_calls_run_at_the_same_time():
    """Three calls that wait for each other can only end if three threads make them."""
    meeting = threading.Barrier(3, timeout=10)

    def meet(k):
        meeting.wait()

    assert len(list(run_in_order(meet, 9, threads=3, ahead=0))) == 9


def test_no_call_is_further_ahead_than_allowed():
    begun: list[int] = []
    ahead, threads = 3, 2
    with closing(run_in_order(begun.append, 100, threads, ahead)) as ready:
        for k in range(50):
            next(ready)
            time.sleep(0.002)
            # k + 1 have been yielded, and that many more may have been begun.
            assert len(begun) <= k + 1 + ahead + 2 * threads
        time.sleep(0.2)
        assert len(begun) == 50 + ahead + 2 * threads


def test_an_error_comes_in_its_turn_and_ends_all():
    begun = []

    def work(k):
        begun.append(k)
        if k == 5:
            raise ValueError("image 5 is damaged")

    ready = run_in_order(work, 1_000, threads=3, ahead=4)
    for _ in range(5):
        next(ready)
    with pytest.raises(ValueError, match="image 5 is damaged"):
        next(ready)
    assert not reading_threads()
    assert len(begun) <= 5 + 4 + 2 * 3


def test_after_close_no_call_begins():
    begun = []

    def work(k):
        begun.append(k)
        time.sleep(0.1)

    ready = run_in_order(work, 100, threads=2, ahead=20)
    next(ready)
    ready.close()
    assert len(begun) <= 4 and not reading_threads()  # two of which no result was awaited
    time.sleep(0.3)
    assert len(begun) <= 4


SCRIPT = """
import signal, sys, time
from cnn_archs.data.loading.threads import run_in_order
{handler}
ready = run_in_order(lambda k: time.sleep(0.1), 100_000, threads=3, ahead=5)
next(ready)
print("reading", flush=True)
for _ in ready:
    pass
"""
# What a process does at a signal -> the exit codes that it may end with.
HANDLERS = {
    "": (-signal.SIGTERM,),
    "signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))": (5,),
    "signal.signal(signal.SIGTERM, signal.default_int_handler)": (1, -signal.SIGINT),
}


@pytest.mark.parametrize("handler", HANDLERS)
def test_a_process_that_reads_ends_at_a_signal(handler):
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(handler=handler)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
    ) as process:
        assert process.stdout and process.stdout.readline() == b"reading\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) in HANDLERS[handler]
