"""The networks of the classic CNN papers, exact, with their recipes, in JAX and Flax.

import cnn_archs
loaded = cnn_archs.load("runs/lenet5_digits")     # model, variables, config, step
heads = loaded.model.apply(loaded.variables, images, train=False)
"""

import importlib

TYPE_CHECKING = False  # as in typing, whose import would delay the first answer to a signal
if TYPE_CHECKING:
    from cnn_archs import models as models
    from cnn_archs.evaluate.load import load_network as load

__all__ = ["load", "models"]


def __getattr__(name: str) -> object:  # keeps jax out of `import cnn_archs`
    if name == "models":
        return importlib.import_module("cnn_archs.models")
    if name == "load":
        return importlib.import_module("cnn_archs.evaluate.load").load_network
    raise AttributeError(f"module 'cnn_archs' has no attribute {name!r}")
