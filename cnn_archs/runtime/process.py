"""Run the work of a process: its signals and its standard streams, until it exits."""

import atexit
import signal
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

from cnn_archs.runtime.console import close_streams, prepare_streams
from cnn_archs.runtime.signals import (
    ProcessEnd,
    SignalWatch,
    end_process,
    ignore_signals,
    stop_signals,
)

EXIT_SECONDS = 600.0  # for other threads to end, and other processes of the run


def run_process(work: Callable[[], int | None]) -> NoReturn:
    """Call `work`, which returns an exit code or None for 0, and exit with that code.

    A signal ends the process at once with one line and the code of Stopped, except inside
    `stop_requests`; a signal after `work` changes neither the code nor the output. `work` should
    import what takes long, so that signals are answered while it does.
    """
    prepare_streams()
    end = ProcessEnd()
    atexit.register(ignore_signals)  # registered first, so that it is the last to be called
    SignalWatch(stop_signals(), lambda number, frame: None, end.answer).start()
    waiting = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, waiting)  # whoever calls this may have blocked them
    try:
        code = work() or 0
    except SystemExit as e:  # by argparse, after --help
        code = e.code if isinstance(e.code, int) else int(e.code is not None)
    close_streams()
    end.code = code
    late = threading.Timer(EXIT_SECONDS, end_process, [code])
    late.daemon = True
    late.start()
    sys.exit(code)
