"""The networks: flax modules, registered by name.

Every network takes `image: f32[N, H, W, C]` and a keyword `train`, and returns a dict of outputs,
its heads. The head `logits`, f32[N, num_classes], is the classifier. The fields of a network are
the settings of a config's `model` section. Each file holds the networks of one paper; `network.py`
has their base class.
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any, NamedTuple, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict

from cnn_archs.models import (
    alexnet,
    googlenet,
    inception_resnet,
    inception_v2,
    inception_v3,
    inception_v4,
    resnet,
    vgg,
)
from cnn_archs.models.cifar_cnn import FourLayers
from cnn_archs.models.lenet import LeNet5, LeNet5_1998, LeNet5_1998_EBLearn
from cnn_archs.models.lenet_ancestors import LeNet1, LeNet4, SquashedMLP
from cnn_archs.models.mnist_nets import CNN, MLP
from cnn_archs.models.network import Network as Network
from cnn_archs.models.nin import NIN
from cnn_archs.models.zfnet import ZFNet


class Catalog(dict[str, Callable[..., Network]]):
    """The networks by name, with ResNets for CIFAR-10 of every depth, of which it lists some."""

    def __missing__(self, name: str) -> Callable[..., Network]:
        made = resnet.cifar_by_name(name)
        if made is None:
            raise KeyError(name)
        return made

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or resnet.cifar_by_name(str(name)) is not None


LISTED: dict[str, Callable[..., Network]] = {
    "mlp": MLP,
    "cnn": CNN,
    "lenet5": LeNet5,
    "lenet5_1998": LeNet5_1998,
    "lenet5_1998_eblearn": LeNet5_1998_EBLearn,
    "lenet4": LeNet4,
    "lenet1": LeNet1,
    "mlp_1998": SquashedMLP,
    **alexnet.VARIANTS,
    "four_layers": FourLayers,
    "zfnet": ZFNet,
    "nin_cifar10": NIN,
    **vgg.VARIANTS,
    **googlenet.VARIANTS,
    **inception_v2.VARIANTS,
    **inception_v3.VARIANTS,
    **inception_v4.VARIANTS,
    **inception_resnet.VARIANTS,
    **resnet.VARIANTS,
}
MODELS = Catalog(LISTED)


def create(name: str, **fields: Any) -> Network:
    """Create the network `name`.

    Raises KeyError for an unknown name and TypeError for an unknown field.
    """
    return MODELS[name](**{key: hashable(value) for key, value in fields.items()})


def init(
    model: Network, key: jax.Array, image_shape: tuple[int, int, int]
) -> dict[str, dict[str, Any]]:
    """Initialize the variables of `model`, auxiliary heads included, for images of (H, W, C).

    Returns {"params", "batch_stats"}; either is empty if the model has none.
    """
    rngs = {"params": key, "dropout": key}
    variables = model.init(rngs, jnp.zeros((1, *image_shape)), train=True)
    return {name: variables.get(name, {}) for name in ("params", "batch_stats")}


def tested(model: Network, variables: Any, image: jax.Array) -> dict[str, jax.Array]:
    """Return all heads of `model` in evaluation, including those of training."""
    return model.apply(variables, image, method="every_head")  # type: ignore[return-value]


class Shapes(NamedTuple):
    """The shapes of the heads and the variables of a network in training."""

    heads: dict[str, jax.ShapeDtypeStruct]
    variables: dict[str, dict[str, Any]]


@lru_cache(maxsize=64)
def shapes(model: Network, image_shape: tuple[int, int, int]) -> Shapes:
    """Return the shapes of `model` for one image of (H, W, C); equal arguments are traced once.

    variables: in the form that `init` returns.
    """

    def run(key: jax.Array) -> Any:
        rngs = {"params": key, "dropout": key}
        return model.init_with_output(rngs, jnp.zeros((1, *image_shape)), train=True)

    heads, variables = jax.eval_shape(run, jax.random.key(0))
    return Shapes(heads, {name: variables.get(name, {}) for name in ("params", "batch_stats")})


def head_paths(model: Network, image_shape: tuple[int, int, int]) -> set[tuple[str, ...]]:
    """Return the paths of the variables whose shapes depend on the number of classes.

    They are those of the last layer, and of the last layer of each auxiliary classifier; a path
    begins with its collection. The set is empty for a network with a fixed number of classes.
    """
    if all(field.name != "num_classes" for field in dataclasses.fields(model)):
        return set()
    variables = flatten_dict(shapes(model, image_shape).variables)
    more = model.clone(num_classes=model.num_classes + 1)
    others = flatten_dict(shapes(more, image_shape).variables)
    return {path for path, leaf in variables.items() if leaf.shape != others[path].shape}


def check_batch_statistics(model: Network, image_shape: tuple[int, int, int], images: int) -> None:
    """Raise ValueError if batch normalization in training would have one value to normalize.

    images: the number that is normalized together; with 2 there are always 2 values.
    """
    if images > 1:
        return
    variables = shapes(model, image_shape).variables
    if not variables["batch_stats"]:
        return

    def train(variables: Any, image: jax.Array, key: jax.Array) -> Any:
        options: Any = dict(train=True, mutable=["batch_stats"], rngs={"dropout": key})
        return model.clone(bn_group=0).apply(variables, image, **options)

    jax.eval_shape(train, variables, jnp.zeros((1, *image_shape)), jax.random.key(0))


def split(model: Network, devices: int) -> dict[str, str]:
    """Return the layers that can be split over `devices` devices; see `Network.split_over`.

    Raises ValueError if there are none.
    """
    layers = model.split_over(devices)
    if not layers:
        raise ValueError("none of its layers can be split: use mesh.model=1")
    return layers


def fields(name: str) -> dict[str, Any]:
    """Return the fields of the network `name` with their default values."""
    preset = presets(name)
    values = {f.name: preset.get(f.name, f.default) for f in module_fields(name)}
    return {k: dict(v) if isinstance(v, Mapping) else v for k, v in values.items()}


def kinds(name: str) -> dict[str, Any]:
    """Return the annotations of the fields of the network `name`, in the form of `fields`.

    A field that is a table has a dict, with the annotation of each row.
    """
    stated = {f.name: f.type for f in module_fields(name)}
    rows = {k: list(v) for k, v in fields(name).items() if isinstance(v, Mapping)}
    return {
        key: dict.fromkeys(rows[key], get_args(kind)[1]) if key in rows else kind
        for key, kind in stated.items()
    }


def presets(name: str) -> dict[str, Any]:
    """Return the fields in which the network `name` differs from the defaults of its module."""
    constructor = MODELS[name]
    return dict(constructor.keywords) if isinstance(constructor, partial) else {}


def describe(name: str) -> str:
    """Return the first line of the documentation of the flax module of the network `name`."""
    return (module_of(name).__doc__ or "").partition("\n")[0]


def module_of(name: str) -> type[Network]:
    """Return the class of the flax module of the network `name`."""
    constructor = MODELS[name]
    return constructor.func if isinstance(constructor, partial) else constructor  # type: ignore


def module_fields(name: str) -> list[dataclasses.Field]:
    """Return the fields of the flax module of the network `name`, apart from flax's own."""
    found = dataclasses.fields(module_of(name))
    return [f for f in found if f.name not in ("parent", "name")]


def hashable(value: Any) -> Any:
    """Convert lists in `value` to tuples and dicts to frozen dicts, as module fields require."""
    if isinstance(value, Mapping):
        return nn.FrozenDict({k: hashable(v) for k, v in value.items()})
    return tuple(map(hashable, value)) if isinstance(value, list | tuple) else value
