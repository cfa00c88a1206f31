"""How an image comes to the size that a network sees; one class for each of the papers' ways.

Part of it is done where images are decoded (`on_host`), the rest on the device (`on_device`); of
images that are in device memory, all of it there (`resident`). Resizing is bilinear and, where it
makes smaller, antialiased: a triangle filter, as PIL's. What is just outside a region, inside the
image, takes part. Images are f32[N, H, W, C]; on the device all of this can be jitted.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn_archs.errors import ConfigError

Size = tuple[int, int]  # height, width
REGION_TRIES = 10  # of a region that fits into the image, before the largest central one is taken
FITS = ", what the network sees"


class Box(NamedTuple):
    """A region of an image, in its pixels: edges, not centers. Floats, or arrays with no axes."""

    top: Any
    left: Any
    height: Any
    width: Any


@dataclasses.dataclass(frozen=True)
class Crop:
    """The whole image, warped to `out` where its size is another.

    out: the size that the network sees, before a border is added.
    """

    out: Size
    draws: ClassVar[int] = 0  # random numbers that `training` takes

    @property
    def host_size(self) -> Size:
        """The size to which the host resizes a region of an image."""
        return self.out

    def evaluation_box(self, height: int, width: int) -> Box:
        """The region, of an image of height x width, that becomes `host_size` in evaluation."""
        return Box(0.0, 0.0, float(height), float(width))

    def training_box(self, u: Any, height: int, width: int) -> Box:
        """The same in training. u: `draws` numbers uniform in [0, 1), an array of numpy or jax."""
        return self.evaluation_box(height, width)

    def host_box(self, height: int, width: int, rng: np.random.Generator | None) -> Box:
        """The region that is to be resized to `host_size`; without `rng`, that of evaluation."""
        if rng is None:
            return self.evaluation_box(height, width)
        return Box(*map(float, self.training_box(rng.random(self.draws), height, width)))

    def finish_on_device(self, key: jax.Array | None, images: jax.Array) -> jax.Array:
        """The rest: f32[N, *host_size, C] -> f32[N, *out, C]; without a key, as in evaluation."""
        return images

    def crop_on_device(self, key: jax.Array | None, images: jax.Array) -> jax.Array:
        """All of it: f32[N, H, W, C] -> f32[N, *out, C]; without a key, as in evaluation."""
        n, height, width, _ = images.shape
        if key is None or not self.draws:
            same = resize_box(images, self.evaluation_box(height, width), self.host_size)
            return self.finish_on_device(key, same)
        of_boxes, of_device = jax.random.split(key)

        def one(u: jax.Array, image: jax.Array) -> jax.Array:
            return resize_box(image, self.training_box(u, height, width), self.host_size)

        u = jax.random.uniform(of_boxes, (n, self.draws))
        return self.finish_on_device(of_device, jax.vmap(one)(u, images))


@dataclasses.dataclass(frozen=True)
class PadCrop(Crop):
    """He et al. 2015, section 4.2: `pixels` zeros on each side, a random part of the old size.

    Evaluation: the image as it is.
    """

    pixels: int

    def __post_init__(self) -> None:
        check_at_least("pixels", self.pixels, 0, "")

    def finish_on_device(self, key: jax.Array | None, images: jax.Array) -> jax.Array:
        if key is None:
            return images
        around = (self.pixels, self.pixels)
        return random_crop(key, jnp.pad(images, ((0, 0), around, around, (0, 0))), self.out)


@dataclasses.dataclass(frozen=True)
class SquareCrop(Crop):
    """AlexNet, section 2: side x side from the middle of an image whose shorter side is `side`.

    Of that the device takes a random part, in evaluation the central one. resize: `shorter`, or
    `warp`, by which the whole image becomes side x side (Caffe's convert_imageset).
    """

    side: int
    resize: str

    def __post_init__(self) -> None:
        check_at_least("side", self.side, max(self.out), FITS)
        if self.resize not in ("shorter", "warp"):
            raise ConfigError(f"crop.resize={self.resize}: must be shorter or warp")

    @property
    def host_size(self) -> Size:
        return self.side, self.side

    def evaluation_box(self, height: int, width: int) -> Box:
        if self.resize == "warp":
            return super().evaluation_box(height, width)
        return central_box(height, width, self.side, self.host_size)

    def finish_on_device(self, key: jax.Array | None, images: jax.Array) -> jax.Array:
        if key is not None:
            return random_crop(key, images, self.out)
        (top, left), (h, w) = (center_offset(self.side, n) for n in self.out), self.out
        return images[:, top : top + h, left : left + w]


@dataclasses.dataclass(frozen=True)
class ShorterSideCrop(Crop):
    """VGG, section 3.1; ResNet, section 3.4: a random part of an image with shorter side S.

    S: a whole number uniform in [smallest, largest]; the part is at whole pixels of the resized
    image. Evaluation: the central part of one with shorter side `evaluate`.
    """

    smallest: int
    largest: int
    evaluate: int
    draws: ClassVar[int] = 3

    def __post_init__(self) -> None:
        check_at_least("smallest", self.smallest, max(self.out), FITS)
        check_at_least("largest", self.largest, self.smallest, ", crop.smallest")
        check_at_least("evaluate", self.evaluate, max(self.out), FITS)

    def evaluation_box(self, height: int, width: int) -> Box:
        return central_box(height, width, self.evaluate, self.out)

    def training_box(self, u: Any, height: int, width: int) -> Box:
        shorter = self.smallest + random_below(u[0], self.largest - self.smallest + 1)
        h, w = size_with_shorter_side(height, width, shorter)
        top, left = random_below(u[1], h - self.out[0] + 1), random_below(u[2], w - self.out[1] + 1)
        return box_of_part(height, width, (h, w), (top, left), self.out)


@dataclasses.dataclass(frozen=True)
class InceptionCrop(Crop):
    """GoogLeNet, section 6: a region of random area and aspect ratio, at a random place.

    area: range of its fraction of the image's area, uniform; aspect: range of width / height, its
    logarithm uniform. Of 10 tries the first that fits into the image, else the largest central
    region whose aspect ratio is in the range; as torchvision's RandomResizedCrop. Evaluation: as
    of ShorterSide.
    """

    area: tuple[float, float]
    aspect: tuple[float, float]
    evaluate: int
    draws: ClassVar[int] = 2 * REGION_TRIES + 2

    def __post_init__(self) -> None:
        if not (len(self.area) == 2 and 0 < self.area[0] <= self.area[1] <= 1):
            raise ConfigError(f"crop.area={self.area}: smallest, largest, above 0 and at most 1")
        if not (len(self.aspect) == 2 and 0 < self.aspect[0] <= self.aspect[1]):
            raise ConfigError(f"crop.aspect={self.aspect}: smallest, largest, above 0")
        check_at_least("evaluate", self.evaluate, max(self.out), FITS)

    def evaluation_box(self, height: int, width: int) -> Box:
        return central_box(height, width, self.evaluate, self.out)

    def host_box(self, height: int, width: int, rng: np.random.Generator | None) -> Box:
        """As `training`, one try after the other: of single numbers that is 5 times as quick."""
        if rng is None:
            return self.evaluation_box(height, width)
        *u, down, right = rng.random(self.draws).tolist()
        (small, large), (low, high) = self.area, self.aspect
        for share, turn in zip(u[:REGION_TRIES], u[REGION_TRIES:], strict=True):
            area = height * width * (small + (large - small) * share)
            aspect = low * (high / low) ** turn
            h, w = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
            if 0 < h <= height and 0 < w <= width:
                top, left = int(down * (height - h + 1)), int(right * (width - w + 1))
                return Box(float(top), float(left), float(h), float(w))
        h, w = self.largest(height, width)
        return Box(float((height - h) // 2), float((width - w) // 2), float(h), float(w))

    def largest(self, height: int, width: int) -> Size:
        """Of the regions whose aspect ratio is in the range."""
        low, high = self.aspect
        return min(height, round(width / low)), min(width, round(height * high))

    def training_box(self, u: Any, height: int, width: int) -> Box:
        xp = u.__array_namespace__()
        low, high = self.aspect
        area = height * width * (self.area[0] + (self.area[1] - self.area[0]) * u[:REGION_TRIES])
        aspect = low * (high / low) ** u[REGION_TRIES : 2 * REGION_TRIES]
        h, w = xp.round(xp.sqrt(area / aspect)), xp.round(xp.sqrt(area * aspect))
        fits = (h > 0) & (h <= height) & (w > 0) & (w <= width)
        first, found = xp.argmax(fits), xp.any(fits)
        largest_h, largest_w = self.largest(height, width)
        h, w = xp.where(found, h[first], largest_h), xp.where(found, w[first], largest_w)
        top = xp.where(found, random_below(u[-2], height - h + 1), (height - largest_h) // 2)
        left = xp.where(found, random_below(u[-1], width - w + 1), (width - largest_w) // 2)
        return Box(top, left, h, w)


CROPS: dict[str, Callable[..., Crop]] = {
    "none": Crop,
    "pad": PadCrop,
    "square": SquareCrop,
    "shorter_side": ShorterSideCrop,
    "inception": InceptionCrop,
}


def create(name: str, out: Size, **knobs: Any) -> Crop:
    """The crop `name` to `out`; ConfigError for a knob that is out of its range."""
    return CROPS[name](out=out, **knobs)


def check_at_least(knob: str, value: int, least: int, why: str) -> None:
    if value < least:
        raise ConfigError(f"crop.{knob}={value}: must be at least {least}{why}")


def random_below(u: Any, count: Any) -> Any:
    """The whole number in [0, count) that u in [0, 1) stands for: i32."""
    return (u * count).astype("int32")


def center_offset(of: int, size: int) -> int:
    """Where the central `size` pixels begin, a half rounded to even as by torchvision."""
    return round((of - size) / 2)


def size_with_shorter_side(height: int, width: int, shorter: Any) -> tuple[Any, Any]:
    """The size with that shorter side; the longer one is rounded down, as by torchvision."""
    if height < width:
        return shorter, shorter * width // height
    return shorter * height // width, shorter


def box_of_part(
    height: int, width: int, to: tuple[Any, Any], corner: tuple[Any, Any], out: Size
) -> Box:
    """The region, of height x width, that is `out` at `corner` once all of it is resized to `to`.

    Resizing this region to `out` gives what resizing all, then cutting, gives.
    """
    y, x = height / to[0], width / to[1]
    return Box(corner[0] * y, corner[1] * x, out[0] * y, out[1] * x)


def central_box(height: int, width: int, shorter: int, out: Size) -> Box:
    """The region that is the central `out` once the shorter side is resized to `shorter`."""
    h, w = size_with_shorter_side(height, width, shorter)
    return box_of_part(
        height, width, (h, w), (center_offset(h, out[0]), center_offset(w, out[1])), out
    )


def resize_box(images: jax.Array, box: Box, out: Size) -> jax.Array:
    """The region `box` of f32[..., H, W, C] images -> f32[..., *out, C]."""
    *batch, height, width, channels = images.shape
    is_static = isinstance(box.height, float)
    if is_static and box == (0, 0, height, width) and out == (height, width):
        return images
    y, x = out[0] / box.height, out[1] / box.width
    return jax.image.scale_and_translate(
        images,
        (*batch, *out, channels),
        (len(batch), len(batch) + 1),
        jnp.stack([jnp.float32(y), jnp.float32(x)]),
        jnp.stack([jnp.float32(-box.top * y), jnp.float32(-box.left * x)]),
        method="triangle",
    )


def random_crop(key: jax.Array, images: jax.Array, out: Size) -> jax.Array:
    """Of each of f32[N, H, W, C] a part at whole pixels, all places alike: f32[N, *out, C]."""
    n, height, width, channels = images.shape
    last = jnp.array([height - out[0], width - out[1]])
    corners = jax.random.randint(key, (n, 2), 0, last[None] + 1)

    def cut(image: jax.Array, corner: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), (*out, channels))

    return jax.vmap(cut)(images, corners)


def random_flip(key: jax.Array, images: jax.Array) -> jax.Array:
    """Left and right exchanged in half of the images, at random."""
    chosen = jax.random.bernoulli(key, 0.5, (len(images),))
    return jnp.where(chosen[:, None, None, None], images[:, :, ::-1], images)
