"""Call a function of this package in a new process: `python -P start.py MODULE:FUNCTION`.

The process runs the copy of `cnn_archs` that this file belongs to, even if another copy is
installed. It imports all else as an installed program does, so a file in the current folder or in
the repository that has the name of a library, such as jax.py, is not executed.
"""

import _signal as signal  # in C: the module signal takes longer to import than all before it
import os
import sys

PACKAGE = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))


def call(target: str) -> None:
    """Call the function `target`, MODULE:FUNCTION, without arguments and exit with its result.

    It returns an exit code, or None for 0. Signals are answered as in `run_process`.
    """
    # They wait until they can be answered; the imports below take a while.
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
    root = os.path.dirname(PACKAGE)
    if os.path.isfile(os.path.join(root, "launch.py")):  # a repository, not the installed packages
        sys.path[:] = [path for path in sys.path if os.path.realpath(path) != root]
    import importlib.util

    spec = importlib.util.spec_from_file_location(
        "cnn_archs", os.path.join(PACKAGE, "__init__.py"), submodule_search_locations=[PACKAGE]
    )
    assert spec and spec.loader
    package = sys.modules["cnn_archs"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
    module, _, function = target.partition(":")
    run_process = importlib.import_module("cnn_archs.runtime.process").run_process
    run_process(lambda: getattr(importlib.import_module(module), function)())


if __name__ == "__main__":
    name = sys.argv[1]
    sys.argv = ["cnn-archs", *sys.argv[2:]]
    call(name)
