"""The program: `cnn-archs COMMAND ...`, or `python -m cnn_archs COMMAND ...`."""

import sys
from typing import NoReturn

from cnn_archs.runtime import start


def run() -> NoReturn:
    """Run the command of this process's arguments, and exit with its code."""
    start.call("cnn_archs.cli:main")


if __name__ == "__main__":
    if not sys.flags.safe_path:
        del sys.path[0]  # the current folder, in which a jax.py would be executed
    run()
