"""Datasets: `load` and `class_names` are for notebooks; see `arrays.py`."""

import importlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cnn_archs.data.arrays import class_names as class_names
    from cnn_archs.data.arrays import load as load

__all__ = ["class_names", "load"]


def __getattr__(name: str) -> object:  # keeps numpy and jax out of `import cnn_archs.data`
    if name in __all__:
        return vars(importlib.import_module("cnn_archs.data.arrays"))[name]
    raise AttributeError(f"module 'cnn_archs.data' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
