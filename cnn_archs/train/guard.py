"""What keeps a run safe from outside: the lock on its folder, and the signals that end it."""

import errno
import fcntl
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cnn_archs.errors import ConfigError, DataError, Stopped

PIPED = "CNN_ARCHS_ENDS_WITH_ITS_STDIN"  # set for a process whose parent holds a pipe to it


@contextmanager
def lock(workdir: Path, name: str = "lock", flag: str = "--workdir") -> Iterator[None]:
    """Holds `workdir`, which `flag` names; ConfigError naming another process that has it.

    An flock, so that a killed process never leaves a stale one.
    """
    path = workdir / name
    with open(path, "a+") as f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            if e.errno not in (errno.EAGAIN, errno.EACCES):
                raise DataError(f"cannot lock {path}: {e.strerror}; use another file system") from e
            f.seek(0)
            holder = f.read().strip() or "another process"
            raise ConfigError(f"{workdir} is in use by {holder}; use another {flag}") from None
        f.truncate(0)
        f.write(f"process {os.getpid()} on {socket.gethostname()}")
        f.flush()
        try:
            yield
        finally:
            f.truncate(0)


def end_with_parent() -> None:
    """Has this process end, like a kill, once nobody holds the other end of its standard input."""

    def wait() -> None:
        sys.stdin.read()
        os._exit(Stopped.code)

    threading.Thread(target=wait, daemon=True).start()


class StopRequest:
    """Truth: a signal to stop has come. A second one ends the process at once.

    scheduled: not then. Who stops many processes says it more than once, to a child himself and
    through its parent, and has SIGKILL for when he will not wait any longer.
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
    """SIGTERM and SIGINT set the StopRequest that this yields, instead of ending the process.

    scheduled, or a process whose parent holds a pipe to it: SIGUSR2 too, which a scheduler sends
    before the time is up. Inside of another `stop_requests` the request is that one's: what came
    before is not forgotten.
    """
    outer = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    new = StopRequest(scheduled or PIPED in os.environ)
    request = outer if isinstance(outer, StopRequest) else new
    numbers = (signal.SIGTERM, signal.SIGINT, *(signal.SIGUSR2,) * request.scheduled)
    # Set again inside of another: a library may have put its own in between.
    before = [signal.signal(n, request.handle) for n in numbers]
    try:
        yield request
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """What the system refuses inside, as one line: no right to write in `folder`, or no room."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as e:
        full = e.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
        kind = DataError if full else ConfigError
        raise kind(f"cannot write {e.filename or folder}: {e.strerror or e}") from e


def write_atomically(path: Path, text: str) -> None:
    """`path` holds the old text or the new one, whatever happens in between."""
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")
    try:
        with open(temporary, "w") as f:
            f.write(text)
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: object) -> None:
    """`value` as indented JSON, atomically."""
    write_atomically(path, json.dumps(value, indent=1) + "\n")
