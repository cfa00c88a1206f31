"""Crops: how an image gets the size that a network sees, one class for each paper's method.

An image that is streamed is cropped in two steps: the host resizes a region of it (`host_box`),
and the device finishes the batch (`finish_on_device`). Images in device memory are cropped there
altogether (`crop_on_device`). Images on the device are f32[N, H, W, C]; all of that can be jitted.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from cnn_archs.data.transforms import digits
from cnn_archs.data.transforms.boxes import (
    Box,
    Size,
    box_before_resize,
    center_offset,
    central_box,
    random_below,
    resize_box,
    size_with_shorter_side,
)
from cnn_archs.errors import ConfigError

REGION_TRIES = 10  # random regions tried by InceptionCrop before it takes the largest central one
NETWORK_SEES = ", what the network sees"


@dataclasses.dataclass(frozen=True)
class Crop:
    """Takes the whole image, and warps it to `out` if it has another size.

    out: the size that the network sees, without the border that is padded in the end.
    """

    out: Size
    draws: ClassVar[int] = 0  # random numbers that `training_box` takes

    @property
    def host_size(self) -> Size:
        """The size to which the host resizes a region of an image."""
        return self.out

    def evaluation_box(self, height: int, width: int) -> Box:
        """Return the region of a height x width image that is evaluated, resized to `host_size`."""
        return Box(0.0, 0.0, float(height), float(width))

    def training_box(self, u: Any, height: int, width: int) -> Box:
        """Return the region that is trained on, chosen by random numbers.

        u: `draws` numbers uniform in [0, 1), an array of numpy or jax.
        """
        return self.evaluation_box(height, width)

    def host_box(self, height: int, width: int, rng: np.random.Generator | None) -> Box:
        """Return the region that the host resizes to `host_size`; without `rng`, for evaluation."""
        if rng is None:
            return self.evaluation_box(height, width)
        return Box(*map(float, self.training_box(rng.random(self.draws), height, width)))

    def finish_on_device(self, key: jax.Array | None, images: jax.Array) -> jax.Array:
        """Crop what the host has resized: f32[N, *host_size, C] -> f32[N, *out, C].

        Without a key the images are cropped for evaluation.
        """
        return images

    def crop_on_device(self, key: jax.Array | None, images: jax.Array) -> jax.Array:
        """Crop whole images: f32[N, H, W, C] -> f32[N, *out, C].

        Without a key the images are cropped for evaluation.
        """
        n, height, width, _ = images.shape
        if key is None or not self.draws:
            same = resize_box(images, self.evaluation_box(height, width), self.host_size)
            return self.finish_on_device(key, same)
        box_key, device_key = jax.random.split(key)

        def resize_one(u: jax.Array, image: jax.Array) -> jax.Array:
            return resize_box(image, self.training_box(u, height, width), self.host_size)

        u = jax.random.uniform(box_key, (n, self.draws))
        return self.finish_on_device(device_key, jax.vmap(resize_one)(u, images))


@dataclasses.dataclass(frozen=True)
class PadCrop(Crop):
    """Pads with zeros and takes a random part of the old size (He et al. 2015, section 4.2).

    pixels: zeros on each side. The evaluated image is not changed.
    """

    pixels: int

    def finish_on_device(self, key: jax.Array | None, images: jax.Array) -> jax.Array:
        if key is None:
            return images
        around = (self.pixels, self.pixels)
        return random_crop(key, jnp.pad(images, ((0, 0), around, around, (0, 0))), self.out)


@dataclasses.dataclass(frozen=True)
class SquareCrop(Crop):
    """Cuts a random part out of a central square (AlexNet, section 2).

    The host delivers side x side pixels; the device takes a random part of them, for evaluation
    the central part. resize: with `shorter`, the image is resized to shorter side `side` and its
    central square is taken; with `warp`, the whole image is warped to the square (Caffe's
    convert_imageset).
    """

    side: int
    resize: str

    def __post_init__(self) -> None:
        check_knob("side", self.side, max(self.out), NETWORK_SEES)

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
    """Cuts a random part out of an image with a random shorter side S (VGG 3.1, ResNet 3.4).

    S is an integer uniform in [smallest, largest]; the part lies at whole pixels of the resized
    image. For evaluation the image gets shorter side `evaluate`, and its central part is taken.
    """

    smallest: int
    largest: int
    evaluate: int
    draws: ClassVar[int] = 3

    def __post_init__(self) -> None:
        check_knob("smallest", self.smallest, max(self.out), NETWORK_SEES)
        check_knob("largest", self.largest, self.smallest, ", crop.smallest")
        check_knob("evaluate", self.evaluate, max(self.out), NETWORK_SEES)

    def evaluation_box(self, height: int, width: int) -> Box:
        return central_box(height, width, self.evaluate, self.out)

    def training_box(self, u: Any, height: int, width: int) -> Box:
        shorter = self.smallest + random_below(u[0], self.largest - self.smallest + 1)
        h, w = size_with_shorter_side(height, width, shorter)
        top, left = random_below(u[1], h - self.out[0] + 1), random_below(u[2], w - self.out[1] + 1)
        return box_before_resize(height, width, (h, w), (top, left), self.out)


@dataclasses.dataclass(frozen=True)
class InceptionCrop(Crop):
    """Takes a region of random area and aspect ratio, at a random place (GoogLeNet, section 6).

    area: range of the region's fraction of the image's area, drawn uniformly. aspect: range of
    width / height, whose logarithm is drawn uniformly. The first of 10 random regions that fits
    into the image is taken; if none fits, the largest central region whose aspect ratio is in the
    range. torchvision's RandomResizedCrop does the same. For evaluation see ShorterSideCrop.
    """

    area: tuple[float, float]
    aspect: tuple[float, float]
    evaluate: int
    draws: ClassVar[int] = 2 * REGION_TRIES + 2

    def __post_init__(self) -> None:
        check_knob("evaluate", self.evaluate, max(self.out), NETWORK_SEES)

    def evaluation_box(self, height: int, width: int) -> Box:
        return central_box(height, width, self.evaluate, self.out)

    def host_box(self, height: int, width: int, rng: np.random.Generator | None) -> Box:
        """Return the region that `training_box` returns, but try one region after the other.

        For scalars that is 5 times as fast as computing all tries with arrays.
        """
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
        """Return the size of the largest region whose aspect ratio is in the range.

        It has at least one pixel, also in an image that is too narrow for the range.
        """
        low, high = self.aspect
        return min(height, max(1, round(width / low))), min(width, max(1, round(height * high)))

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


@dataclasses.dataclass(frozen=True)
class DeslantCrop(SquareCrop):
    """Deslants a digit (`digits.deslant`), then takes the central part; never at random.

    side: the size of the square that the whole image is warped to before.
    """

    resize: str = "warp"

    def finish_on_device(self, key: jax.Array | None, images: jax.Array) -> jax.Array:
        return super().finish_on_device(None, digits.deslant(images))


@dataclasses.dataclass(frozen=True)
class ReduceCrop(Crop):
    """Reduces a digit in the middle of its field (LeCun et al. 1998, section III.C, LeNet-1).

    before, after: the size of the digit's box in pixels; the field keeps its size.
    """

    before: int
    after: int

    def __post_init__(self) -> None:
        check_knob("before", self.before, self.after, ", crop.after")

    def finish_on_device(self, key: jax.Array | None, images: jax.Array) -> jax.Array:
        return digits.reduce_in_place(images, self.after / self.before)


CROPS: dict[str, Callable[..., Crop]] = {
    "none": Crop,
    "pad": PadCrop,
    "square": SquareCrop,
    "shorter_side": ShorterSideCrop,
    "inception": InceptionCrop,
    "deslant": DeslantCrop,
    "reduce": ReduceCrop,
}


def create(name: str, out: Size, **knobs: Any) -> Crop:
    """Return the crop `name` to size `out`. Raises ConfigError if its sizes do not fit `out`."""
    return CROPS[name](out=out, **knobs)


def check_knob(knob: str, value: int, least: int, why: str) -> None:
    """Raise ConfigError if `value` of the knob is below `least`; `why` ends the message."""
    if value < least:
        raise ConfigError(f"crop.{knob}={value}: must be at least {least}{why}")


def random_crop(key: jax.Array, images: jax.Array, out: Size) -> jax.Array:
    """Cut a part out of each image, at random whole pixels: f32[N, H, W, C] -> f32[N, *out, C]."""
    n, height, width, channels = images.shape
    last = jnp.array([height - out[0], width - out[1]])
    corners = jax.random.randint(key, (n, 2), 0, last[None] + 1)

    def cut(image: jax.Array, corner: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), (*out, channels))

    return jax.vmap(cut)(images, corners)


def random_flip(key: jax.Array, images: jax.Array) -> jax.Array:
    """Mirror each image f32[H, W, C] of the batch left to right with probability 1/2."""
    chosen = jax.random.bernoulli(key, 0.5, (len(images),))
    return jnp.where(chosen[:, None, None, None], images[:, :, ::-1], images)
