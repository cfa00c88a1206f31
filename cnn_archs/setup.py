"""From a config to the network it names and the images that the network sees."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from cnn_archs import models
from cnn_archs.data import augment, sources
from cnn_archs.data.resident import prepare_with
from cnn_archs.errors import ConfigError, first_line


class Network(NamedTuple):
    """image_shape: (H, W, C) that `model` sees; prepare: (key or None, u8 images) -> f32 images."""

    model: nn.Module
    image_shape: tuple[int, int, int]
    classes: int
    prepare: Callable[[jax.Array | None, jax.Array], jax.Array]


def network(config: ConfigDict) -> Network:
    """The network of `config`, checked against the dataset's shape and classes.

    ConfigError where they do not fit: no image is read for that.
    """
    own, classes = sources.describe(config.data.name, config.data.data_dir)
    pad = config.data.pad
    padded = (own[0] + 2 * pad, own[1] + 2 * pad, own[2])
    model, shape = described(config)
    if shape != padded and 0 not in own:
        raise ConfigError(
            f"data.image_shape is {shape}, but the images of {config.data.name} are {padded}"
        )
    fields = config.model.to_dict()
    if fields.get("num_classes", classes) != classes:
        raise ConfigError(
            f"model.num_classes is {fields['num_classes']}, but {config.data.name} has {classes} "
            f"classes: --config.model.num_classes={classes}"
        )
    with user_errors(f"model {fields['name']}"):
        augmentation = augment.create(**config.augment.to_dict())
        out = jax.eval_shape(
            lambda key: model.init_with_output(
                {"params": key, "dropout": key}, jnp.zeros((1, *shape)), train=True
            ),
            jax.random.key(0),
        )[0]["logits"]
    group = fields.get("bn_group", 0)
    if group and config.data.batch_size % group:
        raise ConfigError(
            f"model.bn_group={group} does not divide the batch, data.batch_size="
            f"{config.data.batch_size}"
        )
    if out.shape != (1, classes):
        raise ConfigError(
            f"model {fields['name']} has {out.shape[-1]} outputs, but {config.data.name} has "
            f"{classes} classes"
        )
    prepare = prepare_with(augmentation, config.data.pixel_range, pad)
    return Network(model, shape, classes, prepare)


def described(config: ConfigDict) -> tuple[nn.Module, tuple[int, int, int]]:
    """The module of `config` and the (H, W, C) of the images it sees; no dataset need be there."""
    shape = tuple(config.data.image_shape)
    if not all(shape):
        (h, w, c), _ = sources.describe(config.data.name, config.data.data_dir)
        if not h or not w:
            raise ConfigError(
                f"the images of {config.data.name} differ in size: say what the network sees, "
                f"--config.data.image_shape=(224,224,{c})"
            )
        shape = (h + 2 * config.data.pad, w + 2 * config.data.pad, c)
    fields = config.model.to_dict()
    with user_errors(f"model {fields['name']}"):
        return models.create(**fields), shape


@contextmanager
def user_errors(what: str) -> Iterator[None]:
    """Whatever a constructor or a trace refuses here is the config's fault: one line."""
    try:
        yield
    except (ValueError, TypeError, ArithmeticError, LookupError) as e:
        raise ConfigError(f"{what}: {first_line(e)}") from e


def once() -> dict[str, Any] | None:
    """Compiler options for a program that runs once: on a CPU, quick to compile."""
    if jax.default_backend() != "cpu":
        return None
    return {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def devices(config: ConfigDict) -> None:
    """What must be said before the first device is used."""
    jax.config.update("jax_default_matmul_precision", config.matmul_precision)
    if config.deterministic:
        flag = "--xla_gpu_deterministic_ops=true"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()
