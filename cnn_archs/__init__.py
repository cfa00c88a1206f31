"""The networks of the classic CNN papers, exact, with their recipes, in JAX and Flax.

cnn_archs.list_models("resnet*")                       # names of networks
cnn_archs.create_model("lenet5", activation="relu")    # a flax module
cnn_archs.train("lenet5_digits", "runs/digits")        # as `cnn-archs train`, from Python
net = cnn_archs.load("runs/digits")                    # a trained network with its preprocessing
images, labels = cnn_archs.data.load("digits", "test") # arrays
net.predict(images).labels                             # i64[N]
net.features(images, layer="C3")                       # what a layer computes

`cnn_archs.models` has the networks and `cnn_archs.errors` the exceptions. jax is imported when the
first of these names is used.
"""

import importlib

TYPE_CHECKING = False  # as in typing, whose import would delay the first answer to a signal
if TYPE_CHECKING:
    from cnn_archs import data as data
    from cnn_archs import errors as errors
    from cnn_archs import models as models
    from cnn_archs.library.networks import create_model as create_model
    from cnn_archs.library.networks import list_models as list_models
    from cnn_archs.library.trained import TrainedNetwork as TrainedNetwork
    from cnn_archs.library.trained import load as load
    from cnn_archs.library.training import train as train

__version__ = "0.1.0"

MODULES = ("data", "errors", "models")
PLACES = {
    "TrainedNetwork": "cnn_archs.library.trained",
    "create_model": "cnn_archs.library.networks",
    "list_models": "cnn_archs.library.networks",
    "load": "cnn_archs.library.trained",
    "train": "cnn_archs.library.training",
}
__all__ = [
    "TrainedNetwork",
    "create_model",
    "data",
    "errors",
    "list_models",
    "load",
    "models",
    "train",
]


def __getattr__(name: str) -> object:  # keeps jax out of `import cnn_archs`
    if name in MODULES:
        return importlib.import_module(f"cnn_archs.{name}")
    if name in PLACES:
        return vars(importlib.import_module(PLACES[name]))[name]
    raise AttributeError(f"module 'cnn_archs' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
