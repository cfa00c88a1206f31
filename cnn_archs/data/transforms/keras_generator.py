"""The lecture notes' generator of training images: Keras' ImageDataGenerator, by its names.

Random numbers aside it does what Keras 3 does (keras.src.legacy.preprocessing.image), with pure
functions on whole batches. Deviations: a width shift moves columns and a height shift rows, as
Keras documents it, where Keras 3 exchanges them; brightness does not round pixels to whole numbers;
and those of `standardize`.
"""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn_archs.data.transforms import affine
from cnn_archs.data.transforms.keras_standardize import Standardization

FloatOrFloats = float | Sequence[float]


class Transform(NamedTuple):
    """What was drawn for each of N images.

    theta, shear: f32[N], degrees; shifts: f32[N, 2], pixels, of rows and columns; zooms: f32[N, 2],
    of rows and columns; channel_shift: f32[N], pixel values; flips: bool[N, 2], vertical and
    horizontal; brightness: f32[N], factors.
    """

    theta: jax.Array
    shifts: jax.Array
    shear: jax.Array
    zooms: jax.Array
    channel_shift: jax.Array
    flips: jax.Array
    brightness: jax.Array


class Subsets(NamedTuple):
    """Images and labels of each, by the names that Keras' `flow(subset=...)` has for them."""

    training: tuple[np.ndarray, np.ndarray]
    validation: tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageDataGenerator(Standardization):
    """Every knob as in Keras; ValueError where it has no meaning.

    rotation_range, shear_range: degrees, uniform in plus or minus. width_shift_range,
    height_shift_range: a float below 1 is a fraction of the size, from 1 on it is pixels, uniform
    in plus or minus; an int n is a whole number of pixels below n, plus or minus; several numbers
    are a choice, plus or minus, of fractions if all are below 1. zoom_range: (low, high), or z for
    (1 - z, 1 + z), drawn for rows and for columns; above 1 the content shrinks.
    channel_shift_range: pixel values, added to all channels and clipped to the image's own range.
    brightness_range: (low, high) of a factor. fill_mode: nearest, constant (with cval), reflect or
    wrap, as scipy.ndimage has them. validation_split: a fraction. The others: see Standardization.
    """

    rotation_range: float = 0.0
    width_shift_range: FloatOrFloats = 0.0
    height_shift_range: FloatOrFloats = 0.0
    brightness_range: Sequence[float] | None = None
    shear_range: float = 0.0
    zoom_range: FloatOrFloats = 0.0
    channel_shift_range: float = 0.0
    fill_mode: str = "nearest"
    cval: float = 0.0
    horizontal_flip: bool = False
    vertical_flip: bool = False
    validation_split: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for knob in ("rotation_range", "shear_range", "channel_shift_range"):
            self.require(knob, getattr(self, knob) >= 0, "at least 0")
        for knob in ("width_shift_range", "height_shift_range"):
            shift = getattr(self, knob)
            several = isinstance(shift, Sequence)
            self.require(knob, len(shift) > 0 if several else shift >= 0, "at least 0, or several")
        low, high = self.zoom_bounds
        self.require("zoom_range", 0 < low <= high, "a float below 1, or low, high, above 0")
        low, high = self.brightness_bounds
        self.require("brightness_range", 0 <= low <= high, "low, high, from 0 up")
        modes = ", ".join(affine.FILL_MODES)
        self.require("fill_mode", self.fill_mode in affine.FILL_MODES, f"one of {modes}")
        self.require("validation_split", 0 <= self.validation_split < 1, "from 0 to below 1")
        for field in dataclasses.fields(self):
            if isinstance(getattr(self, field.name), list):  # which jit could not tell apart
                object.__setattr__(self, field.name, tuple(getattr(self, field.name)))

    def require(self, knob: str, condition: bool, what: str) -> None:
        if not condition:
            raise ValueError(f"{knob}={getattr(self, knob)}: must be {what}")

    @property
    def zoom_bounds(self) -> tuple[float, float]:
        """The range of zooms."""
        zoom = self.zoom_range
        if not isinstance(zoom, Sequence):
            return 1 - zoom, 1 + zoom
        self.require("zoom_range", len(zoom) == 2, "a float below 1, or low, high, above 0")
        return zoom[0], zoom[1]

    @property
    def brightness_bounds(self) -> tuple[float, float]:
        """The range of brightness."""
        low_high = (1.0, 1.0) if self.brightness_range is None else self.brightness_range
        right = isinstance(low_high, Sequence) and len(low_high) == 2
        self.require("brightness_range", right, "low, high, from 0 up")
        return low_high[0], low_high[1]

    def get_random_transform(self, key: jax.Array, shape: tuple[int, ...]) -> Transform:
        """Draws for a batch of images of `shape` (N, H, W, C)."""
        n, height, width, _ = shape
        keys = iter(jax.random.split(key, 8))

        def uniform(low: float, high: float, *axes: int) -> jax.Array:
            return jax.random.uniform(next(keys), (n, *axes), minval=low, maxval=high)

        def around_0(most: float) -> jax.Array:
            return uniform(-most, most)

        rows = draw_shifts(next(keys), n, self.height_shift_range, height)
        columns = draw_shifts(next(keys), n, self.width_shift_range, width)
        chosen = jax.random.bernoulli(next(keys), 0.5, (n, 2))
        return Transform(
            theta=around_0(self.rotation_range),
            shifts=jnp.stack([rows, columns], -1),
            shear=around_0(self.shear_range),
            zooms=uniform(*self.zoom_bounds, 2),
            channel_shift=around_0(self.channel_shift_range),
            flips=chosen & jnp.array([self.vertical_flip, self.horizontal_flip])[None],
            brightness=uniform(*self.brightness_bounds),
        )

    def apply_transform(self, images: jax.Array, drawn: Transform) -> jax.Array:
        """f32[N, H, W, C], each changed by what was drawn for it; knobs at 0 change nothing."""
        _, height, width, _ = images.shape
        shifts = (self.width_shift_range, self.height_shift_range)
        if self.rotation_range or any(shifts) or self.shear_range or self.zoom_bounds != (1, 1):
            warp = affine.keras_warp(
                drawn.theta, drawn.shifts, drawn.shear, drawn.zooms, height, width
            )
            images = affine.warp_images(images, warp, self.fill_mode, self.cval)
        if self.channel_shift_range:
            low, high = images.min((1, 2, 3), keepdims=True), images.max((1, 2, 3), keepdims=True)
            images = jnp.clip(images + per_image(drawn.channel_shift), low, high)
        if self.horizontal_flip:
            images = jnp.where(per_image(drawn.flips[:, 1]), images[:, :, ::-1], images)
        if self.vertical_flip:
            images = jnp.where(per_image(drawn.flips[:, 0]), images[:, ::-1], images)
        if self.brightness_bounds != (1, 1):
            images = scale_brightness(images, drawn.brightness)
        return images

    @partial(jax.jit, static_argnums=0)
    def random_transform(self, key: jax.Array, images: jax.Array) -> jax.Array:
        """[N, H, W, C] -> f32[N, H, W, C], each changed at random: one compiled program."""
        images = images.astype(jnp.float32)
        return self.apply_transform(images, self.get_random_transform(key, images.shape))

    def split(self, images: np.ndarray, labels: np.ndarray) -> Subsets:
        """The first `validation_split` of the images to validate with, the others to train on.

        ValueError where the two are not of the same classes.
        """
        count = int(len(images) * self.validation_split)
        if not np.array_equal(np.unique(labels[:count]), np.unique(labels[count:])):
            raise ValueError(
                f"validation_split={self.validation_split}: its images, the first {count}, and the "
                "others must be of the same classes; shuffle images that are sorted by class"
            )
        return Subsets((images[count:], labels[count:]), (images[:count], labels[:count]))


def draw_shifts(key: jax.Array, n: int, shift: FloatOrFloats, size: int) -> jax.Array:
    """f32[n], in pixels, on an axis of `size`."""
    if isinstance(shift, float):
        drawn = jax.random.uniform(key, (n,), minval=-shift, maxval=shift)
    else:
        of_choice, of_sign = jax.random.split(key)
        choices = shift if isinstance(shift, Sequence) else range(max(int(shift), 1))
        chosen = jax.random.choice(of_choice, jnp.array(choices, jnp.float32), (n,))
        drawn = chosen * jax.random.rademacher(of_sign, (n,), jnp.float32)
    return drawn * size if np.max(shift) < 1 else drawn


def per_image(values: jax.Array) -> jax.Array:
    """[N] -> [N, 1, 1, 1]."""
    return values[:, None, None, None]


def scale_brightness(images: jax.Array, factors: jax.Array) -> jax.Array:
    """Pixels times f32[N], clipped to 0..255; an image that leaves 0..255, in its own range."""
    least, most = images.min((1, 2, 3), keepdims=True), images.max((1, 2, 3), keepdims=True)
    outside = (least < 0) | (most > 255)
    low, span = jnp.where(outside, least, 0), jnp.where(outside, most - least, 255)
    return jnp.clip((images - low) * per_image(factors), 0, span) + low
