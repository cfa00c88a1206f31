"""A trained network to be asked, and what it says of image files."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn_archs.data.loading.decode import decode_and_crop
from cnn_archs.data.transforms.preprocess import Prepare
from cnn_archs.errors import ConfigError
from cnn_archs.evaluate.load import restore_run
from cnn_archs.evaluate.runs import load_statistics
from cnn_archs.experiment import Experiment, start_experiment
from cnn_archs.run_dir import RunDir


class Predictor(NamedTuple):
    """A run's first network, to be asked. probabilities: u8[N, H, W, C] -> f32[N, K]."""

    experiment: Experiment
    variables: dict[str, Any]
    prepare: Prepare
    probabilities: Callable[[np.ndarray], jax.Array]
    class_names: tuple[str, ...]

    @property
    def title(self) -> str:
        return f"{self.experiment.name} on {self.experiment.dataset.name}"


def load_predictor(workdir: Path) -> Predictor:
    """The run in `workdir`, at its newest sound checkpoint."""
    experiment = start_experiment(RunDir(workdir).config())
    net, variables = experiment.net, restore_run(workdir, experiment).seed_variables(0)
    prepare = net.inputs.prepare(load_statistics(workdir, experiment))

    @jax.jit
    def probabilities(images: jax.Array) -> jax.Array:
        heads: Any = net.model.apply(variables, prepare(None, images), train=False)
        return jax.nn.softmax(heads["logits"].astype(jnp.float32))

    return Predictor(experiment, variables, prepare, probabilities, experiment.class_names())


def predict_files(run: Predictor, files: Sequence[Path], top: int = 5) -> list[dict[str, Any]]:
    """The `top` most probable classes of each image file, by the run's first seed.

    An image is cropped as in evaluation; where all images of the dataset are of one size it is
    brought to that first, and to its channels. ConfigError for a file that is not an image,
    DataError for one that is damaged.
    """
    predictions, size = [], run.experiment.eval_batch_size
    for i in range(0, len(files), size):
        some = files[i : i + size]
        images = np.stack([read_image(f, run.experiment) for f in some])
        for file, p in zip(some, np.asarray(run.probabilities(images)), strict=True):
            best = np.argsort(-p, kind="stable")[:top]
            rows = [
                {"class": run.class_names[k], "label": int(k), "probability": float(p[k])}
                for k in best
            ]
            predictions.append({"file": str(file), "top": rows})
    return predictions


def read_image(path: Path, experiment: Experiment) -> np.ndarray:
    """An image file as u8[H, W, C], as the evaluation of the experiment's network would get it."""
    from PIL import Image, UnidentifiedImageError

    if not experiment.dataset.in_memory:
        crop = experiment.inputs.crop
        return decode_and_crop(path.read_bytes(), crop.evaluation, crop.delivered, str(path))
    height, width, channels = experiment.dataset.stored_shape
    try:
        with Image.open(path) as image:
            mode = {1: "L", 3: "RGB"}[channels]
            resized = image.convert(mode).resize((width, height), Image.Resampling.BILINEAR)
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as e:
        raise ConfigError(f"{path} is not an image that can be read: {e}") from e
    return np.asarray(resized, np.uint8).reshape(height, width, channels)
