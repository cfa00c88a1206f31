"""Test protocols: the image sizes, and the parts of an image (views), that a network sees.

An image is resized to a shorter side of Q pixels; a `View` is a part of the resized image or of
its mirror image, in whole pixels. The prediction is the mean of the probabilities over all views
of the protocol. The papers state pixels for networks that see 224x224; for networks of other sizes
these are scaled in proportion.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from cnn_archs.data.transforms import crops
from cnn_archs.data.transforms.boxes import Size, center_offset
from cnn_archs.data.transforms.crops import Crop
from cnn_archs.errors import ConfigError

GRID_SIDE = 5  # crops along each side of the image
GOOGLENET_SCALES = (256, 288, 320, 352)  # section 7


class View(NamedTuple):
    """A part of a resized image, in pixels. mirrored: whether left and right are exchanged."""

    top: int
    left: int
    height: int
    width: int
    mirrored: bool = False


Layout = Callable[[int, int, Size], list[View]]


class Pass(NamedTuple):
    """One pass over the images, at one size.

    scale: the shorter side to which images are resized, in pixels; 0 keeps the size in which they
    are delivered for evaluation. layout: (height and width of the resized image, size that the
    network sees) -> views. share: the weight of the pass in the mean. dense: each view keeps its
    own size instead of being resized to that of training.
    """

    scale: int
    layout: Layout
    share: float
    dense: bool = False


class Scales(NamedTuple):
    """The shorter sides, in pixels, to which the protocols resize images.

    ten_crop: for ten_crop and ten_crop_whole. single: for the other protocols with one scale.
    three: for grid_150. multiple: for multi_scale. googlenet: for GoogLeNet's 144 crops (section
    7).
    """

    ten_crop: int
    single: int
    three: tuple[int, ...]
    multiple: tuple[int, ...]
    googlenet: tuple[int, ...]


def center_view(height: int, width: int, out: Size) -> list[View]:
    """Return the center crop."""
    return [View(center_offset(height, out[0]), center_offset(width, out[1]), *out)]


def whole_view(height: int, width: int, out: Size) -> list[View]:
    """Return the whole image as one view."""
    return [View(0, 0, height, width)]


def corner_and_center_views(height: int, width: int, out: Size) -> list[View]:
    """Return the corner crops and the center crop of the central square (AlexNet, section 4.1)."""
    side = min(height, width)
    top, left = center_offset(height, side), center_offset(width, side)
    return five_views(top, left, (side, side), out)


def whole_corner_and_center_views(height: int, width: int, out: Size) -> list[View]:
    """Return the corner crops and the center crop of the whole image (fb.resnet.torch)."""
    return five_views(0, 0, (height, width), out)


def grid_views(height: int, width: int, out: Size) -> list[View]:
    """Return a regular grid of 5x5 crops over the whole image (VGG, section 3.2)."""
    rows, columns = (
        [round(i * (whole - part) / (GRID_SIDE - 1)) for i in range(GRID_SIDE)]
        for whole, part in zip((height, width), out, strict=True)
    )
    return [View(top, left, *out) for top in rows for left in columns]


def three_squares_views(height: int, width: int, out: Size) -> list[View]:
    """Return the views of three squares of the image (GoogLeNet, section 7).

    The squares are left, center and right, or top, center and bottom for portraits. The views of
    each square are its four corners, its center, and the whole square, resized.
    """
    side, longer = min(height, width), max(height, width)
    found = []
    for start in (0, center_offset(longer, side), longer - side):
        top, left = (start, 0) if height > width else (0, start)
        found += [*five_views(top, left, (side, side), out), View(top, left, side, side)]
    return found


def five_views(top: int, left: int, size: Size, out: Size) -> list[View]:
    """Return the four corner crops and the center crop of the region of `size` at (top, left)."""
    bottom, right = top + size[0] - out[0], left + size[1] - out[1]
    center = (top + center_offset(size[0], out[0]), left + center_offset(size[1], out[1]))
    corners = ((top, left), (top, right), (bottom, left), (bottom, right), center)
    return [View(*corner, *out) for corner in corners]


def with_mirror_images(layout: Layout, height: int, width: int, out: Size) -> list[View]:
    """Return the views of `layout`, then the same views of the mirror image."""
    views = layout(height, width, out)
    return views + [view._replace(mirrored=True) for view in views]


def crop_passes(layout: Layout, scales: Sequence[int], share: float = 1.0) -> list[Pass]:
    """Return one pass of crops and their mirror images for each scale, of `share` in total."""
    both = partial(with_mirror_images, layout)
    return [Pass(scale, both, share / len(scales)) for scale in scales]


def dense_passes(scales: Sequence[int], share: float = 1.0) -> list[Pass]:
    """Return one dense pass over whole images and their mirror images for each scale."""
    both = partial(with_mirror_images, whole_view)
    return [Pass(scale, both, share / len(scales), dense=True) for scale in scales]


PROTOCOLS: dict[str, Callable[[Scales], list[Pass]]] = {
    "single": lambda scales: [Pass(0, center_view, 1.0)],
    "mirror": lambda scales: crop_passes(center_view, [0]),
    "ten_crop": lambda scales: crop_passes(corner_and_center_views, [scales.ten_crop]),
    "ten_crop_whole": lambda scales: crop_passes(whole_corner_and_center_views, [scales.ten_crop]),
    "grid_50": lambda scales: crop_passes(grid_views, [scales.single]),
    "grid_150": lambda scales: crop_passes(grid_views, scales.three),
    "grid_144": lambda scales: crop_passes(three_squares_views, scales.googlenet),
    "dense": lambda scales: dense_passes([scales.single]),
    "multi_scale": lambda scales: dense_passes(scales.multiple),
    "dense+grid_150": lambda scales: [
        *dense_passes(scales.multiple, 0.5),
        *crop_passes(grid_views, scales.three, 0.5),
    ],
}

DESCRIPTIONS = {  # of the views that each of PROTOCOLS takes, for the user
    "single": "1: the crop that the experiment names",
    "mirror": "2: that crop and its mirror image",
    "ten_crop": "10: the corners and the center of the central square, mirrored (AlexNet)",
    "ten_crop_whole": "10: the corners and the center of the whole image, mirrored (ResNet)",
    "grid_50": "50: 5x5 places, mirrored, at one scale (VGG)",
    "grid_150": "150: 5x5 places, mirrored, at three scales (VGG)",
    "grid_144": "144: 4 scales, 3 squares, 6 crops, mirrored (GoogLeNet)",
    "dense": "2: the whole image, fully convolutional, mirrored (VGG)",
    "multi_scale": "2 for each scale: as dense (VGG, ResNet)",
    "dense+grid_150": "156: multi_scale and grid_150, averaged (VGG)",
}


def protocol_passes(protocol: str, crop: Crop, test_scales: Sequence[float]) -> list[Pass]:
    """Return the passes of `protocol` for a network that was trained with `crop`.

    test_scales: shorter sides from the config. Raises ConfigError if a crop does not fit into an
    image at one of the scales.
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
    """Return the number of views of each image."""
    side = max(out)
    return sum(len(p.layout(side, side, out)) for p in passes)


def choose_scales(crop: Crop, test_scales: Sequence[float]) -> Scales:
    """Return the scales for a network that was trained with `crop`.

    single, ten_crop: the shorter side that `crop` uses in evaluation, or 8/7 of the size that the
    network sees (256 for 224). If `crop` warps the whole image to a square, the ten crops are
    those of the warped image. three: `test_scales` if there are three, otherwise VGG's rule.
    multiple: `test_scales` if there are any, otherwise VGG's rule.
    """
    stated = tuple(map(int, test_scales))  # configs of older versions have floats
    side = max(crop.out)
    single = round(side * 8 / 7)
    if isinstance(crop, crops.SquareCrop):
        single = crop.side
    elif isinstance(crop, crops.ShorterSideCrop | crops.InceptionCrop):
        single = crop.evaluate
    rule = tuple(max(scale, side) for scale in vgg_scales(crop, single))
    return Scales(
        ten_crop=0 if isinstance(crop, crops.SquareCrop) and crop.resize == "warp" else single,
        single=single,
        three=stated if len(stated) == 3 else rule,
        multiple=stated or rule,
        googlenet=tuple(round(scale * side / 224) for scale in GOOGLENET_SCALES),
    )


def vgg_scales(crop: Crop, single: int) -> tuple[int, int, int]:
    """Return VGG's three test scales (section 4.2).

    They are S - 32, S and S + 32 if training fixed the shorter side S, otherwise the ends and the
    middle of its range. If `crop` has no S, they are 7/8, 1 and 9/8 of `single` (not in the paper).
    """
    if not isinstance(crop, crops.ShorterSideCrop):
        return round(single * 7 / 8), single, round(single * 9 / 8)
    smallest, largest = crop.smallest, crop.largest
    if smallest == largest:
        step = scale_pixels(32, crop.out)
        return smallest - step, smallest, smallest + step
    return smallest, (smallest + largest) // 2, largest


def scale_pixels(printed: int, out: Size) -> int:
    """Scale `printed` pixels, which a paper states for 224x224, to a network that sees `out`."""
    return max(1, round(printed * max(out) / 224))
