"""Predict the classes of image files with a trained network."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn_archs.data.loading.decode import decode_and_crop
from cnn_archs.data.transforms.preprocess import Preprocess
from cnn_archs.errors import ConfigError
from cnn_archs.evaluate.load import open_run, restore_run
from cnn_archs.evaluate.runs import load_statistics
from cnn_archs.experiment import Experiment


class Predictor(NamedTuple):
    """The network of a run's first seed. probabilities: images u8[N, H, W, C] -> f32[N, K]."""

    experiment: Experiment
    variables: dict[str, Any]
    prepare: Preprocess
    probabilities: Callable[[np.ndarray], jax.Array]
    class_names: tuple[str, ...]

    @property
    def title(self) -> str:
        return f"{self.experiment.name} on {self.experiment.dataset.name}"


def load_predictor(workdir: Path, data_dir: str = "") -> Predictor:
    """Load the run in `workdir` at its newest sound checkpoint. data_dir: see `open_run`."""
    experiment = open_run(workdir, data_dir)
    net, variables = experiment.net, restore_run(workdir, experiment).seed_variables(0)
    prepare = net.inputs.make_preprocess(load_statistics(workdir, experiment))

    @jax.jit
    def probabilities(images: jax.Array) -> jax.Array:
        heads: Any = net.model.apply(variables, prepare(None, images), train=False)
        return jax.nn.softmax(heads["logits"].astype(jnp.float32))

    return Predictor(experiment, variables, prepare, probabilities, experiment.class_names())


def predict_files(
    predictor: Predictor, files: Sequence[Path], top: int = 5
) -> list[dict[str, Any]]:
    """Return the `top` most probable classes of each image file.

    An image is cropped as in evaluation. If all images of the dataset have one size, the image is
    first resized to it and converted to its channels. Raises ConfigError for a file that is not
    an image, DataError for a damaged one.
    """
    predictions, size = [], predictor.experiment.eval_batch_size
    for i in range(0, len(files), size):
        batch = files[i : i + size]
        images = np.stack([read_image(f, predictor.experiment) for f in batch])
        for file, p in zip(batch, np.asarray(predictor.probabilities(images)), strict=True):
            best = np.argsort(-p, kind="stable")[:top]
            rows = [
                {"class": predictor.class_names[k], "label": int(k), "probability": float(p[k])}
                for k in best
            ]
            predictions.append({"file": str(file), "top": rows})
    return predictions


def read_image(path: Path, experiment: Experiment) -> np.ndarray:
    """Read an image file as u8[H, W, C], in the form in which evaluation delivers images.

    Raises ConfigError for a file that is not an image, DataError for a damaged one.
    """
    from PIL import Image, UnidentifiedImageError

    if not experiment.dataset.in_memory:
        crop = experiment.inputs.crop
        return decode_and_crop(path.read_bytes(), crop.evaluation_box, crop.host_size, str(path))
    height, width, channels = experiment.dataset.stored_shape
    try:
        with Image.open(path) as image:
            mode = {1: "L", 3: "RGB"}[channels]
            resized = image.convert(mode).resize((width, height), Image.Resampling.BILINEAR)
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as e:
        raise ConfigError(f"{path} is not an image that can be read: {e}") from e
    return np.asarray(resized, np.uint8).reshape(height, width, channels)
