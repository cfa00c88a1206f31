"""Draw pictures of a run's network and of its predictions on test images."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from cnn_archs.data.datasets.splits import Split
from cnn_archs.data.loading.streaming import Streamed
from cnn_archs.evaluate.load import load_images
from cnn_archs.evaluate.predict import Predictor, load_predictor, read_image
from cnn_archs.layer_patterns import ModulePath
from cnn_archs.run_dir import FILTERS, RunDir
from cnn_archs.training.layer_stats import subtree
from cnn_archs.visualize import figures
from cnn_archs.visualize.figures import MISS, CaptionedImage, shorten
from cnn_archs.visualize.images import evaluation_batches
from cnn_archs.visualize.layers import called_modules, feature_maps

MOST_MISTAKES = 40  # images in mistakes.png, at most


class Mistake(NamedTuple):
    """A wrong prediction. probability: of the predicted class."""

    probability: float
    image: np.ndarray
    label: int
    predicted: int


def write_figures(workdir: Path, image: Path | None, data_dir: str = "") -> dict[str, str]:
    """Draw pictures of a run's first network in `workdir`/figures; return {file: description}.

    image: a file whose feature maps are drawn; None: the first test image. data_dir: where the test
    images are; empty: where they were in training. Raises ConfigError or
    DataError if it is no image, or if there is no run.
    """
    run = load_predictor(workdir, data_dir)
    experiment = run.experiment
    test, _ = load_images(workdir, experiment, "test")
    if image:
        chosen, source = read_image(image, experiment), shorten(image.name, 40)
    else:
        chosen, source = next(evaluation_batches(test, 1))[0][0], "the first test image"
    folder = RunDir(workdir).figures
    folder.mkdir(exist_ok=True)
    shows = {**draw_inside(run, chosen, source, folder), **draw_mistakes(run, test, folder)}
    return {str(folder / name): what for name, what in shows.items()}


def write_filters(workdir: Path) -> dict[str, str]:
    """Draw the first layer's filters, for which no image is needed; return {file: description}."""
    run, folder = load_predictor(workdir), RunDir(workdir).figures
    folder.mkdir(exist_ok=True)
    return {
        str(folder / name): what
        for name, what in draw_first_filters(run, called_modules(run), folder).items()
    }


def draw_first_filters(
    run: Predictor, called: Sequence[ModulePath], folder: Path
) -> dict[str, str]:
    """Draw filters.png, if the first layer has 1 or 3 input channels.

    A dense layer's weights are drawn as they lie over the whole image. called: from
    `called_modules`.
    """
    kernels = ((path, subtree(run.variables["params"], path)) for path in called)
    path, kernel = next((path, node["kernel"]) for path, node in kernels if "kernel" in node)
    if kernel.ndim == 2:
        kernel = kernel.reshape(*run.experiment.image_shape, -1)
    h, w, channels, count = kernel.shape
    if channels not in (1, 3):
        return {}
    title = f"{'/'.join(path)} of {run.title}: {count} filters of {h}x{w}x{channels}"
    figures.draw_filters(np.asarray(kernel, np.float32), title, folder / FILTERS)
    return {FILTERS: "the first layer's weights"}


def draw_inside(run: Predictor, image: np.ndarray, source: str, folder: Path) -> dict[str, str]:
    """Draw filters.png, and the features.png of an image u8[H, W, C]."""
    called = called_modules(run)
    written = draw_first_filters(run, called, folder)
    layers = feature_maps(run, called, image)
    p = np.asarray(run.probabilities(image[None]))[0]
    title = (
        f"{run.title}: {source}, taken for {run.class_names[p.argmax()]} ({100 * p.max():.1f} %)"
    )
    figures.draw_features(image, layers, title, folder / "features.png")
    return {**written, "features.png": f"maps of {source}, layer by layer"}


def draw_mistakes(run: Predictor, test: Split | Streamed, folder: Path) -> dict[str, str]:
    """Draw confusion.png and mistakes.png of the test images."""
    size = run.experiment.eval_batch_size
    counts, mistakes = judge_predictions(run.probabilities, test, len(run.class_names), size)
    images, wrong = int(counts.sum()), int(counts.sum() - np.trace(counts))
    title = f"{run.title}: {100 * wrong / images:.2f} % error on {images:,} test images"
    there = np.flatnonzero(counts.any(0) | counts.any(1))
    names = [run.class_names[i] for i in there]
    figures.draw_confusion(counts[np.ix_(there, there)], names, title, folder / "confusion.png")
    shown = [CaptionedImage(m.image, caption_of(m, run.class_names), MISS) for m in mistakes]
    title = (
        f"{run.title}: the most confident of {wrong:,} mistakes (true class, as what it was taken)"
    )
    figures.draw_gallery(shown, title, folder / "mistakes.png")
    return {
        "confusion.png": "how many of each class are taken for which",
        "mistakes.png": "the most confident mistakes on test images",
    }


def judge_predictions(
    probabilities_of: Callable[[np.ndarray], jax.Array],
    data: Split | Streamed,
    classes: int,
    size: int,
) -> tuple[np.ndarray, list[Mistake]]:
    """Return counts i64[true, predicted] over all of `data`, and its most confident mistakes."""
    counts = np.zeros((classes, classes), np.int64)
    mistakes: list[Mistake] = []
    for images, labels in evaluation_batches(data, size):
        p = np.asarray(probabilities_of(images))
        predicted = p.argmax(-1)
        np.add.at(counts, (labels, predicted), 1)
        for i in np.flatnonzero(predicted != labels):
            best = int(predicted[i])
            mistakes.append(Mistake(float(p[i, best]), images[i], int(labels[i]), best))
        mistakes = sorted(mistakes, key=lambda m: -m.probability)[:MOST_MISTAKES]
    return counts, mistakes


def caption_of(mistake: Mistake, names: Sequence[str]) -> str:
    """Format the true and the predicted class of a mistake."""
    true, predicted = (shorten(names[i], 18) for i in (mistake.label, mistake.predicted))
    return f"{true}\nas {predicted} {100 * mistake.probability:.1f} %"
