"""Answer the signals that ask a process to stop, from its first import to its exit.

Python runs its handlers in the main thread between two operations of Python, which a compilation
can delay by minutes. So a thread is told of each signal as well, and answers it at once.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from cnn_archs.errors import Stopped
from cnn_archs.runtime.console import print_status
from cnn_archs.runtime.files import remove_own_unfinished

ENDS_WITH_STDIN = (
    "CNN_ARCHS_ENDS_WITH_ITS_STDIN"  # set by a parent that holds a pipe to this process
)
PATIENCE_SECONDS = 1.0  # before a process that does not stop at once says why
PRINT_SECONDS = 2.0  # for a last line on a stderr that nobody reads
JOIN_SECONDS = 1.0  # for the thread that answers signals to end


def end_process(code: int) -> NoReturn:
    """End this process at once, from any thread, without the files that it had not finished."""
    remove_own_unfinished()
    os._exit(code)


def end_with_parent() -> None:
    """End this process at once when the other end of its standard input is closed."""

    def wait() -> None:
        sys.stdin.read()
        end_process(Stopped.code)

    threading.Thread(target=wait, daemon=True).start()


def stop_signals() -> list[signal.Signals]:
    """Return the signals that ask a process to stop; SIGHUP is not one of them under nohup."""
    hangup = [] if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [signal.SIGHUP]
    return [signal.SIGTERM, signal.SIGINT, *hangup]


@contextmanager
def kept_handlers() -> Iterator[None]:
    """Set the handlers of `stop_signals` again after the body, a call that may replace them."""
    before = {number: signal.getsignal(number) for number in stop_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class SignalWatch:
    """Answers `numbers` from `start` to `stop`, both of which only the main thread may call.

    handle: the handler of the signal module, which Python calls in the main thread. answer: called
    with the number in a thread of its own, at once even while the main thread compiles.
    """

    def __init__(
        self,
        numbers: Sequence[int],
        handle: Callable[[int, object], None],
        answer: Callable[[int], None],
    ):
        self.numbers, self.handle, self.answer = numbers, handle, answer

    def start(self) -> None:
        """Set the handlers, and begin to listen."""
        self.noticed, self.writing = os.pipe()  # Python writes the number of each signal there
        os.set_blocking(self.writing, False)
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()
        self.fd_before = signal.set_wakeup_fd(self.writing, warn_on_full_buffer=False)
        self.before = [signal.signal(n, self.handle) for n in self.numbers]

    def listen(self) -> None:
        while number := os.read(self.noticed, 1):
            if number[0] in self.numbers:
                self.answer(number[0])

    def stop(self) -> None:
        """Set the handlers that there were before."""
        for number, handler in zip(self.numbers, self.before, strict=True):
            # None: a library had set a handler that Python does not know.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        signal.set_wakeup_fd(self.fd_before)
        os.close(self.writing)
        self.thread.join(JOIN_SECONDS)
        if not self.thread.is_alive():
            os.close(self.noticed)


class StopRequest:
    """A flag that is true once a signal has asked this process to stop.

    A process that has not stopped after PATIENCE_SECONDS says what it waits for. A second signal
    ends the process at once, with two exceptions. A terminal that is closed sends SIGHUP twice: by
    the system and through the shell. A scheduler that stops many processes repeats its signal, to
    the process itself and through its parent, and sends SIGKILL when it will not wait any longer:
    then the process is `scheduled`.
    """

    def __init__(self, scheduled: bool = False) -> None:
        self.signal = 0
        self.scheduled = scheduled
        self.answers = 0
        self.reminder = threading.Timer(PATIENCE_SECONDS, self.remind)
        self.reminder.daemon = True

    def __bool__(self) -> bool:
        return self.signal != 0

    def handle(self, number: int, frame: object) -> None:
        """Handle the signal `number`, as a handler of the signal module."""
        self.signal = number

    def answer(self, number: int) -> None:
        """Answer the signal `number` from another thread than the main one."""
        self.signal = number
        self.answers += 1
        if self.answers == 1:
            self.reminder.start()
        elif not self.scheduled and number != signal.SIGHUP:
            end_process(128 + number)

    def remind(self) -> None:
        again = "" if self.scheduled else "; a second signal ends it now, without saving"
        print_status(
            f"{signal.Signals(self.signal).name}: this process stops as soon as the present step, "
            f"compilation or file is finished{again}"
        )


ACTIVE: list[StopRequest] = []  # one for each `stop_requests` that the main thread is inside


@contextmanager
def stop_requests(scheduled: bool = False) -> Iterator[StopRequest]:
    """Yield a StopRequest that SIGTERM, SIGINT and SIGHUP set, instead of ending the process.

    SIGUSR2, which a scheduler sends before the time limit, sets it too if `scheduled` or if the
    parent of this process holds a pipe to it. Inside another `stop_requests` the outer request is
    yielded, so that an earlier signal is not lost.
    """
    new = StopRequest(scheduled or ENDS_WITH_STDIN in os.environ)
    request = ACTIVE[-1] if ACTIVE else new
    numbers = [*stop_signals(), *([signal.SIGUSR2] if request.scheduled else [])]
    # Also started inside another `stop_requests`: a library may have replaced the handlers since.
    watch = SignalWatch(numbers, request.handle, request.answer)
    watch.start()
    ACTIVE.append(request)
    try:
        yield request
    finally:
        watch.stop()
        ACTIVE.pop()
        if not ACTIVE:
            request.reminder.cancel()


class ProcessEnd:
    """Ends this process when a signal comes outside of `stop_requests`.

    code: the exit code of the work once it is done; None before that.
    """

    def __init__(self) -> None:
        self.code: int | None = None

    def answer(self, number: int) -> None:
        """End the process: quietly if its work is done, with a line of its own otherwise."""
        if self.code is not None:
            end_process(self.code)
        last = threading.Timer(PRINT_SECONDS, end_process, [Stopped.code])
        last.daemon = True
        last.start()
        print_status(f"error: stopped by {signal.Signals(number).name}: run the same command again")
        end_process(Stopped.code)


def ignore_signals() -> None:
    """Ignore the signals that ask to stop, in the last moments before this process ends."""
    for number in stop_signals():
        signal.signal(number, signal.SIG_IGN)
