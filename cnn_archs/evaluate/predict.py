"""Predict the classes of image files with a trained network."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn_archs.data.corruption import data_errors
from cnn_archs.data.loading.decode import decode_and_crop, decode_resized
from cnn_archs.data.transforms.preprocess import Preprocess
from cnn_archs.errors import DataError, NotFinite
from cnn_archs.evaluate.load import RestoredRun, open_run, restore_run
from cnn_archs.evaluate.runs import load_statistics
from cnn_archs.experiment import Experiment
from cnn_archs.runtime.files import read_regular


class Predictor(NamedTuple):
    """The network of one seed of a run. probabilities: images u8[N, H, W, C] -> f32[N, K]."""

    experiment: Experiment
    variables: dict[str, Any]
    prepare: Preprocess
    probabilities: Callable[[np.ndarray], jax.Array]
    class_names: tuple[str, ...]

    @property
    def title(self) -> str:
        return f"{self.experiment.name} on {self.experiment.dataset.name}"


class Predictions(NamedTuple):
    """The predictions of image files, in order, and the errors of those that cannot be read.

    found: {"file", "top"} each, where "top" has the most probable classes. errors: by file.
    """

    found: list[dict[str, Any]]
    errors: dict[str, DataError]


def load_predictor(workdir: Path, data_dir: str = "") -> Predictor:
    """Load the run in `workdir` at its newest sound checkpoint. data_dir: see `open_run`."""
    return make_predictor(restore_run(workdir, open_run(workdir, data_dir)))


def make_predictor(saved: RestoredRun, seed: int = 0) -> Predictor:
    """Return the network of the run's seed number `seed`, from 0, with its preprocessing.

    Raises ConfigError if there is no such seed, or if the statistics that the preprocessing needs
    were not kept and the training images are missing.
    """
    experiment, variables = saved.experiment, saved.seed_variables(seed)
    net = experiment.net
    prepare = net.inputs.make_preprocess(load_statistics(saved.workdir, experiment))

    @jax.jit
    def probabilities(images: jax.Array) -> jax.Array:
        heads: Any = net.model.apply(variables, prepare(None, images), train=False)
        return jax.nn.softmax(heads["logits"].astype(jnp.float32))

    return Predictor(experiment, variables, prepare, probabilities, experiment.class_names())


def predict_files(predictor: Predictor, files: Sequence[Path], top: int = 5) -> Predictions:
    """Predict the `top` most probable classes of each image file that can be read.

    An image is cropped as in evaluation. If all images of the dataset have one size, the image is
    first resized to it and converted to its channels.
    """
    done, size = Predictions([], {}), predictor.experiment.eval_batch_size
    for i in range(0, len(files), size):
        sound: dict[Path, np.ndarray] = {}
        for file in files[i : i + size]:
            try:
                sound[file] = read_image(file, predictor.experiment)
            except DataError as e:
                done.errors[str(file)] = e
        if not sound:
            continue
        probabilities = np.asarray(predictor.probabilities(np.stack(list(sound.values()))))
        for file, p in zip(sound, probabilities, strict=True):
            if not np.isfinite(p).all():
                raise NotFinite(f"{file}: the probabilities are not finite")
            best = np.argsort(-p, kind="stable")[:top]
            rows = [
                {"class": predictor.class_names[k], "label": int(k), "probability": float(p[k])}
                for k in best
            ]
            done.found.append({"file": str(file), "top": rows})
    return done


def read_image(path: Path, experiment: Experiment) -> np.ndarray:
    """Read an image file as u8[H, W, C], in the form in which evaluation delivers images.

    Raises DataError for a file that is no image, or a damaged one.
    """
    with data_errors(str(path)):
        encoded = read_regular(path)
    return decode_image(encoded, experiment, str(path))


def decode_image(encoded: bytes, experiment: Experiment, name: str) -> np.ndarray:
    """Decode the content of an image file as `read_image` does. name: for messages."""
    shape = experiment.dataset.stored_shape
    if not experiment.dataset.in_memory:
        crop = experiment.inputs.crop
        return decode_and_crop(encoded, crop.evaluation_box, crop.host_size, name, shape[-1])
    return decode_resized(encoded, shape, name)
