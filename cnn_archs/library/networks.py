"""The networks by name: `cnn_archs.list_models` and `cnn_archs.create_model`."""

import fnmatch
from typing import Any

from cnn_archs import config as configs
from cnn_archs import models
from cnn_archs.config_keys import flatten
from cnn_archs.errors import config_errors


def list_models(pattern: str = "*") -> list[str]:
    """List the names of the networks that match a pattern, such as `resnet*` or `vgg_?_bn`.

    Args:
      pattern: a pattern of the shell, in lower or upper case; `*` stands for any text.

    Returns:
      The names, in the order of the papers; [] if none matches.

    Example:
      >>> import cnn_archs
      >>> cnn_archs.list_models("alexnet_one*")
      ['alexnet_one_tower', 'alexnet_one_gpu']
    """
    return [name for name in models.MODELS if fnmatch.fnmatchcase(name, pattern.lower())]


def create_model(name: str, **fields: Any) -> models.Network:
    """Create an untrained network.

    Args:
      name: one of `list_models`.
      **fields: settings of the network in place of its defaults, such as `num_classes`, `width`
        or `activation`; `cnn-archs train --config.model.name=NAME --print_config` lists them.

    Returns:
      The network as a flax module, without weights. `cnn_archs.models.init(model, key,
      (height, width, channels))` makes initial ones, and `model.apply(variables, images,
      train=False)["logits"]` is f32[N, num_classes] for images f32[N, height, width, channels].

    Raises:
      cnn_archs.errors.ConfigError: for an unknown name, with the nearest one, for an unknown
        field, and for a value out of its range.

    Example:
      >>> import cnn_archs, jax
      >>> model = cnn_archs.create_model("lenet5", activation="relu")
      >>> variables = cnn_archs.models.init(model, jax.random.key(0), (32, 32, 1))
      >>> images = jax.numpy.zeros((4, 32, 32, 1))
      >>> model.apply(variables, images, train=False)["logits"].shape
      (4, 10)
    """
    complete = configs.complete_model({"name": name, **fields}, "")
    kinds = flatten({"model": {"name": str, **models.kinds(name)}})
    checked = configs.check_leaves({"model": complete}, kinds, "")["model"]
    with config_errors(f"model {name}"):
        return models.create(**{"name": name, **checked})
