"""From a config to the network it names and the images that the network sees."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from cnn_archs import models
from cnn_archs.allocation import keep_memory
from cnn_archs.compiler_options import known, known_flags
from cnn_archs.data import augment, color, crops, sources
from cnn_archs.data.inputs import MEANS, Inputs
from cnn_archs.data.standardize import Standardization
from cnn_archs.errors import ConfigError, first_line


class Network(NamedTuple):
    """image_shape: (H, W, C) that `model` sees; classes: of its outputs, at least those of the
    dataset; inputs: how images come to be image_shape."""

    model: models.Network
    image_shape: tuple[int, int, int]
    classes: int
    inputs: Inputs


def network(config: ConfigDict) -> Network:
    """The network of `config`, checked against the dataset's shape and classes.

    ConfigError where they do not fit: no image is read for that.
    """
    own, classes = stored(config)
    model, shape = described(config)
    inputs = inputs_of(config, shape, resident=0 not in own)
    fields = config.model.to_dict()
    outputs = outputs_of(config)
    if outputs < classes:
        raise ConfigError(
            f"model {fields['name']} has {outputs} outputs, but {config.data.name} has {classes} "
            f"classes: --config.model.num_classes={classes}"
        )
    if inputs.resident:
        check_shape(config, inputs, own, shape)
    with user_errors(f"model {fields['name']}"):
        out = models.shapes(model, shape).heads["logits"]
    check_batch(config)
    assert out.shape == (1, outputs), out.shape
    return Network(model, shape, outputs, inputs)


def stored(config: ConfigDict) -> tuple[tuple[int, int, int], int]:
    """((H, W, C), number of classes) of the images as their split has them: `sources.describe`,
    shrunk. ConfigError where they cannot be."""
    (h, w, c), classes = sources.describe(config.data.name, config.data.data_dir)
    by = config.data.downsample
    if by < 1 or h % by or w % by:
        raise ConfigError(f"data.downsample={by} does not divide the images, {h} x {w} pixels")
    if by > 1 and not (h and w):
        raise ConfigError("data.downsample needs a dataset whose images are of one size")
    return (h // by, w // by, c), classes


def outputs_of(config: ConfigDict) -> int:
    """How many classes the network of `config` tells apart."""
    return config.model.get("num_classes", 10)  # lenet5_1998 has bitmaps of ten digits


def class_names(config: ConfigDict, net: Network) -> tuple[str, ...]:
    """A name for each output: the dataset's, and `class 10`, ... where the network has more."""
    names = sources.class_names(config.data.name, config.data.data_dir)
    return names + tuple(f"class {i}" for i in range(len(names), net.classes))


def inputs_of(config: ConfigDict, shape: tuple[int, int, int], *, resident: bool) -> Inputs:
    """The Inputs of `config` for a network that sees images of `shape`."""
    pad = config.data.pad
    if config.data.mean not in MEANS:
        raise ConfigError(f"data.mean is {config.data.mean!r}, not one of {', '.join(MEANS)}")
    standard = config.standardize.to_dict()
    with user_errors("config"):
        standardize = None
        if standard.pop("name") != "none":
            if config.data.mean != "none":
                raise ConfigError("data.mean and standardize both take a mean off: use one")
            standardize = Standardization(**standard).standardize
        if config.augment.name == "generator" and config.data.mean != "none":
            brightness, channels = (
                config.augment.brightness_range,
                config.augment.channel_shift_range,
            )
            if tuple(brightness) != (1.0, 1.0) or channels:
                raise ConfigError("augment's brightness and channel shift need data.mean=none")
        return Inputs(
            crop=crops.create(out=(shape[0] - 2 * pad, shape[1] - 2 * pad), **config.crop),
            resident=resident,
            mirror=config.mirror,
            color=color.create(**config.color.to_dict()),
            augment=augment.create(**config.augment.to_dict()),
            mean=config.data.mean,
            standardize=standardize,
            pixel_range=config.data.pixel_range,
            pad=pad,
        )


def check_shape(
    config: ConfigDict, inputs: Inputs, own: tuple[int, int, int], shape: tuple[int, int, int]
) -> None:
    """ConfigError where images of the shape `own` do not become `shape`."""
    made = own
    with user_errors(f"the images of {config.data.name} are {own}"):
        images = jax.ShapeDtypeStruct((1, *own), jnp.float32)
        made = jax.eval_shape(lambda x: inputs.crop.resident(None, x), images).shape[1:]
    pad = config.data.pad
    padded = (made[0] + 2 * pad, made[1] + 2 * pad, made[2])
    if shape != padded:
        raise ConfigError(
            f"data.image_shape is {shape}, but the images of {config.data.name} are {padded}"
        )


def check_batch(config: ConfigDict) -> None:
    """ConfigError where the parts of a batch do not divide it."""
    batch, micro = config.data.batch_size, config.data.micro_batch
    if micro and batch % micro:
        raise ConfigError(
            f"data.micro_batch={micro} does not divide the batch, data.batch_size={batch}"
        )
    group, at_once = config.model.get("bn_group", 0), micro or batch
    if group < -1:
        raise ConfigError(
            f"model.bn_group={group}: a number of images, 0 for the whole batch, or -1 for each "
            "device's share of it"
        )
    if group > 0 and at_once % group:
        what = "data.micro_batch" if micro else "data.batch_size"
        raise ConfigError(f"model.bn_group={group} does not divide the batch, {what}={at_once}")


def described(config: ConfigDict) -> tuple[models.Network, tuple[int, int, int]]:
    """The module of `config` and the (H, W, C) of the images it sees; no dataset need be there."""
    shape = tuple(config.data.image_shape)
    if not all(shape):
        (h, w, c), _ = stored(config)
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
    return known({"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True})


def devices(config: ConfigDict) -> None:
    """Set what jax must be told before it uses its first device.

    ConfigError where `deterministic` is asked of a jaxlib that has no flag for it.
    """
    if config.deterministic:
        flag = "--xla_gpu_deterministic_ops=true"
        if not known_flags([flag]):
            raise ConfigError(f"deterministic=True: the installed jaxlib does not know {flag}")
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()
    jax.config.update("jax_default_matmul_precision", config.matmul_precision)
    keep_memory()
