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
from cnn_archs.data.resident import Resident
from cnn_archs.errors import ConfigError, DataError
from cnn_archs.evaluate.counting import count
from cnn_archs.metrics import columns
from cnn_archs.setup import Network, devices, network
from cnn_archs.train import losses, steps
from cnn_archs.train.checkpoint import Checkpoints

PROTOCOLS = ("single",)  # the whole image, once


class Loaded(NamedTuple):
    """A trained network. variables: params and batch_stats; step: when they were saved."""

    model: nn.Module
    variables: dict[str, Any]
    config: ConfigDict
    step: int


class Saved(NamedTuple):
    """A checkpoint, read. variables: of all seeds, with a leading axis."""

    net: Network
    variables: dict[str, Any]
    step: int

    def of_seed(self, i: int) -> dict[str, Any]:
        """The variables of the seed number `i`, from 0."""
        return jax.tree.map(lambda x: x[i], self.variables)


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

    whole = NamedSharding(meshes.data_parallel(), P())
    target = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((config.seeds, *x.shape), x.dtype, sharding=whole),
        jax.eval_shape(lambda key: models.init(net.model, key, net.image_shape), jax.random.key(0)),
    )
    folder = workdir / "checkpoints"
    found = folder.is_dir() and Checkpoints(folder, read_only=True).restore({"variables": target})
    if not found:
        raise DataError(f"{workdir} holds no checkpoint yet: train it first")
    return Saved(net, found.items["variables"], found.step)


def evaluate(workdir: Path, protocol: str, split: str) -> dict[str, Any]:
    """The errors of a run's networks on `split` under `protocol`, in result.json's form."""
    if protocol not in PROTOCOLS:
        raise ConfigError(f"--protocol={protocol}: there are {', '.join(PROTOCOLS)}")
    config = configs.read(workdir)
    devices(config)
    saved = restore(workdir, config)
    net, mesh = saved.net, meshes.data_parallel()
    data = Resident(load_split(config, split), mesh)
    loss = losses.create(**config.loss.to_dict())
    eval_step = steps.compile_eval(
        steps.eval_step_of(net.model, loss, net.prepare), mesh, together=False
    )
    size = config.eval_batch_size
    reports = [
        count(eval_step, saved.of_seed(i), data, size, mesh).report() for i in range(config.seeds)
    ]
    return {
        "name": config.model.name,
        "dataset": config.data.name,
        "protocol": protocol,
        "views": 1,
        "step": saved.step,
        "seeds": list(range(config.seed, config.seed + config.seeds)),
        split: columns(reports),
    }


def load_split(config: ConfigDict, split: str) -> sources.Split:
    """`test`; or `train` and `val` as the run divided them."""
    if split == "test":
        return sources.load(config.data.name, "test", config.data.data_dir)
    if split not in ("train", "val"):
        raise ConfigError(f"--split={split}: there are test, train, val")
    train = sources.load(config.data.name, "train", config.data.data_dir)
    if not config.data.holdout:
        if split == "val":
            raise ConfigError("--split=val: this run held nothing out (data.holdout=0)")
        return train
    rest, held = sources.hold_out(train, config.data.holdout, config.seed)
    return rest if split == "train" else held


def predict(workdir: Path, files: Sequence[Path], top: int = 5) -> list[dict[str, Any]]:
    """The `top` most probable classes of each image file, by the run's first seed.

    An image is brought to the size and the channels of the training images (Pillow's bilinear
    resize of the whole image). ConfigError for a file that is not an image.
    """
    config = configs.read(workdir)
    devices(config)
    saved = restore(workdir, config)
    net, variables = saved.net, saved.of_seed(0)
    h, w, c = net.image_shape
    h, w = h - 2 * config.data.pad, w - 2 * config.data.pad
    names = sources.class_names(config.data.name, config.data.data_dir)
    images = np.stack([read_image(f, h, w, c) for f in files])

    def logits_of(images: jax.Array) -> jax.Array:
        heads: Any = net.model.apply(variables, net.prepare(None, images), train=False)
        return heads["logits"].astype(jnp.float32)

    probabilities = np.asarray(jax.nn.softmax(jax.jit(logits_of)(images)))
    predictions = []
    for file, p in zip(files, probabilities, strict=True):
        best = np.argsort(-p, kind="stable")[:top]
        rows = [{"class": names[i], "label": int(i), "probability": float(p[i])} for i in best]
        predictions.append({"file": str(file), "top": rows})
    return predictions


def read_image(path: Path, height: int, width: int, channels: int) -> np.ndarray:
    """An image file as u8[height, width, channels]."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            mode = {1: "L", 3: "RGB"}[channels]
            resized = image.convert(mode).resize((width, height), Image.Resampling.BILINEAR)
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as e:
        raise ConfigError(f"{path} is not an image that can be read: {e}") from e
    return np.asarray(resized, np.uint8).reshape(height, width, channels)
