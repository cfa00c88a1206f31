"""The front door: python launch.py COMMAND ..."""

import _signal  # in C: the module signal takes longer to import than all before it
import os
import sys

# Signals wait until `start.call` can answer them.
_signal.pthread_sigmask(_signal.SIG_BLOCK, (_signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP))

ROOT = os.path.dirname(os.path.realpath(__file__))
# Python puts this folder before the libraries, so that a file here with a library's name would be
# executed in its place.
sys.path[:] = [path for path in sys.path if os.path.realpath(path) != ROOT]

import importlib.util  # noqa: E402

if __name__ == "__main__":
    spec = importlib.util.spec_from_file_location(
        "start", os.path.join(ROOT, "cnn_archs", "runtime", "start.py")
    )
    assert spec and spec.loader
    start = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(start)
    start.call("cnn_archs.cli:main")
