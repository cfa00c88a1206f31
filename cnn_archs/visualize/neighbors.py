"""Find the training images that a network takes for the most like a test image (AlexNet, figure 4).

Two images are alike if the vectors of their features are close, by the Euclidean distance.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cnn_archs import models
from cnn_archs.data.datasets.splits import Split
from cnn_archs.data.loading.streaming import Streamed
from cnn_archs.errors import ConfigError, NotFinite
from cnn_archs.evaluate.load import load_images
from cnn_archs.evaluate.predict import Predictor, load_predictor, read_image
from cnn_archs.layer_patterns import ModulePath
from cnn_archs.run_dir import RunDir
from cnn_archs.visualize.contact_sheet import write_sheet
from cnn_archs.visualize.images import as_pixels, evaluation_batches, spread_images
from cnn_archs.visualize.layers import called_modules, check_path
from cnn_archs.visualize.reconstructions import unnormalized_view

NEAREST = 6  # training images that are shown for each test image, as in figure 4
NEIGHBORS = "neighbours.png"


class Neighbors(NamedTuple):
    """The NEAREST training images of Q test images, the nearest first.

    distances: f32[Q, NEAREST]. labels: i32[Q, NEAREST]. images: u8[Q, NEAREST, H, W, C].
    """

    distances: np.ndarray
    labels: np.ndarray
    images: np.ndarray


def write_neighbors(
    workdir: Path, layer: str, image: Path | None, count: int, data_dir: str = ""
) -> dict[str, Any]:
    """Draw `workdir`/figures/neighbours.png, and return what it shows.

    layer: whose output are the features; "": the input of the last layer. image: a file; None:
    `count` test images, spread evenly. data_dir: where the images are; empty: where they were in
    training. Raises ConfigError if there is no such layer, DataError if `image` is no image.
    """
    run = load_predictor(workdir, data_dir)
    features, of_what = make_features(run, layer)
    if image:
        asked, names = read_image(image, run.experiment)[None], [image.name]
    else:
        test, _ = load_images(workdir, run.experiment, "test")
        asked, labels = spread_images(test, count)
        names = [run.class_names[label] for label in labels]
    train, _ = load_images(workdir, run.experiment, "train")
    found = find_neighbors(run, features, asked, train)
    folder = RunDir(workdir).figures
    folder.mkdir(exist_ok=True)
    shown = [as_pixels(unnormalized_view(run, each)) for each in found.images]
    queries = as_pixels(unnormalized_view(run, asked))
    write_sheet(queries, np.stack(shown), folder / NEIGHBORS, heads=("test image", "nearest"))
    return {
        "file": str(folder / NEIGHBORS),
        "features": of_what,
        "images": [
            {
                "image": name,
                "nearest": [
                    {"class": run.class_names[label], "distance": float(distance)}
                    for label, distance in zip(*rows, strict=True)
                ],
            }
            for name, *rows in zip(names, found.labels, found.distances, strict=True)
        ],
    }


def make_features(run: Predictor, layer: str) -> tuple[Callable[[jax.Array], jax.Array], str]:
    """Return the function from images u8[N, H, W, C] to features f32[N, D], and their name.

    They are the output of `layer`, or for "" the input of the layer that computes the classes: the
    last hidden layer after its activation function. Raises ConfigError for an unknown layer, and
    if the network has no such last layer.
    """
    path = check_path(run, layer) if layer else head_path(run)
    model = run.experiment.model

    def features(images: jax.Array) -> jax.Array:
        kept: list[jax.Array] = []

        def note(following: Any, args: Any, kwargs: Any, context: Any) -> Any:
            out = following(*args, **kwargs)
            if context.module.path == path and context.method_name == "__call__":
                kept.append(out if layer else args[0])
            return out

        with nn.intercept_methods(note):
            model.apply(run.variables, run.prepare(None, images), train=False)
        return kept[-1].astype(jnp.float32).reshape(len(images), -1)

    name = "/".join(path)
    return jax.jit(features), name if layer else f"the input of {name}"


def head_path(run: Predictor) -> ModulePath:
    """Return the path of the layer that computes the classes."""
    experiment = run.experiment
    heads = {path[1:-1] for path in models.head_paths(experiment.model, experiment.image_shape)}
    found = [path for path in called_modules(run) if path in heads]
    if not found:
        raise ConfigError(
            f"neighbours: {experiment.name} has no last layer with a number of classes; name a "
            "layer with --layer"
        )
    return found[-1]


def find_neighbors(
    run: Predictor,
    features: Callable[[jax.Array], jax.Array],
    asked: np.ndarray,
    train: Split | Streamed,
) -> Neighbors:
    """Return the nearest of all training images of each image in asked u8[Q, H, W, C].

    Of equally near ones the first is the nearest. Raises NotFinite if a feature is not finite.
    """
    wanted = features(jnp.asarray(asked))

    @jax.jit
    def distances_to(images: jax.Array) -> jax.Array:
        found = features(images)
        return jnp.sqrt(jax.lax.map(lambda one: jnp.square(found - one[None]).sum(-1), wanted))

    best: list[list[tuple[float, int, np.ndarray]]] = [[] for _ in asked]
    for images, labels in evaluation_batches(train, run.experiment.eval_batch_size):
        found = np.asarray(distances_to(images))
        if not np.isfinite(found).all():
            raise NotFinite("the features of an image are not finite")
        for near, row in zip(best, found, strict=True):
            for i in np.argsort(row, kind="stable")[:NEAREST]:
                if len(near) < NEAREST or row[i] < near[-1][0]:
                    near.append((float(row[i]), int(labels[i]), images[i].copy()))
                    near.sort(key=lambda n: n[0])
                    del near[NEAREST:]
    columns = (np.array([[n[k] for n in near] for near in best]) for k in range(3))
    return Neighbors(*columns)
