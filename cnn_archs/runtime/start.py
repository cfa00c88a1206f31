"""Call a function of this package in a new process: `python -P start.py MODULE:FUNCTION`.

The process runs the copy of `cnn_archs` that this file belongs to, even if another copy is
installed. It imports all else as an installed program does, so a file in the current folder or in
the repository that has the name of a library, such as jax.py, is not executed.
"""

import os
import sys

PACKAGE = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))


def call(target: str) -> object:
    """Call the function `target`, MODULE:FUNCTION, without arguments and return its result."""
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
    return getattr(importlib.import_module(module), function)()


if __name__ == "__main__":
    name = sys.argv[1]
    sys.argv = ["cnn-archs", *sys.argv[2:]]
    sys.exit(call(name))  # type: ignore[arg-type]
