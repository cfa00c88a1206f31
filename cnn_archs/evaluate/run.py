"""From a workdir to numbers: a saved network under a test protocol, and on image files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict

from cnn_archs import config as configs
from cnn_archs import models
from cnn_archs.cluster import mesh as meshes
from cnn_archs.data import sources
from cnn_archs.data.decode import decode_and_crop
from cnn_archs.data.resident import Resident
from cnn_archs.errors import ConfigError, DataError
from cnn_archs.evaluate.counting import count
from cnn_archs.metrics import columns
from cnn_archs.setup import Network, devices, network
from cnn_archs.splits import load_split, statistics_of
from cnn_archs.train import averages, losses, steps
from cnn_archs.train.checkpoint import Checkpoints

PROTOCOLS = ("single",)  # the whole image, once


class Loaded(NamedTuple):
    """A trained network. variables: params and batch_stats; step: when they were saved."""

    model: nn.Module
    variables: dict[str, Any]
    config: ConfigDict
    step: int


class Saved(NamedTuple):
    """A checkpoint, read. variables, average (or {}): of all seeds, with a leading axis."""

    net: Network
    variables: dict[str, Any]
    average: dict[str, Any]
    step: int

    def of_seed(self, i: int, averaged: bool = False) -> dict[str, Any]:
        """The variables of the seed number `i`, from 0, or their average."""
        return jax.tree.map(lambda x: x[i], self.average if averaged else self.variables)


def load(workdir: str | Path, seed: int = 0) -> Loaded:
    """The network that was trained in `workdir`, at its newest sound checkpoint.

    seed: which of the run's seeds, counted from 0. ConfigError where there is no such run or
    seed, DataError where nothing sound was saved.
    """
    config = configs.read(Path(workdir))
    if not 0 <= seed < config.seeds:
        raise ConfigError(f"{workdir} has seeds 0 to {config.seeds - 1}, not {seed}")
    saved = restore(Path(workdir), config)
    return Loaded(saved.net.model, saved.of_seed(seed), config, saved.step)


def restore(workdir: Path, config: ConfigDict) -> Saved:
    """The newest sound checkpoint of `workdir`, whose config is `config`."""
    net = network(config)

    average = averages.create(steps_per_epoch=1.0, **config.average)

    def saved(key: jax.Array) -> dict[str, Any]:
        variables = models.init(net.model, key, net.image_shape)
        return {**variables, "average": average.init(variables)}

    whole = NamedSharding(meshes.data_parallel(), P())
    target = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((config.seeds, *x.shape), x.dtype, sharding=whole),
        jax.eval_shape(saved, jax.random.key(0)),
    )
    folder = workdir / "checkpoints"
    found = folder.is_dir() and Checkpoints(folder, read_only=True).restore({"variables": target})
    if not found:
        raise DataError(f"{workdir} holds no checkpoint yet: train it first")
    variables = found.items["variables"]
    return Saved(net, variables, variables.pop("average"), found.step)


def evaluate(workdir: Path, protocol: str, split: str) -> dict[str, Any]:
    """The errors of a run's networks on `split` under `protocol`, in result.json's form."""
    if protocol not in PROTOCOLS:
        raise ConfigError(f"--protocol={protocol}: there are {', '.join(PROTOCOLS)}")
    config = configs.read(workdir)
    devices(config)
    saved = restore(workdir, config)
    net, mesh = saved.net, meshes.data_parallel()
    images = load_split(config, net, split)
    resident = net.inputs.resident
    data = Resident(images, mesh) if isinstance(images, sources.Split) else images
    loss = losses.create(**config.loss)
    prepare = prepare_of(workdir, config, net)
    eval_step = steps.compile_eval(
        steps.eval_step_of(net.model, loss, prepare), mesh, together=False, resident=resident
    )

    def reports(averaged: bool) -> dict[str, Any]:
        variables = [saved.of_seed(i, averaged) for i in range(config.seeds)]
        size = config.eval_batch_size
        return columns([count(eval_step, v, data, size, mesh).report() for v in variables])

    return {
        "name": config.model.name,
        "dataset": config.data.name,
        "protocol": protocol,
        "views": 1,
        "step": saved.step,
        "seeds": list(range(config.seed, config.seed + config.seeds)),
        split: reports(averaged=False),
        **({f"{split}_average": reports(averaged=True)} if saved.average else {}),
    }


def prepare_of(workdir: Path, config: ConfigDict, net: Network) -> steps.Prepare:
    """How a run's images become input, with what it knows of its training images."""

    statistics = statistics_of(config, net, workdir, lambda: load_split(config, net, "train"))
    return net.inputs.prepare(statistics)


def predict(workdir: Path, files: Sequence[Path], top: int = 5) -> list[dict[str, Any]]:
    """The `top` most probable classes of each image file, by the run's first seed.

    An image is cropped as in evaluation; where all images of the dataset are of one size it is
    brought to that first, and to its channels. ConfigError for a file that is not an image,
    DataError for one that is damaged.
    """
    config = configs.read(workdir)
    devices(config)
    saved = restore(workdir, config)
    net, variables = saved.net, saved.of_seed(0)
    prepare = prepare_of(workdir, config, net)
    names = sources.class_names(config.data.name, config.data.data_dir)

    @jax.jit
    def probabilities_of(images: jax.Array) -> jax.Array:
        heads: Any = net.model.apply(variables, prepare(None, images), train=False)
        return jax.nn.softmax(heads["logits"].astype(jnp.float32))

    predictions = []
    for start in range(0, len(files), config.eval_batch_size):
        some = files[start : start + config.eval_batch_size]
        images = np.stack([read_image(f, config, net) for f in some])
        for file, p in zip(some, np.asarray(probabilities_of(images)), strict=True):
            best = np.argsort(-p, kind="stable")[:top]
            rows = [{"class": names[i], "label": int(i), "probability": float(p[i])} for i in best]
            predictions.append({"file": str(file), "top": rows})
    return predictions


def read_image(path: Path, config: ConfigDict, net: Network) -> np.ndarray:
    """An image file as u8[H, W, C], as the evaluation of `net` would get it."""
    from PIL import Image, UnidentifiedImageError

    if not net.inputs.resident:
        crop = net.inputs.crop
        return decode_and_crop(path.read_bytes(), crop.evaluation, crop.delivered, str(path))
    (height, width, channels), _ = sources.describe(config.data.name, config.data.data_dir)
    try:
        with Image.open(path) as image:
            mode = {1: "L", 3: "RGB"}[channels]
            resized = image.convert(mode).resize((width, height), Image.Resampling.BILINEAR)
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as e:
        raise ConfigError(f"{path} is not an image that can be read: {e}") from e
    return np.asarray(resized, np.uint8).reshape(height, width, channels)
