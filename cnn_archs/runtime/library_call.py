"""Errors and lines for the user in a call from a notebook or a program."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from cnn_archs.runtime.console import status_in_log
from cnn_archs.runtime.system_errors import system_errors


@contextmanager
def library_call(progress: bool = False) -> Iterator[None]:
    """Run the body for a caller that owns the process: its errors are UserErrors of one line.

    progress: whether lines for the user are printed on stderr; if not, they go to the log
    "cnn_archs" of the module logging at level INFO, which by default shows none.
    """
    with system_errors(), nullcontext() if progress else status_in_log():
        yield
