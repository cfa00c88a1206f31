"""A clock that stands still while this process does."""

import os
import threading
import time
from contextlib import AbstractContextManager
from typing import Self

TICK_SECONDS = 0.1
STILL_SECONDS = 2.0  # a process that has not ticked for so long may have been stopped


class WorkClock(AbstractContextManager["WorkClock"]):
    """Counts the seconds in which this process could work, not those in which it was stopped.

    A signal, a debugger, the batch system or a sleeping machine may stop a process for hours. Its
    threads stop with it: a thread that ticks all the time then misses many ticks, and the process
    takes no time of any processor meanwhile. A process that only waits, for a disk or a device,
    still ticks.
    """

    def __init__(self) -> None:
        self.still = 0.0  # seconds that do not count
        self.last, self.last_cpu = time.monotonic(), time.process_time()
        self.at_once = 2 * TICK_SECONDS * (os.cpu_count() or 1)  # processor time between two ticks
        self.lock, self.ended = threading.Lock(), threading.Event()
        self.thread = threading.Thread(target=self.tick_until_ended, daemon=True)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.ended.set()

    def tick_until_ended(self) -> None:
        while not self.ended.wait(TICK_SECONDS):
            self.now()

    def now(self) -> float:
        """Return the seconds since some moment in the past that count."""
        with self.lock:
            now, cpu = time.monotonic(), time.process_time()
            missed, worked = now - self.last, cpu - self.last_cpu
            if missed > STILL_SECONDS and worked < self.at_once + missed / 4:
                self.still += missed
            self.last, self.last_cpu = now, cpu
            return now - self.still
