"""A trained network to be asked, and what it says of image files."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from cnn_archs.data.decode import decode_and_crop
from cnn_archs.data.inputs import Prepare
from cnn_archs.errors import ConfigError
from cnn_archs.evaluate.run import restore
from cnn_archs.run_dir import RunDir
from cnn_archs.setup import Network, class_names, devices, stored
from cnn_archs.splits import load_split, statistics_of


class Run(NamedTuple):
    """A run's first network, to be asked. probabilities: u8[N, H, W, C] -> f32[N, K]."""

    config: ConfigDict
    net: Network
    variables: dict[str, Any]
    prepare: Prepare
    probabilities: Callable[[np.ndarray], jax.Array]
    names: tuple[str, ...]

    @property
    def title(self) -> str:
        return f"{self.config.model.name} on {self.config.data.name}"


def opened(workdir: Path) -> Run:
    """The run in `workdir`, at its newest sound checkpoint."""
    config = RunDir(workdir).config()
    devices(config)
    saved = restore(workdir, config)
    net, variables = saved.net, saved.of_seed(0)
    statistics = statistics_of(config, net, workdir, lambda: load_split(config, net, "train"))
    prepare = net.inputs.prepare(statistics)

    @jax.jit
    def probabilities(images: jax.Array) -> jax.Array:
        heads: Any = net.model.apply(variables, prepare(None, images), train=False)
        return jax.nn.softmax(heads["logits"].astype(jnp.float32))

    names = class_names(config, net)
    return Run(config, net, variables, prepare, probabilities, names)


def predict(workdir: Path, files: Sequence[Path], top: int = 5) -> list[dict[str, Any]]:
    """The `top` most probable classes of each image file, by the run's first seed.

    An image is cropped as in evaluation; where all images of the dataset are of one size it is
    brought to that first, and to its channels. ConfigError for a file that is not an image,
    DataError for one that is damaged.
    """
    run = opened(workdir)
    config, net = run.config, run.net
    predictions = []
    for start in range(0, len(files), config.eval_batch_size):
        some = files[start : start + config.eval_batch_size]
        images = np.stack([read_image(f, config, net) for f in some])
        for file, p in zip(some, np.asarray(run.probabilities(images)), strict=True):
            best = np.argsort(-p, kind="stable")[:top]
            rows = [
                {"class": run.names[i], "label": int(i), "probability": float(p[i])} for i in best
            ]
            predictions.append({"file": str(file), "top": rows})
    return predictions


def read_image(path: Path, config: ConfigDict, net: Network) -> np.ndarray:
    """An image file as u8[H, W, C], as the evaluation of `net` would get it."""
    from PIL import Image, UnidentifiedImageError

    if not net.inputs.resident:
        crop = net.inputs.crop
        return decode_and_crop(path.read_bytes(), crop.evaluation, crop.delivered, str(path))
    (height, width, channels), _ = stored(config)
    try:
        with Image.open(path) as image:
            mode = {1: "L", 3: "RGB"}[channels]
            resized = image.convert(mode).resize((width, height), Image.Resampling.BILINEAR)
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as e:
        raise ConfigError(f"{path} is not an image that can be read: {e}") from e
    return np.asarray(resized, np.uint8).reshape(height, width, channels)
