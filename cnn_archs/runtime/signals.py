"""Handle signals that ask a process to save and stop, and end a process with its parent."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cnn_archs.errors import Stopped

ENDS_WITH_STDIN = (
    "CNN_ARCHS_ENDS_WITH_ITS_STDIN"  # set by a parent that holds a pipe to this process
)


def end_with_parent() -> None:
    """End this process at once when the other end of its standard input is closed."""

    def wait() -> None:
        sys.stdin.read()
        os._exit(Stopped.code)

    threading.Thread(target=wait, daemon=True).start()


class StopRequest:
    """A flag that is true once a signal has asked this process to stop.

    A second signal ends the process at once, unless it is `scheduled`: a scheduler that stops many
    processes repeats its signal, to the process itself and through its parent, and sends SIGKILL
    when it will not wait any longer.
    """

    def __init__(self, scheduled: bool = False) -> None:
        self.signal = 0
        self.scheduled = scheduled

    def __bool__(self) -> bool:
        return self.signal != 0

    def handle(self, number: int, frame: object) -> None:
        """Handle the signal `number`, as a handler of the signal module."""
        if self.signal and not self.scheduled:
            os._exit(128 + number)
        self.signal = number


@contextmanager
def stop_requests(scheduled: bool = False) -> Iterator[StopRequest]:
    """Yield a StopRequest that SIGTERM and SIGINT set, instead of ending the process.

    SIGUSR2, which a scheduler sends before the time limit, sets it too if `scheduled` or if the
    parent of this process holds a pipe to it. Inside another `stop_requests` the outer request is
    yielded, so that an earlier signal is not lost.
    """
    outer = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    new = StopRequest(scheduled or ENDS_WITH_STDIN in os.environ)
    request = outer if isinstance(outer, StopRequest) else new
    numbers = [signal.SIGTERM, signal.SIGINT]
    if request.scheduled:
        numbers.append(signal.SIGUSR2)
    # Also set inside another `stop_requests`: a library may have replaced the handler since.
    before = [signal.signal(n, request.handle) for n in numbers]
    try:
        yield request
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
