"""Call a function of this package in a new process: `python -P start.py MODULE:FUNCTION`.

The process runs the copy of `cnn_archs` that this file belongs to, even if another copy is
installed. It imports all else as an installed program does, so a file in the current folder or in
the repository that has the name of a library, such as jax.py, is not executed.
"""

import _signal  # in C: the module signal takes longer to import than all before it
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # a typing.py in the repository would be executed in place of Python's
    from collections.abc import Callable
    from typing import NoReturn

PACKAGE = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))


def call(target: str) -> "NoReturn":
    """Call the function `target`, MODULE:FUNCTION, without arguments and exit with its result.

    The result is an exit code, or None for success. Signals are answered as `run_process` says;
    until it can, they wait.
    """
    _signal.pthread_sigmask(_signal.SIG_BLOCK, (_signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP))
    root = os.path.dirname(PACKAGE)
    if os.path.isfile(os.path.join(root, "launch.py")):  # a repository, not the installed packages
        sys.path[:] = [path for path in sys.path if os.path.realpath(path) != root]
    if "cnn_archs" not in sys.modules:
        load_package()
    from cnn_archs.runtime.process import run_process

    run_process(lambda: find_function(target)())


def load_package() -> None:
    """Import the copy of `cnn_archs` that this file belongs to."""
    import importlib.util

    spec = importlib.util.spec_from_file_location(
        "cnn_archs", os.path.join(PACKAGE, "__init__.py"), submodule_search_locations=[PACKAGE]
    )
    assert spec and spec.loader
    package = sys.modules["cnn_archs"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)


def find_function(target: str) -> "Callable[[], int | None]":
    """Import the function `target`, MODULE:FUNCTION."""
    import importlib

    module, _, function = target.partition(":")
    return getattr(importlib.import_module(module), function)


if __name__ == "__main__":
    name = sys.argv[1]
    sys.argv = ["cnn-archs", *sys.argv[2:]]
    call(name)
