"""Run a row of figure 9 on a dataset, and describe what was found as a result file does."""

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn_archs.classical.last_layer import open_trained, states_before_output
from cnn_archs.classical.methods import METHODS, OF_SQUARES
from cnn_archs.classical.rows import ROWS, Form, Row, describe
from cnn_archs.data.datasets import sources
from cnn_archs.data.datasets.splits import Split, subsample
from cnn_archs.data.transforms import crops
from cnn_archs.errors import ConfigError
from cnn_archs.run_dir import RunDir
from cnn_archs.runtime.environment import (
    describe_environment,
    package_version,
    provenance,
    published,
)

LIBRARIES = ("scikit-learn", "scipy")


class Vectors(NamedTuple):
    """Holds the vectors of one network, or of one draw of random numbers, to fit to and to test on.

    train f64[N, D], test f64[M, D]. knobs: further settings of the method.
    """

    train: np.ndarray
    test: np.ndarray
    knobs: dict[str, Any]


class Found(NamedTuple):
    """Holds the errors of a row, and how they were found.

    header: the entries of a result that say what was tested. errors: of each network or draw.
    examples: the number of test images. made: how, see `provenance`.
    """

    header: dict[str, Any]
    errors: list[float]
    examples: int
    made: dict[str, Any]


def run_row(
    name: str, dataset: str, data_dir: str, examples: int, workdir: Path | None = None
) -> dict[str, Any]:
    """Predict all test images of `dataset`, and return the content of a result file.

    dataset: its name; empty: mnist, or that of the run in `workdir`. workdir: the run of the
    network below the row, for a row that has one. examples: the number of training images to use,
    chosen by class; 0 for all. Raises ConfigError for a row, a number or a run that is not
    possible, and DataError if the dataset is missing.
    """
    row = find_row(name, dataset, workdir)
    began = time.monotonic()
    found = (
        run_errors(row, workdir, data_dir, examples)
        if workdir
        else dataset_errors(name, row, dataset or "mnist", data_dir, examples)
    )
    packages = {library: package_version(library) for library in LIBRARIES}
    return {
        "name": name,
        **found.header,
        "protocol": "single",
        "test": {"top1_error": found.errors, "examples": found.examples},
        "seconds": time.monotonic() - began,
        "made": {
            **found.made,
            "packages": found.made["packages"] | packages,
            "row": describe(row, examples),
        },
    }


def dataset_errors(name: str, row: Row, dataset: str, data_dir: str, examples: int) -> Found:
    """Return the errors of a row that takes pixels. See `run_row`."""
    train, test = (sources.load_split(dataset, part, data_dir) for part in ("train", "test"))
    train = choose(train, examples, dataset)
    check_squares(name, row, train)
    return Found(
        header={"dataset": dataset, **({"seeds": list(row.seeds)} if row.seeds else {})},
        errors=errors_of(row, train, test, of_pixels(row, train, test)),
        examples=len(test),
        made=published(describe_environment()),
    )


def run_errors(row: Row, workdir: Path, data_dir: str, examples: int) -> Found:
    """Return the errors of a row that takes the states of the networks of a run. See `run_row`."""
    run = open_trained(workdir, data_dir, row.network)
    experiment, test = run.saved.experiment, run.test
    train = choose(run.train, examples, experiment.dataset.name)
    of_networks = (
        Vectors(states_before_output(net, train), states_before_output(net, test), {})
        for net in run.predictors()
    )
    header = {
        "dataset": experiment.dataset.name,
        "seeds": list(experiment.seeds),
        "steps": run.saved.step,
        "epochs": run.epochs(),
        **run.changed,
    }
    made = provenance(describe_environment() | RunDir(workdir).recipe(), experiment.config)
    return Found(header, errors_of(row, train, test, of_networks), len(test), made)


def find_row(name: str, dataset: str, workdir: Path | None) -> Row:
    """Return the row `name`. Raises ConfigError if there is none, or if its network is missing."""
    if name not in ROWS:
        raise ConfigError(f"there is no row {name}, only {', '.join(ROWS)}")
    row = ROWS[name]
    if row.network and not workdir:
        raise ConfigError(
            f"{name} needs a trained network: --workdir=RUN of train --config={row.network}"
        )
    if workdir and not row.network:
        raise ConfigError(f"--workdir: {name} has no network; leave it out")
    if workdir and dataset:
        raise ConfigError("--dataset: the images are those of the run; leave it out")
    return row


def choose(train: Split, examples: int, dataset: str) -> Split:
    """Return `examples` training images of `dataset`; 0: all. Raises ConfigError for too many."""
    if examples > len(train):
        raise ConfigError(f"--examples={examples}: {dataset} has {len(train):,} to train on")
    return subsample(train, examples, "--examples") if examples else train


def check_squares(name: str, row: Row, split: Split) -> None:
    """Raise ConfigError if the row moves pixels, and the images are no large squares in gray."""
    height, width, channels = split.images.shape[1:]
    if row.method in OF_SQUARES and not (height == width >= 16 and channels == 1):
        raise ConfigError(
            f"--dataset: {name} takes square images in gray of 16x16 or more, not of "
            f"{height}x{width}x{channels}; choose another dataset"
        )


def errors_of(row: Row, train: Split, test: Split, cases: Iterable[Vectors]) -> list[float]:
    """Return the part of the test images whose class is predicted wrongly, for each case."""
    predict = METHODS[row.method]
    return [
        float(np.mean(predict(x, train.labels, tested, **row.knobs, **knobs) != test.labels))
        for x, tested, knobs in cases
    ]


def of_pixels(row: Row, train: Split, test: Split) -> Iterator[Vectors]:
    """Yield the images as vectors, for each seed of the row."""
    inputs, tested = to_vectors(train, row.form), to_vectors(test, row.form)
    for draw in [{"seed": seed} for seed in row.seeds] or [{}]:
        yield Vectors(inputs, tested, draw)


def to_vectors(split: Split, form: Form) -> np.ndarray:
    """Return the images as vectors f64[N, D] with values from 0 to 1, in the given form."""
    images = split.images
    if form != "regular":
        cut = jax.jit(cutter(form, images.shape[1]))
        batches = np.array_split(images, max(1, len(images) // 10_000))
        images = np.concatenate([np.asarray(cut(jnp.asarray(b, jnp.float32))) for b in batches])
    return images.reshape(len(images), -1) / 255.0


def cutter(form: Form, height: int) -> Callable[[jax.Array], jax.Array]:
    """Return the function that cuts the digits of `form` out of images f32[N, height, W, C].

    Deslanted digits are the central 20x20 pixels. Reduced ones are made smaller, from a box of
    20x20 to one of 16x16, and this box is cut out.
    """
    if form == "deslanted":
        crop = crops.create("deslant", (20, 20), side=height)
        return lambda images: crop.crop_on_device(None, images)
    crop, edge = crops.create("reduce", (height, height), before=20, after=16), (height - 16) // 2
    return lambda images: crop.crop_on_device(None, images)[:, edge : edge + 16, edge : edge + 16]


def format_row(result: dict[str, Any]) -> str:
    """Format the errors of a result of `run_row` in percent."""
    errors = ", ".join(f"{100 * error:.2f}" for error in result["test"]["top1_error"])
    return (
        f"{result['name']} on {result['dataset']}: test error {errors} % of "
        f"{result['test']['examples']:,} images, in {result['seconds']:.0f} s"
    )
