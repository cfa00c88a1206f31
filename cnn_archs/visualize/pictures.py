"""Draw pictures of an experiment's augmentation, of a run's networks and of their predictions."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unicodedata import normalize

import jax
import numpy as np

from cnn_archs.data.datasets.splits import Split
from cnn_archs.data.loading import sampler
from cnn_archs.data.loading.decode import decode_and_crop
from cnn_archs.data.loading.streaming import Streamed
from cnn_archs.evaluate.load import load_images
from cnn_archs.evaluate.predict import Predictor, load_predictor, read_image
from cnn_archs.experiment import Experiment
from cnn_archs.run_dir import FILTERS, RunDir
from cnn_archs.training.layer_stats import ModulePath, subtree
from cnn_archs.visualize import figures
from cnn_archs.visualize.contact_sheet import write_sheet
from cnn_archs.visualize.figures import HIT, MISS, CaptionedImage, shorten

MOST_MISTAKES = 40  # images in mistakes.png, at most
MOST_PREDICTIONS = 500  # images in a sheet of predictions, at most
MOST_LAYERS = 24  # rows of features.png, at most


def write_variants(experiment: Experiment, output: Path, images: int, count: int) -> dict[str, Any]:
    """Write a PNG of training images, each with `count` augmented variants beside it.

    Colors and geometry are augmented as in training, but no mean is subtracted and pixels keep
    their range, so that the images can be recognized. They are the first images that the run's
    first seed trains on.
    """
    inputs = dataclasses.replace(
        experiment.inputs,
        mean="none",
        std=(),
        reverse_channels=False,
        standardize=None,
        pixel_range=(0.0, 255.0),
        pad=0,
    )
    prepare, seed = jax.jit(inputs.make_preprocess({})), experiment.seeds[0]
    train = experiment.dataset.split("train", inputs.crop)
    examples = len(train) if isinstance(train, Split) else train.examples
    index = sampler.permutation(examples, seed, 0)[:images]
    originals = delivered_images(train, index, None)
    drawn = []
    for variant in range(count):
        rng = np.random.Generator(np.random.Philox(key=[seed, variant]))
        key = jax.random.fold_in(jax.random.key(seed), variant)
        drawn.append(as_pixels(prepare(key, delivered_images(train, index, rng))))
    shown = as_pixels(prepare(None, originals)) if isinstance(train, Streamed) else originals
    write_sheet(shown, np.stack(drawn, axis=1), output)
    return {"file": str(output), "images": len(index), "variants": count}


def delivered_images(
    train: Split | Streamed, index: np.ndarray, rng: np.random.Generator | None
) -> np.ndarray:
    """Return the images at `index` as the device gets them, u8[N, H, W, C].

    Without `rng` they are those of an evaluation.
    """
    if isinstance(train, Split):
        return train.images[index]
    crop, channels = train.crop, train.records.channels
    return np.stack(
        [
            decode_and_crop(
                record.encoded,
                lambda h, w: crop.host_box(h, w, rng),
                crop.host_size,
                record.name,
                channels,
            )
            for record in (train.records[int(i)] for i in index)
        ]
    )


def as_pixels(images: jax.Array) -> np.ndarray:
    """Convert f32 images to u8 by rounding and clipping."""
    return np.clip(np.round(np.asarray(images)), 0, 255).astype(np.uint8)


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


def called_modules(run: Predictor) -> list[ModulePath]:
    """List the modules of the network in the order in which they are called."""
    called: list[ModulePath] = []

    def note(module: Any, method: str) -> bool:
        if method == "__call__" and module.path:
            called.append(module.path)
        return False

    def traced(x: jax.Array) -> Any:
        options: Any = dict(capture_intermediates=note, mutable=["intermediates"])
        return run.experiment.model.apply(run.variables, x, train=False, **options)

    jax.eval_shape(traced, jax.ShapeDtypeStruct((1, *run.experiment.image_shape), np.float32))
    return called


def feature_maps(
    run: Predictor, called: Sequence[ModulePath], image: np.ndarray
) -> list[tuple[str, np.ndarray]]:
    """Return (name, f32[H', W', C']) of at most MOST_LAYERS layers for an image u8[H, W, C]."""

    def capture(module: Any, method: str) -> bool:
        return method == "__call__" and len(module.path) == 1

    @jax.jit
    def outputs_of(images: jax.Array) -> Any:
        options: Any = dict(capture_intermediates=capture, mutable=["intermediates"])
        x = run.prepare(None, images)
        _, kept = run.experiment.model.apply(run.variables, x, train=False, **options)
        return {name: inner["__call__"][0] for name, inner in kept["intermediates"].items()}

    outputs = outputs_of(image[None])
    names = [path[0] for path in dict.fromkeys(called) if len(path) == 1]
    maps = [(n, outputs[n]) for n in names if getattr(outputs[n], "ndim", 0) == 4]
    maps = [(n, np.asarray(m[0], np.float32)) for n, m in maps if max(m.shape[1:3]) > 1]
    some = np.unique(np.linspace(0, len(maps) - 1, min(MOST_LAYERS, len(maps))).round().astype(int))
    return [maps[i] for i in some]


def evaluation_batches(
    data: Split | Streamed, size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield all of `data` in batches: images u8[N, H, W, C] and labels i32[N].

    N is `size` at most.
    """
    if isinstance(data, Split):
        for i in range(0, len(data), size):
            yield data.images[i : i + size], data.labels[i : i + size]
    else:
        for images, labels, mask in data.evaluation_batches(size, put=lambda batch: batch):
            yield images[mask], labels[mask]


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


def write_predictions(
    run: Predictor, found: Sequence[dict[str, Any]], output: Path, *, invert: bool
) -> None:
    """Write a PNG of the predicted images, as the network sees them. invert: as negatives.

    Each image has its most probable class and the probability. Its frame shows whether that class
    is the true one, if `class_named_by` finds it.
    """
    shown, hits, known = [], 0, 0
    for p in found[:MOST_PREDICTIONS]:
        path, best = Path(p["file"]), p["top"][0]
        true = class_named_by(path, run.class_names)
        caption = f"{shorten(best['class'], 16)} {100 * best['probability']:.1f} %"
        frame = "none" if true is None else HIT if true == best["class"] else MISS
        if frame == MISS:
            caption += f"\nis {shorten(str(true), 18)}"
        known, hits = known + (true is not None), hits + (frame == HIT)
        shown.append(
            CaptionedImage(
                read_image(path, run.experiment, invert=invert),
                f"{shorten(path.name, 20)}\n{caption}",
                frame,
            )
        )
    title = f"{run.experiment.name} on {len(shown):,} of {len(found):,} images"
    title += f": right on {hits:,} of the {known:,} whose class is known" if known else ""
    figures.draw_gallery(shown, title, output)


def class_named_by(path: Path, names: Sequence[str]) -> str | None:
    """Return the class that an image's path names, or None.

    It is the name of a folder, the nearest first, or the file's name up to the first dot, as in
    cat.0.jpg; decomposed Unicode counts as composed.
    """
    words = [path.resolve().parent.name, *(p.name for p in path.resolve().parent.parents)]
    if path.name.count(".") > 1:
        words.append(path.name.split(".")[0])
    return next((word for word in (normalize("NFC", w) for w in words) if word in names), None)
