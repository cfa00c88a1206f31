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
from cnn_archs.distributed import multihost
from cnn_archs.errors import DataError, NotFinite
from cnn_archs.evaluate.doubts import Doubts, find_doubts
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

    found: {"file", "top"} each, where "top" has the most probable classes. errors: by file. notes:
    lines about images that are probably not seen as the user means them.
    """

    found: list[dict[str, Any]]
    errors: dict[str, DataError]
    notes: list[str]


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


def predict_files(
    predictor: Predictor, files: Sequence[Path], top: int = 5, *, invert: bool = False
) -> Predictions:
    """Predict the `top` most probable classes of each image file that can be read.

    An image is cropped as in evaluation. If all images of the dataset have one size, the image is
    first resized to it and converted to its channels. Several processes share the files, and all
    return all predictions. invert: whether the network gets the negatives of the images.
    """
    multihost.check_equal("the files to predict", [str(file) for file in files])
    own = [files[i] for i in multihost.local_indices(len(files))]
    outcomes = multihost.gather_items(predict_share(predictor, own, top, invert=invert), len(files))
    found, errors, doubts = list[dict[str, Any]](), {}, Doubts()
    for file, outcome in zip(map(str, files), outcomes, strict=True):
        if "error" in outcome:
            errors[file] = DataError(outcome["error"])
        else:
            found.append({"file": file, "top": outcome["top"]})
            doubts.add(file, outcome["doubts"])
    return Predictions(found, errors, doubts.notes(len(files), inverted=invert))


def predict_share(
    predictor: Predictor, files: Sequence[Path], top: int, *, invert: bool
) -> list[dict[str, Any]]:
    """Return {"top", "doubts"} of each file that can be read, and {"error"} of each other one.

    top: see `predict_images`. doubts: of `find_doubts`. error: says why a file cannot be read.
    """
    experiment, outcomes = predictor.experiment, list[dict[str, Any]]()
    background = experiment.dataset.background()
    for i in range(0, len(files), experiment.eval_batch_size):
        sound: dict[str, np.ndarray] = {}
        for file in files[i : i + experiment.eval_batch_size]:
            try:
                encoded = read_encoded(file)
                image = decode_image(encoded, str(file), experiment, invert=invert)
            except DataError as e:
                outcomes.append({"error": str(e)})
            else:
                sound[str(file)] = image
                outcomes.append({"doubts": find_doubts(encoded, image, background)})
        if sound:
            rows = iter(predict_images(predictor, np.stack([*sound.values()]), [*sound], top))
            for outcome in outcomes[i:]:
                if "doubts" in outcome:
                    outcome["top"] = next(rows)
    return outcomes


def predict_images(
    predictor: Predictor, images: np.ndarray, names: Sequence[str], top: int = 5
) -> list[list[dict[str, Any]]]:
    """Return the `top` most probable classes of each image, as {"class", "label", "probability"}.

    Outputs of the network beyond the classes of its dataset are left out.
    images: u8[N, H, W, C], in the form that `decode_image` returns. names: of the images, for
    errors. Raises NotFinite if the probabilities of an image are not finite.
    """
    found = []
    probabilities = np.asarray(predictor.probabilities(images))
    for name, p in zip(names, probabilities, strict=True):
        if not np.isfinite(p).all():
            raise NotFinite(f"{name}: the probabilities are not finite")
        best = np.argsort(-p[: predictor.experiment.dataset.classes], kind="stable")[:top]
        found.append(
            [
                {"class": predictor.class_names[k], "label": int(k), "probability": float(p[k])}
                for k in best
            ]
        )
    return found


def read_encoded(path: Path) -> bytes:
    """Read an image file as it is. Raises DataError if it cannot be read."""
    with data_errors(str(path)):
        return read_regular(path)


def read_image(path: Path, experiment: Experiment, *, invert: bool = False) -> np.ndarray:
    """Read an image file as u8[H, W, C]; see `decode_image`.

    Raises DataError for a file that is no image, or a damaged one.
    """
    return decode_image(read_encoded(path), str(path), experiment, invert=invert)


def decode_image(
    encoded: bytes, name: str, experiment: Experiment, *, invert: bool = False
) -> np.ndarray:
    """Decode an image to u8[H, W, C], in the form in which evaluation delivers images.

    invert: whether to return its negative. Raises DataError about `name` if it is damaged.
    """
    shape = experiment.dataset.stored_shape
    if experiment.dataset.in_memory:
        image = decode_resized(encoded, shape, name)
    else:
        crop = experiment.inputs.crop
        image = decode_and_crop(encoded, crop.evaluation_box, crop.host_size, name, shape[-1])
    return 255 - image if invert else image
