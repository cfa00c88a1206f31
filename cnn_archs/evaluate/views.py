"""Test protocols: at which sizes, and in which parts, a network sees an image. Whole pixels only.

An image is resized to a shorter side of Q pixels; a `View` is a part of that, or of its mirror
image. What a network says is the mean of its probabilities over all views of a protocol. The
papers' pixels are of networks that see 224x224; for others they are scaled alike.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from cnn_archs.data.transforms import crops
from cnn_archs.data.transforms.crops import Crop, Size, middle
from cnn_archs.errors import ConfigError

GRID_SIDE = 5  # crops along each side
GOOGLENET_SCALES = (256, 288, 320, 352)  # section 7


class View(NamedTuple):
    """A part of a resized image, in its pixels; mirrored: left and right are exchanged."""

    top: int
    left: int
    height: int
    width: int
    mirrored: bool = False


Layout = Callable[[int, int, Size], list[View]]


class Pass(NamedTuple):
    """One reading of the images.

    scale: the shorter side to which they are resized; 0: as they are delivered for evaluation.
    layout: (height, width of the resized image, size the network sees) -> views. share: of them
    all in the mean. dense: each view is shown in its own size, not in that of training.
    """

    scale: int
    layout: Layout
    share: float
    dense: bool = False


class Scales(NamedTuple):
    """Shorter sides, pixels. square: of ten_crop, one: of the other protocols at one scale; three:
    VGG's rule; several: those of multi_scale; googlenet: section 7's."""

    square: int
    one: int
    three: tuple[int, ...]
    several: tuple[int, ...]
    googlenet: tuple[int, ...]


def center_view(height: int, width: int, out: Size) -> list[View]:
    """The middle of the image."""
    return [View(middle(height, out[0]), middle(width, out[1]), *out)]


def whole_view(height: int, width: int, out: Size) -> list[View]:
    """All of it."""
    return [View(0, 0, height, width)]


def corner_and_center_views(height: int, width: int, out: Size) -> list[View]:
    """AlexNet, section 4.1: the four corners and the center, of the central square."""
    side = min(height, width)
    return square_views(middle(height, side), middle(width, side), side, out)


def grid_views(height: int, width: int, out: Size) -> list[View]:
    """VGG, section 3.2: a regular grid of 5x5 over the whole image."""
    rows, columns = (
        [round(i * (of - size) / (GRID_SIDE - 1)) for i in range(GRID_SIDE)]
        for of, size in zip((height, width), out, strict=True)
    )
    return [View(top, left, *out) for top in rows for left in columns]


def three_squares_views(height: int, width: int, out: Size) -> list[View]:
    """GoogLeNet, section 7: left, center and right square, of portraits top, center and bottom;

    of each the four corners, the center and all of it, which the network sees resized.
    """
    side, longer = min(height, width), max(height, width)
    found = []
    for start in (0, middle(longer, side), longer - side):
        top, left = (start, 0) if height > width else (0, start)
        found += [*square_views(top, left, side, out), View(top, left, side, side)]
    return found


def square_views(top: int, left: int, side: int, out: Size) -> list[View]:
    """The four corners and the center of a square."""
    bottom, right = top + side - out[0], left + side - out[1]
    center = (top + middle(side, out[0]), left + middle(side, out[1]))
    corners = ((top, left), (top, right), (bottom, left), (bottom, right), center)
    return [View(*corner, *out) for corner in corners]


def with_mirror_images(layout: Layout, height: int, width: int, out: Size) -> list[View]:
    """The views of `layout`, then the same of the mirror image."""
    views = layout(height, width, out)
    return views + [view._replace(mirrored=True) for view in views]


def crop_passes(layout: Layout, scales: Sequence[int], share: float = 1.0) -> list[Pass]:
    both = partial(with_mirror_images, layout)
    return [Pass(scale, both, share / len(scales)) for scale in scales]


def dense_passes(scales: Sequence[int], share: float = 1.0) -> list[Pass]:
    both = partial(with_mirror_images, whole_view)
    return [Pass(scale, both, share / len(scales), dense=True) for scale in scales]


PROTOCOLS: dict[str, Callable[[Scales], list[Pass]]] = {
    "single": lambda scales: [Pass(0, center_view, 1.0)],
    "mirror": lambda scales: crop_passes(center_view, [0]),
    "ten_crop": lambda scales: crop_passes(corner_and_center_views, [scales.square]),
    "grid_50": lambda scales: crop_passes(grid_views, [scales.one]),
    "grid_150": lambda scales: crop_passes(grid_views, scales.three),
    "grid_144": lambda scales: crop_passes(three_squares_views, scales.googlenet),
    "dense": lambda scales: dense_passes([scales.one]),
    "multi_scale": lambda scales: dense_passes(scales.several),
    "dense+grid_150": lambda scales: [
        *dense_passes(scales.several, 0.5),
        *crop_passes(grid_views, scales.three, 0.5),
    ],
}


def protocol_passes(protocol: str, crop: Crop, test_scales: Sequence[float]) -> list[Pass]:
    """Those of `protocol` for a network that was trained with `crop`.

    test_scales: the config's. ConfigError for a scale at which a crop does not fit.
    """
    found = PROTOCOLS[protocol](choose_scales(crop, test_scales))
    small = [p.scale for p in found if p.scale and not p.dense and p.scale < max(crop.out)]
    if small:
        raise ConfigError(
            f"--protocol={protocol}: no crop of {crop.out[0]}x{crop.out[1]} fits into an image "
            f"whose shorter side is {small[0]}: test_scales must be larger"
        )
    return found


def count_views(passes: Sequence[Pass], out: Size) -> int:
    """The number of views."""
    side = max(out)
    return sum(len(p.layout(side, side, out)) for p in passes)


def choose_scales(crop: Crop, test_scales: Sequence[float]) -> Scales:
    """The scales for a network that was trained with `crop`.

    one, square: the shorter side that `crop` has in evaluation, else 8/7 of what the network sees,
    as 256 of 224; but where the whole image is warped to a square, ten_crop takes that. three:
    `test_scales` if they are three, else VGG's rule.
    """
    if any(s != int(s) or s < 1 for s in test_scales):
        raise ConfigError(f"test_scales={tuple(test_scales)}: must be whole pixels, at least 1")
    stated = tuple(map(int, test_scales))
    side = max(crop.out)
    one = round(side * 8 / 7)
    if isinstance(crop, crops.Square):
        one = crop.side
    elif isinstance(crop, crops.ShorterSide | crops.Inception):
        one = crop.evaluate
    rule = tuple(max(scale, side) for scale in vgg_scales(crop, one))
    return Scales(
        square=0 if isinstance(crop, crops.Square) and crop.resize == "warp" else one,
        one=one,
        three=stated if len(stated) == 3 else rule,
        several=stated or rule,
        googlenet=tuple(round(scale * side / 224) for scale in GOOGLENET_SCALES),
    )


def vgg_scales(crop: Crop, one: int) -> tuple[int, int, int]:
    """VGG, section 4.2: S - 32, S, S + 32 for a fixed S, else its range and the middle of that.

    Ours, where the crop has no S: 7/8, 1 and 9/8 of `one`.
    """
    if not isinstance(crop, crops.ShorterSide):
        return round(one * 7 / 8), one, round(one * 9 / 8)
    smallest, largest = crop.smallest, crop.largest
    if smallest == largest:
        step = scale_pixels(32, crop.out)
        return smallest - step, smallest, smallest + step
    return smallest, (smallest + largest) // 2, largest


def scale_pixels(printed: int, out: Size) -> int:
    """What `printed` pixels of a network that sees 224x224 are for one that sees `out`."""
    return max(1, round(printed * max(out) / 224))
