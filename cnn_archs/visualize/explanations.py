"""Draw what in an image moves a trained network: deconvnet, occlusion maps, Grad-CAM."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from cnn_archs.data.datasets.splits import Split
from cnn_archs.data.loading.streaming import Streamed
from cnn_archs.evaluate.load import load_images
from cnn_archs.evaluate.predict import Predictor, load_predictor, read_image
from cnn_archs.run_dir import RunDir
from cnn_archs.visualize import explanation_figures as figures
from cnn_archs.visualize.explanation_figures import OccludedImage
from cnn_archs.visualize.figures import CaptionedImage, draw_gallery, shorten
from cnn_archs.visualize.gradcam import find_place, make_gradcam
from cnn_archs.visualize.images import as_pixels, evaluation_batches, spread_images
from cnn_archs.visualize.layers import check_layer, last_convolution
from cnn_archs.visualize.occlusion import make_occlude
from cnn_archs.visualize.reconstructions import reconstruct_layer, unnormalized_view

SEEN = 16  # images in gradcam.png, at most
OCCLUDED = 4  # images in occlusion.png, at most


class Shown(NamedTuple):
    """The images that a picture is about.

    images: u8[N, H, W, C], with the name of each in `names`. source: says where they are from.
    test: the split that they were taken from, of which deconvnets look at all images; None for an
    image of the user's.
    """

    images: np.ndarray
    names: tuple[str, ...]
    source: str
    test: Split | Streamed | None = None


def write_explanation(
    kind: str, workdir: Path, layer: str, image: Path | None, data_dir: str = ""
) -> dict[str, str]:
    """Draw `workdir`/figures/KIND.png; return {file: description}.

    kind: deconv, occlusion or gradcam. layer: whose maps are looked at, by its name in `summarize`;
    "": the last convolution, for gradcam the last maps. image: a file; None: test images of the
    dataset. data_dir: where these are; empty: where they were in training. Raises ConfigError if
    the network has no such layer or cannot be explained so, DataError if `image` is no image.
    """
    run = load_predictor(workdir, data_dir)
    folder = RunDir(workdir).figures
    folder.mkdir(exist_ok=True)
    path = folder / f"{kind}.png"
    if image:
        images = read_image(image, run.experiment)[None]
        shown = Shown(images, (shorten(image.name, 20),), shorten(image.name, 40))
    else:
        test, _ = load_images(workdir, run.experiment, "test")
        images, labels = spread_images(test, OCCLUDED if kind == "occlusion" else SEEN)
        names = tuple(shorten(run.class_names[label], 18) for label in labels)
        shown = Shown(images, names, f"{len(images)} test images", test)
    return {str(path): KINDS[kind](run, layer, shown, path)}


def draw_deconv(run: Predictor, layer: str, shown: Shown, path: Path) -> str:
    """Draw the reconstructions of the strongest activations of a layer's maps."""
    layer = layer or last_convolution(run)
    batches: Iterable[np.ndarray] = [shown.images]
    source = shown.source
    if shown.test is not None:
        size = run.experiment.eval_batch_size
        batches = (images for images, _ in evaluation_batches(shown.test, size))
        source = "the test images"
    found = reconstruct_layer(run, check_layer(run, layer), batches)
    title = f"{run.title}: what activates maps of {layer} most in {source}, and where it lies"
    figures.draw_reconstructions(found, title, path)
    return f"reconstructions of the strongest activations of {layer} in {source}"


def draw_gradcam(run: Predictor, layer: str, shown: Shown, path: Path) -> str:
    """Draw images beside themselves under what Grad-CAM finds in the maps of a layer."""
    place = find_place(run, layer)
    seen = make_gradcam(run, place)(shown.images)
    views = as_pixels(unnormalized_view(run, shown.images))
    pairs: list[CaptionedImage] = []
    for view, where, name, predicted, probability in zip(
        views, np.asarray(seen.where), shown.names, *map(np.asarray, seen[1:]), strict=True
    ):
        title = f"{shorten(run.class_names[predicted], 16)} {100 * probability:.1f} %"
        heated = figures.overlay(view, enlarge(run, where, view.shape[:2]))
        pairs += [CaptionedImage(view, name), CaptionedImage(heated, f"seen as\n{title}")]
    title = f"{run.title}: Grad-CAM of the predicted class, {place.title}"
    draw_gallery(pairs, title, path)
    return f"where {shown.source} show the predicted class, by {place.title}"


def enlarge(run: Predictor, where: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Resize a map f32[h, w] over the network's input to the f32[H, W] inside of its border."""
    pad = run.experiment.inputs.pad
    height, width = (n + 2 * pad for n in size)
    bilinear = Image.Resampling.BILINEAR
    whole = np.asarray(Image.fromarray(where.astype(np.float32)).resize((width, height), bilinear))
    return whole[pad : height - pad, pad : width - pad]


def draw_occlusion(run: Predictor, layer: str, shown: Shown, path: Path) -> str:
    """Draw what a gray square at each place of an image changes."""
    layer = layer or last_convolution(run)
    occlude = make_occlude(run, check_layer(run, layer))
    labels = np.asarray(run.probabilities(shown.images)).argmax(-1)
    views = as_pixels(unnormalized_view(run, shown.images))
    rows = [
        OccludedImage(view, name, occlude(image, int(label)))
        for view, name, image, label in zip(views, shown.names, shown.images, labels, strict=True)
    ]
    title = f"{run.title}: a gray square, by the place of its middle"
    figures.draw_occlusion(rows, layer, run.class_names, run.experiment.inputs.pad, title, path)
    return f"what a gray square over each place of {shown.source} changes, in {layer} too"


KINDS: dict[str, Callable[[Predictor, str, Shown, Path], str]] = {
    "deconv": draw_deconv,
    "occlusion": draw_occlusion,
    "gradcam": draw_gradcam,
}
