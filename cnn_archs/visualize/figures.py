"""Draw pictures of networks from arrays, as PNG files."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import style
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cnn_archs.arithmetic import ceil_div
from cnn_archs.errors import escaped
from cnn_archs.runtime.files import atomic_write


class CaptionedImage(NamedTuple):
    """An image u8[H, W, 1 or 3] with its caption and the color of its frame."""

    image: np.ndarray
    caption: str
    frame: str = "none"


HIT, MISS = "tab:green", "tab:red"
IMAGE_SIDE = 1.35  # inches
LINE_HEIGHT = 0.17  # inches per line of a caption
CAPTION: dict[str, Any] = dict(ha="center", va="top", fontsize=7.5, parse_math=False)


@style.context("default")
def draw_filters(kernel: np.ndarray, title: str, path: Path, most: int = 256) -> None:
    """Draw the first `most` filters of a kernel f32[h, w, 1 or 3, F], as in AlexNet's figure 3.

    Each filter has its own scale: its largest absolute weight is white or black, and 0 is gray.
    """
    count = min(kernel.shape[-1], most)
    across = min(max(round(math.sqrt(2 * count)), 4), count)
    down = ceil_div(count, across)
    h, w, channels, _ = kernel.shape
    gap = 1 / 8  # between filters, as a part of a filter's width
    figure = Figure(figsize=(min(0.9 * across, 10.0), min(0.9 * across, 10.0) * down / across))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(0, across * (1 + gap)), ylim=(down * (1 + gap) * h / w, 0), aspect="equal")
    axis.set_axis_off()
    for i in range(count):
        one = kernel[..., i] / max(abs(kernel[..., i]).max(), 1e-12)
        top, left = i // across * (1 + gap) * h / w, i % across * (1 + gap)
        pixels = np.broadcast_to(0.5 + 0.5 * one, (h, w, 3))
        axis.imshow(pixels, extent=(left, left + 1, top + h / w, top))
    if count < kernel.shape[-1]:
        title += f", the first {count}"
    save_titled(figure, axis, title, path)


@style.context("default")
def draw_confusion(counts: np.ndarray, classes: Sequence[str], title: str, path: Path) -> None:
    """Draw counts i64[K, K] of true classes (rows) by predicted classes (columns).

    The color shows the square root of a count's share of its row, which makes few mistakes visible.
    Numbers and class names are written if there is room.
    """
    k = len(classes)
    side = min(max(0.52 * k, 3.5), 14.0)
    figure = Figure(figsize=(side + 0.8, side))
    axis = figure.add_subplot()
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    drawn = axis.imshow(share, cmap="Blues", norm=PowerNorm(0.5, 0, 1))
    figure.colorbar(drawn, fraction=0.045, pad=0.03, label="part of the true class")
    axis.set(xlabel="predicted", ylabel="true")
    if k <= 40:
        names = [shorten(name, 16) for name in classes]
        axis.set_xticks(range(k), names, rotation=90 if k > 2 else 0, parse_math=False)
        axis.set_yticks(range(k), names, parse_math=False)
    if k <= 25:
        for (i, j), n in np.ndenumerate(counts):
            if n:
                color = "white" if share[i, j] > 0.4 else "black"
                axis.text(j, i, str(n), ha="center", va="center", fontsize=8, color=color)
    save_titled(figure, axis, title, path)


@style.context("default")
def draw_gallery(shown: Sequence[CaptionedImage], title: str, path: Path, across: int = 8) -> None:
    """Draw images in a grid, each with its caption below it."""
    across = min(across, max(len(shown), 1))
    down = max(ceil_div(len(shown), across), 1)
    lines = max((s.caption.count("\n") + 1 for s in shown), default=1)
    high = IMAGE_SIDE + lines * LINE_HEIGHT + 0.1
    size = max(across * (IMAGE_SIDE + 0.15), 4.0), down * high + 0.5
    figure = Figure(figsize=size)
    axis = figure.add_axes((0, 0, 1, down * high / size[1]))
    axis.set(xlim=(0, size[0]), ylim=(down * high, 0))
    axis.set_axis_off()
    for i, (image, caption, frame) in enumerate(shown):
        h, w = (n * IMAGE_SIDE / max(image.shape[:2]) for n in image.shape[:2])
        left = i % across * (IMAGE_SIDE + 0.15) + 0.075 + (IMAGE_SIDE - w) / 2
        bottom = i // across * high + IMAGE_SIDE
        pixels = image if image.shape[-1] == 3 else image.repeat(3, -1)
        axis.imshow(pixels, extent=(left, left + w, bottom, bottom - h), aspect="auto")
        border = Rectangle((left, bottom - h), w, h, fill=False, edgecolor=frame, linewidth=2.5)
        axis.add_patch(border)
        middle = left + w / 2
        axis.text(middle, bottom + 0.05, caption, **CAPTION)
    figure.text(0.5, 1 - 0.12 / size[1], title, ha="center", va="top", parse_math=False)
    write_png(figure, path)


@style.context("default")
def draw_features(
    image: np.ndarray, layers: Sequence[tuple[str, np.ndarray]], title: str, path: Path
) -> None:
    """Draw an image u8[H, W, C] and, in one row per layer, the layer's first maps f32[H, W, C].

    Each map has its own scale, from its smallest to its largest value.
    """
    across = 12
    rows = len(layers) + 1
    tight = dict(left=0, right=1, bottom=0, top=1, wspace=0.06, hspace=0.06)
    size = (across, rows)
    figure = Figure(figsize=size)
    axes = figure.subplots(rows, across, gridspec_kw=tight, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    axes[0, 0].imshow(image if image.shape[-1] == 3 else image[..., 0], cmap="gray")
    label_row(axes[0, 0], "image")
    axes[0, 1].text(
        0, 0.5, escaped(title), va="center", transform=axes[0, 1].transAxes, parse_math=False
    )
    for row, (name, maps) in zip(axes[1:], layers, strict=True):
        h, w, channels = maps.shape
        label_row(row[0], f"{name}\n{h}x{w}x{channels}")
        for axis, one in zip(row, np.moveaxis(maps, -1, 0), strict=False):
            axis.imshow(one, cmap="viridis")
    save_titled(figure, axes[0, 0], "", path)


def label_row(axis: Any, text: str) -> None:
    """Write a label to the left of a picture."""
    axis.text(-0.12, 0.5, text, ha="right", va="center", fontsize=8, transform=axis.transAxes)


def save_titled(figure: Any, axis: Any, title: str, path: Path) -> None:
    """Save a figure, cropped to what is drawn, with a title above an axis."""
    axis.set_title(escaped(title), parse_math=False, fontsize=11)
    write_png(figure, path, bbox_inches="tight")


def write_png(figure: Any, path: Path, **options: Any) -> None:
    """Write a figure as a PNG, whole or not at all. options: of savefig."""
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png", **options)


def shorten(text: str, length: int) -> str:
    """Escape a text, and cut it to `length` characters, the last of which is then an ellipsis."""
    text = escaped(text)
    return text if len(text) <= length else text[: length - 1] + "…"
