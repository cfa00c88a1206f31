"""Compute the states of a trained network before its last layer, for methods that replace it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn_archs.config import load_config
from cnn_archs.data.datasets.splits import Split
from cnn_archs.errors import ConfigError
from cnn_archs.evaluate.load import RestoredRun, load_images, open_run, restore_run
from cnn_archs.evaluate.predict import Predictor, make_predictor
from cnn_archs.models.network import SquashedChain
from cnn_archs.run_dir import RunDir


class TrainedRun(NamedTuple):
    """Holds a run of the network below a row, and the images that it was trained and tested with.

    changed: the entry `changed_data` of a result, if these are no longer the images of the run.
    """

    saved: RestoredRun
    train: Split
    test: Split
    changed: dict[str, str]

    def predictors(self) -> Iterator[Predictor]:
        """Yield the network of each seed."""
        for i in range(len(self.saved.experiment.seeds)):
            yield make_predictor(self.saved, i)

    def epochs(self) -> float:
        """Return how often the run has passed over its training images."""
        return self.saved.step * self.saved.experiment.recipe.batch_size / len(self.train)


def open_trained(workdir: Path, data_dir: str, network: str) -> TrainedRun:
    """Restore the run in `workdir`, whose network must be that of the experiment `network`.

    data_dir: where its images are; empty: where they were. Raises ConfigError for another network
    or for images that are not held in memory, and DataError if there is no checkpoint.
    """
    experiment, label = open_run(workdir, data_dir), RunDir(workdir).label()
    wanted = load_config(network, []).model.name
    if experiment.name != wanted:
        raise ConfigError(f"--workdir: {label} is a run of {experiment.name}, not of {wanted}")
    saved = restore_run(workdir, experiment)
    train, changed = load_images(workdir, experiment, "train")
    test, changed_test = load_images(workdir, experiment, "test")
    if not (isinstance(train, Split) and isinstance(test, Split)):
        raise ConfigError(
            f"--workdir: the images of {label} are read one by one; a row takes a run of a dataset "
            "that is held in memory, such as mnist"
        )
    return TrainedRun(saved, train, test, changed | changed_test)


def states_before_output(net: Predictor, split: Split) -> np.ndarray:
    """Return the states f64[N, D] of the last hidden layer for all images of `split`."""
    model, at_once = net.experiment.model, net.experiment.eval_batch_size

    @jax.jit
    def states(images: jax.Array) -> jax.Array:
        inputs = net.prepare(None, images)
        found: Any = model.apply(net.variables, inputs, method=hidden_states)
        return found

    batches = (split.images[i : i + at_once] for i in range(0, len(split), at_once))
    return np.concatenate(
        [np.asarray(states(jnp.asarray(images)), np.float64) for images in batches]
    )


def hidden_states(model: SquashedChain, x: Any) -> Any:
    """Map the input x: f32[N, H, W, C] to the states f32[N, D] of the last hidden layer."""
    for layer in model.LAYERS[:-1]:
        x = model.squash(model.affine(x, layer))
    return x.reshape(len(x), -1)
