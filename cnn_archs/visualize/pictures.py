"""From a config, or a run, to pictures to look at."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from cnn_archs.data.datasets.sources import Split
from cnn_archs.data.loading import sampler
from cnn_archs.data.loading.decode import decode_and_crop
from cnn_archs.data.loading.streaming import Streamed
from cnn_archs.evaluate.predict import Predictor, load_predictor, read_image
from cnn_archs.experiment import Experiment
from cnn_archs.run_dir import FILTERS, RunDir
from cnn_archs.visualize import figures
from cnn_archs.visualize.contact_sheet import sheet
from cnn_archs.visualize.figures import HIT, MISS, Shown, short

MISTAKES = 40  # images in mistakes.png
SHEET = 500  # images in a sheet of predictions
LAYERS = 24  # rows of features.png


def variants(experiment: Experiment, output: Path, images: int, count: int) -> dict[str, Any]:
    """Writes the PNG `output`: training images, `count` variants of each beside it.

    Colors and geometry are those of training; the mean is left in and the scale is that of pixels,
    so that a person sees images. The images are the first ones of the run's first seed.
    """
    inputs = dataclasses.replace(
        experiment.inputs, mean="none", standardize=None, pixel_range=(0.0, 255.0), pad=0
    )
    prepare, seed = jax.jit(inputs.make_preprocess({})), experiment.seeds[0]
    train = experiment.dataset.split("train", inputs.crop)
    examples = len(train) if isinstance(train, Split) else train.examples
    index = sampler.permutation(examples, seed, 0)[:images]
    originals = delivered(train, index, None)
    drawn = []
    for variant in range(count):
        rng = np.random.Generator(np.random.Philox(key=[seed, variant]))
        key = jax.random.fold_in(jax.random.key(seed), variant)
        drawn.append(as_pixels(prepare(key, delivered(train, index, rng))))
    shown = as_pixels(prepare(None, originals)) if isinstance(train, Streamed) else originals
    sheet(shown, np.stack(drawn, axis=1), output)
    return {"file": str(output), "images": len(index), "variants": count}


def delivered(
    train: Split | Streamed, index: np.ndarray, rng: np.random.Generator | None
) -> np.ndarray:
    """The images at `index` as the device gets them, u8[N, H, W, C]; no rng: in evaluation."""
    if isinstance(train, Split):
        return train.images[index]
    crop = train.crop
    return np.stack(
        [
            decode_and_crop(
                record.encoded, lambda h, w: crop.host_box(h, w, rng), crop.host_size, record.name
            )
            for record in (train.records[int(i)] for i in index)
        ]
    )


def as_pixels(images: jax.Array) -> np.ndarray:
    """f32 -> u8, rounded and cut."""
    return np.clip(np.round(np.asarray(images)), 0, 255).astype(np.uint8)


Place = tuple[str, ...]  # of a module in its network


class Mistake(NamedTuple):
    """probability: of the class that it was taken for."""

    probability: float
    image: np.ndarray
    label: int
    predicted: int


def of_run(workdir: Path, image: Path | None) -> dict[str, str]:
    """{file: what it shows} of the pictures of a run's first network, in `workdir`/figures.

    image: a file whose feature maps are drawn; None: the first test image. ConfigError or DataError
    where it is none, or where there is no run.
    """
    run = load_predictor(workdir)
    experiment = run.experiment
    test = experiment.dataset.split("test", experiment.inputs.crop)
    if image:
        chosen, source = read_image(image, experiment), short(image.name, 40)
    else:
        chosen, source = next(batches(test, 1))[0][0], "the first test image"
    folder = RunDir(workdir).figures
    folder.mkdir(exist_ok=True)
    shows = {**inside(run, chosen, source, folder), **outside(run, test, folder)}
    return {str(folder / name): what for name, what in shows.items()}


def first_filters(workdir: Path) -> dict[str, str]:
    """`of_run`, but filters.png alone, for which no image is looked at."""
    run, folder = load_predictor(workdir), RunDir(workdir).figures
    folder.mkdir(exist_ok=True)
    return {str(folder / name): what for name, what in filters(run, calls(run), folder).items()}


def filters(run: Predictor, called: Sequence[Place], folder: Path) -> dict[str, str]:
    """filters.png, where the first layer has 1 or 3 channels. called: see `calls`.

    A dense layer's weights are drawn as they lie over the whole image.
    """
    kernels = ((path, at(run.variables["params"], path)) for path in called)
    path, kernel = next((path, node["kernel"]) for path, node in kernels if "kernel" in node)
    if kernel.ndim == 2:
        kernel = kernel.reshape(*run.experiment.image_shape, -1)
    h, w, channels, count = kernel.shape
    if channels not in (1, 3):
        return {}
    title = f"{'/'.join(path)} of {run.title}: {count} filters of {h}x{w}x{channels}"
    figures.filters(np.asarray(kernel, np.float32), title, folder / FILTERS)
    return {FILTERS: "the first layer's weights"}


def inside(run: Predictor, image: np.ndarray, source: str, folder: Path) -> dict[str, str]:
    """filters.png, and features.png of an image u8[H, W, C]."""
    called = calls(run)
    written = filters(run, called, folder)
    layers = looked_into(run, called, image)
    p = np.asarray(run.probabilities(image[None]))[0]
    title = (
        f"{run.title}: {source}, taken for {run.class_names[p.argmax()]} ({100 * p.max():.1f} %)"
    )
    figures.features(image, layers, title, folder / "features.png")
    return {**written, "features.png": f"maps of {source}, layer by layer"}


def outside(run: Predictor, test: Split | Streamed, folder: Path) -> dict[str, str]:
    """confusion.png and mistakes.png of the test images."""
    size = run.experiment.eval_batch_size
    counts, mistakes = judged(run.probabilities, test, len(run.class_names), size)
    images, wrong = int(counts.sum()), int(counts.sum() - np.trace(counts))
    title = f"{run.title}: {100 * wrong / images:.2f} % error on {images:,} test images"
    there = np.flatnonzero(counts.any(0) | counts.any(1))
    names = [run.class_names[i] for i in there]
    figures.confusion(counts[np.ix_(there, there)], names, title, folder / "confusion.png")
    shown = [Shown(m.image, caption_of(m, run.class_names), MISS) for m in mistakes]
    title = (
        f"{run.title}: the most confident of {wrong:,} mistakes (true class, as what it was taken)"
    )
    figures.gallery(shown, title, folder / "mistakes.png")
    return {
        "confusion.png": "how many of each class are taken for which",
        "mistakes.png": "the most confident mistakes on test images",
    }


def calls(run: Predictor) -> list[Place]:
    """The modules of the network, as they are called."""
    called: list[Place] = []

    def note(module: Any, method: str) -> bool:
        if method == "__call__" and module.path:
            called.append(module.path)
        return False

    def traced(x: jax.Array) -> Any:
        options: Any = dict(capture_intermediates=note, mutable=["intermediates"])
        return run.experiment.model.apply(run.variables, x, train=False, **options)

    jax.eval_shape(traced, jax.ShapeDtypeStruct((1, *run.experiment.image_shape), np.float32))
    return called


def looked_into(
    run: Predictor, called: Sequence[Place], image: np.ndarray
) -> list[tuple[str, np.ndarray]]:
    """What layers make of an image u8[H, W, C]: (name, f32[H', W', C']) of at most LAYERS, in the
    order of `called`."""

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
    some = np.unique(np.linspace(0, len(maps) - 1, min(LAYERS, len(maps))).round().astype(int))
    return [maps[i] for i in some]


def at(tree: Any, path: Sequence[str]) -> Any:
    """What stands in nested dicts at `path`; {} where there is nothing."""
    for key in path:
        tree = tree.get(key, {})
    return tree


def batches(data: Split | Streamed, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(images u8[N, H, W, C], labels i32[N]) of all of `data`, at most `size` at a time."""
    if isinstance(data, Split):
        for i in range(0, len(data), size):
            yield data.images[i : i + size], data.labels[i : i + size]
    else:
        for images, labels, mask in data.evaluation_batches(size, put=lambda batch: batch):
            yield images[mask], labels[mask]


def judged(
    probabilities_of: Callable[[np.ndarray], jax.Array],
    data: Split | Streamed,
    classes: int,
    size: int,
) -> tuple[np.ndarray, list[Mistake]]:
    """Counts i64[true, predicted] of all of `data`, and its most confident mistakes."""
    counts = np.zeros((classes, classes), np.int64)
    mistakes: list[Mistake] = []
    for images, labels in batches(data, size):
        p = np.asarray(probabilities_of(images))
        predicted = p.argmax(-1)
        np.add.at(counts, (labels, predicted), 1)
        for i in np.flatnonzero(predicted != labels):
            best = int(predicted[i])
            mistakes.append(Mistake(float(p[i, best]), images[i], int(labels[i]), best))
        mistakes = sorted(mistakes, key=lambda m: -m.probability)[:MISTAKES]
    return counts, mistakes


def caption_of(mistake: Mistake, names: Sequence[str]) -> str:
    true, predicted = (short(names[i], 18) for i in (mistake.label, mistake.predicted))
    return f"{true}\nas {predicted} {100 * mistake.probability:.1f} %"


def predictions(run: Predictor, found: Sequence[dict[str, Any]], output: Path) -> None:
    """Writes the PNG `output`: the images of `evaluate.predict`, as the network sees them.

    Each has its first class and that one's probability; its frame says whether that is the class
    that its folder, or what stands in its name before the first dot, is named after.
    """
    shown, hits, known = [], 0, 0
    for p in found[:SHEET]:
        path, best = Path(p["file"]), p["top"][0]
        true = named_by(path, run.class_names)
        caption = f"{short(best['class'], 16)} {100 * best['probability']:.1f} %"
        frame = "none" if true is None else HIT if true == best["class"] else MISS
        if frame == MISS:
            caption += f"\nis {short(str(true), 18)}"
        known, hits = known + (true is not None), hits + (frame == HIT)
        shown.append(
            Shown(read_image(path, run.experiment), f"{short(path.name, 20)}\n{caption}", frame)
        )
    title = f"{run.experiment.name} on {len(shown):,} of {len(found):,} images"
    title += f": right on {hits:,} of the {known:,} whose class is known" if known else ""
    figures.gallery(shown, title, output)


def named_by(path: Path, names: Sequence[str]) -> str | None:
    """The class of an image by its folder, the nearest first, or by its name: cat.0.jpg."""
    words = [path.resolve().parent.name, *(p.name for p in path.resolve().parent.parents)]
    if path.name.count(".") > 1:
        words.append(path.name.split(".")[0])
    return next((word for word in words if word in names), None)
