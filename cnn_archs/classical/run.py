"""Run a row of figure 9 on a dataset, and describe what was found as a result file does."""

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cnn_archs.classical.methods import METHODS
from cnn_archs.classical.rows import ROWS, Form, describe
from cnn_archs.data.datasets import sources
from cnn_archs.data.datasets.splits import Split, subsample
from cnn_archs.data.transforms import crops
from cnn_archs.errors import ConfigError
from cnn_archs.runtime.environment import describe_environment, package_version, published

SIDES = {"deslanted": 20}  # of the square that is cut out, in pixels
LIBRARIES = ("scikit-learn", "scipy")


def run_row(name: str, dataset: str, data_dir: str, examples: int) -> dict[str, Any]:
    """Predict all test images of `dataset`, and return the content of a result file.

    examples: the number of training images to use, chosen by class; 0 for all. Raises ConfigError
    for a row or number that is not possible, and DataError if the dataset is missing.
    """
    if name not in ROWS:
        raise ConfigError(f"there is no row {name}, only {', '.join(ROWS)}")
    row = ROWS[name]
    train, test = (sources.load_split(dataset, part, data_dir) for part in ("train", "test"))
    if examples:
        if examples > len(train):
            raise ConfigError(f"--examples={examples}: {dataset} has {len(train):,} to train on")
        train = subsample(train, examples, "--examples")
    began = time.monotonic()
    predict = METHODS[row.method]
    inputs, tested = to_vectors(train, row.form), to_vectors(test, row.form)
    errors = [
        float(np.mean(predict(inputs, train.labels, tested, **row.knobs, **draw) != test.labels))
        for draw in ([{"seed": seed} for seed in row.seeds] or [{}])
    ]
    made = published(describe_environment())
    made["packages"] |= {library: package_version(library) for library in LIBRARIES}
    return {
        "name": name,
        "dataset": dataset,
        "protocol": "single",
        **({"seeds": list(row.seeds)} if row.seeds else {}),
        "test": {"top1_error": errors, "examples": len(test)},
        "seconds": time.monotonic() - began,
        "made": {**made, "row": describe(row, examples)},
    }


def to_vectors(split: Split, form: Form) -> np.ndarray:
    """Return the images as vectors f64[N, D] with values from 0 to 1, in the given form."""
    images = split.images
    if form != "regular":
        side, height = SIDES[form], images.shape[1]
        crop = crops.create("deslant", (side, side), side=height)
        cut = jax.jit(lambda x: crop.crop_on_device(None, x))
        batches = np.array_split(images, max(1, len(images) // 10_000))
        images = np.concatenate([np.asarray(cut(jnp.asarray(b, jnp.float32))) for b in batches])
    return images.reshape(len(images), -1) / 255.0


def format_row(result: dict[str, Any]) -> str:
    """Format the errors of a result of `run_row` in percent."""
    errors = ", ".join(f"{100 * error:.2f}" for error in result["test"]["top1_error"])
    return (
        f"{result['name']} on {result['dataset']}: test error {errors} % of "
        f"{result['test']['examples']:,} images, in {result['seconds']:.0f} s"
    )
