"""Signals that ask a process to save and stop, and a process that ends with its parent."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cnn_archs.errors import Stopped

ENDS_WITH_STDIN = (
    "CNN_ARCHS_ENDS_WITH_ITS_STDIN"  # set for a process whose parent holds a pipe to it
)


def end_with_parent() -> None:
    """Ends this process, like a kill, once nobody holds the other end of its standard input."""

    def wait() -> None:
        sys.stdin.read()
        os._exit(Stopped.code)

    threading.Thread(target=wait, daemon=True).start()


class StopRequest:
    """Is true once a signal asked this process to stop; a second signal ends it at once.

    scheduled: a second signal is ignored. A scheduler that stops many processes repeats its
    signal, to the process itself and through its parent, and sends SIGKILL to wait no longer.
    """

    def __init__(self, scheduled: bool = False) -> None:
        self.signal = 0
        self.scheduled = scheduled

    def __bool__(self) -> bool:
        return self.signal != 0

    def handle(self, number: int, frame: object) -> None:
        if self.signal and not self.scheduled:
            os._exit(128 + number)
        self.signal = number


@contextmanager
def stop_requests(scheduled: bool = False) -> Iterator[StopRequest]:
    """Yields a StopRequest that SIGTERM and SIGINT set, instead of ending the process.

    SIGUSR2, which a scheduler sends before the time is up, sets it too if `scheduled` or if the
    parent of this process holds a pipe to it. Inside another `stop_requests` the request is the
    outer one, so that an earlier signal is not forgotten.
    """
    outer = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    new = StopRequest(scheduled or ENDS_WITH_STDIN in os.environ)
    request = outer if isinstance(outer, StopRequest) else new
    numbers = [signal.SIGTERM, signal.SIGINT]
    if request.scheduled:
        numbers.append(signal.SIGUSR2)
    # Set again inside another: a library may have installed its own handler in between.
    before = [signal.signal(n, request.handle) for n in numbers]
    try:
        yield request
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
