"""The program: `cnn-archs COMMAND ...`, or `python -m cnn_archs COMMAND ...`."""

import _signal as signal  # in C: the module signal takes longer to import than all before it

# Signals wait until `run_process` can answer them; the imports that it needs take a while.
signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))

from cnn_archs.runtime.process import run_process  # noqa: E402


def run() -> None:
    """Run the command of this process's arguments, and exit with its code."""
    run_process(run_command)


def run_command() -> int:
    from cnn_archs.cli import main  # here, so that signals are answered during the import

    return main()


if __name__ == "__main__":
    run()
