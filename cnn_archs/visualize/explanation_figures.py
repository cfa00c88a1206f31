"""Draw reconstructions, occlusion maps and heat over an image, as PNG files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib import style
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from cnn_archs.arithmetic import ceil_div
from cnn_archs.errors import escaped
from cnn_archs.visualize.figures import shorten, write_png
from cnn_archs.visualize.occlusion import Occlusion
from cnn_archs.visualize.reconstructions import PEAKS, Reconstruction

SIDE = 1.7  # inches of a mosaic, or of a map
GROUND = 0.85  # gray between the pictures of a mosaic
SMALL: dict[str, Any] = dict(fontsize=8, parse_math=False)


class OccludedImage(NamedTuple):
    """A row of occlusion.png: the image u8[H, W, C] as the network sees it, and what was found."""

    image: np.ndarray
    name: str
    found: Occlusion


@style.context("default")
def draw_reconstructions(
    found: Mapping[int, Sequence[Reconstruction]], title: str, path: Path
) -> None:
    """Draw, for each map, a mosaic of its reconstructions and one of the parts of the images.

    A reconstruction has its own scale: its largest absolute value is white or black, and 0 is gray.
    """
    across = min(4, max(len(found), 1))
    down = max(ceil_div(len(found), across), 1)
    size = (across * (2 * SIDE + 0.5), down * (SIDE + 0.35) + 0.5)
    figure = Figure(figsize=size)
    for i, (number, some) in enumerate(found.items()):
        left = (i % across) * (2 * SIDE + 0.5) + 0.2
        bottom = size[1] - 0.4 - (i // across + 1) * (SIDE + 0.35)
        signals = [0.5 + 0.5 * s.signal / max(np.abs(s.signal).max(), 1e-12) for s in some]
        for j, pictures in enumerate((signals, [s.part / 255 for s in some])):
            at = (left + j * (SIDE + 0.05), bottom, SIDE, SIDE)
            axis = figure.add_axes(tuple(np.divide(at, (*size, *size))))
            axis.imshow(mosaic(pictures), interpolation="nearest")
            axis.set_axis_off()
        middle = (left + SIDE + 0.025) / size[0], (bottom + SIDE + 0.03) / size[1]
        best = f"{some[0].value:.3g}" if some else "0"
        figure.text(*middle, f"map {number}, up to {best}", ha="center", va="bottom", **SMALL)
    figure.text(0.5, 1 - 0.1 / size[1], escaped(title), ha="center", va="top", parse_math=False)
    write_png(figure, path)


def mosaic(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Put pictures f[h, w, 1 or 3] of one size into a square: f64[H, W, 3].

    One picture fills it; up to PEAKS stand in rows.
    """
    across = 1 if len(pictures) == 1 else round(PEAKS**0.5)
    h, w = pictures[0].shape[:2]
    gap = max(1, h // 16) if across > 1 else 0
    whole = np.full((across * (h + gap) - gap, across * (w + gap) - gap, 3), GROUND)
    for i, picture in enumerate(pictures):
        top, left = i // across * (h + gap), i % across * (w + gap)
        whole[top : top + h, left : left + w] = np.clip(picture, 0, 1)
    return whole


def overlay(image: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Return an image u8[H, W, 1 or 3] in gray under the colors of where f32[H, W], as u8[H, W, 3].

    The largest value is red, and 0 is blue.
    """
    heat = matplotlib.colormaps["jet"](where / max(where.max(), 1e-12))[..., :3]
    gray = image.mean(-1, keepdims=True) / 255
    return np.round(255 * (0.55 * gray + 0.45 * heat)).astype(np.uint8)


@style.context("default")
def draw_occlusion(
    rows: Sequence[OccludedImage],
    layer: str,
    classes: Sequence[str],
    pad: int,
    title: str,
    path: Path,
) -> None:
    """Draw a row for each image: itself, and three maps over the place of the square's middle.

    They are the activity of a map of `layer`, the probability of the class that the whole image is
    taken for, and the most probable class (figure 7 of the paper). pad: the border that the network
    sees around the image, in pixels.
    """
    size = (4 * (SIDE + 0.9), len(rows) * (SIDE + 0.55) + 0.45)
    figure = Figure(figsize=size)
    for i, row in enumerate(rows):
        bottom = size[1] - 0.45 - (i + 1) * (SIDE + 0.55) + 0.1
        axes = []
        for j in range(4):
            at = (0.15 + j * (SIDE + 0.85), bottom, SIDE, SIDE)
            axes.append(figure.add_axes(tuple(np.divide(at, (*size, *size)))))
        draw_occluded(axes, row, layer, classes, pad)
    figure.text(0.5, 1 - 0.1 / size[1], escaped(title), ha="center", va="top", parse_math=False)
    write_png(figure, path)


def draw_occluded(
    axes: Sequence[Any], row: OccludedImage, layer: str, classes: Sequence[str], pad: int
) -> None:
    """Draw one row of `draw_occlusion` into four axes."""
    height, width = row.image.shape[:2]
    found, frame = row.found, (-0.5, width - 0.5, height - 0.5, -0.5)
    half = (found.side - 1) / 2 - pad
    edges = [
        found.lefts[0] + half - 0.5,
        found.lefts[-1] + half + 0.5,
        found.tops[-1] + half + 0.5,
        found.tops[0] + half - 0.5,
    ]
    image = row.image if row.image.shape[-1] == 3 else row.image[..., 0]
    axes[0].imshow(image, cmap="gray", vmin=0, vmax=255, extent=frame)
    axes[0].add_patch(
        matplotlib.patches.Rectangle(
            (found.lefts[0] - pad - 0.5, found.tops[0] - pad - 0.5),
            found.side,
            found.side,
            facecolor="0.5",
            edgecolor="white",
            linewidth=0.7,
        )
    )
    axes[0].set_title(f"{row.name}; the square", **SMALL)
    drawn = axes[1].imshow(found.activity, cmap="jet", extent=edges)
    axes[1].set_title(f"map {found.number} of {shorten(layer, 16)}", **SMALL)
    axes[1].figure.colorbar(drawn, ax=axes[1], fraction=0.045, pad=0.03).ax.tick_params(labelsize=6)
    drawn = axes[2].imshow(found.probability, cmap="jet", vmin=0, vmax=1, extent=edges)
    axes[2].set_title(f"probability of {shorten(classes[found.label], 14)}", **SMALL)
    axes[2].figure.colorbar(drawn, ax=axes[2], fraction=0.045, pad=0.03).ax.tick_params(labelsize=6)
    kinds, numbers = np.unique(found.predicted, return_inverse=True)
    colors = matplotlib.colormaps["tab20"](np.arange(len(kinds)) % 20)
    norm = BoundaryNorm(np.arange(len(kinds) + 1) - 0.5, len(kinds))
    places = numbers.reshape(found.predicted.shape)
    axes[3].imshow(places, cmap=ListedColormap(colors), norm=norm, extent=edges)
    axes[3].set_title("most probable class", **SMALL)
    names = [shorten(classes[k], 12) for k in kinds[:8]]
    handles = [Patch(color=c, label=n) for c, n in zip(colors, names, strict=False)]
    axes[3].legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=6)
    for axis in axes:
        axis.set(xlim=frame[:2], ylim=frame[2:], xticks=[], yticks=[], facecolor="0.9")
