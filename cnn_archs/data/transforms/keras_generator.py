"""The lecture notes' generator of training images: Keras' ImageDataGenerator, with its names.

Apart from its random numbers it computes what Keras 3 does (keras.src.legacy.preprocessing.image),
with pure functions on whole batches. Deviations: a width shift moves columns and a height shift
moves rows, as Keras documents (Keras 3 exchanges them); brightness does not round pixels to whole
numbers; and the deviation of `keras_standardize`.
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

# How an error message describes a valid knob.
SHIFT_RANGE = "at least 0, or a sequence of numbers"
ZOOM_RANGE = "a float below 1, or (low, high) above 0"
BRIGHTNESS_RANGE = "(low, high) from 0 up"


class Transform(NamedTuple):
    """The random numbers drawn for each of N images.

    theta, shear: f32[N], degrees; shifts: f32[N, 2], pixels, for rows and columns; zooms:
    f32[N, 2], for rows and columns; channel_shift: f32[N], pixel values; flips: bool[N, 2],
    vertical and horizontal; brightness: f32[N], factors.
    """

    theta: jax.Array
    shifts: jax.Array
    shear: jax.Array
    zooms: jax.Array
    channel_shift: jax.Array
    flips: jax.Array
    brightness: jax.Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageDataGenerator(Standardization):
    """Changes images at random; each knob has Keras' name and meaning.

    rotation_range, shear_range: degrees, uniform in plus or minus. width_shift_range,
    height_shift_range: a float below 1 is a fraction of the size, a float from 1 on is pixels,
    both uniform in plus or minus; an int n is a whole number of pixels below n, plus or minus; a
    sequence is a choice, plus or minus, of fractions if all are below 1. zoom_range: (low, high),
    or z for (1 - z, 1 + z), drawn for rows and for columns; above 1 the content shrinks.
    channel_shift_range: pixel values, added to all channels and clipped to the image's own range.
    brightness_range: (low, high) of a factor. fill_mode: nearest, constant (with cval), reflect or
    wrap, as in scipy.ndimage. The other knobs: see Standardization.

    Raises ValueError if a knob is out of its range.
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

    def __post_init__(self) -> None:
        super().__post_init__()
        for knob in ("rotation_range", "shear_range", "channel_shift_range"):
            self.require(knob, getattr(self, knob) >= 0, "at least 0")
        for knob in ("width_shift_range", "height_shift_range"):
            shift = getattr(self, knob)
            is_choice = isinstance(shift, Sequence)
            self.require(knob, len(shift) > 0 if is_choice else shift >= 0, SHIFT_RANGE)
        low, high = self.zoom_bounds
        self.require("zoom_range", 0 < low <= high, ZOOM_RANGE)
        low, high = self.brightness_bounds
        self.require("brightness_range", 0 <= low <= high, BRIGHTNESS_RANGE)
        modes = ", ".join(affine.FILL_MODES)
        self.require("fill_mode", self.fill_mode in affine.FILL_MODES, f"one of {modes}")
        for field in dataclasses.fields(self):
            if isinstance(getattr(self, field.name), list):  # jit needs hashable knobs
                object.__setattr__(self, field.name, tuple(getattr(self, field.name)))

    def require(self, knob: str, condition: bool, what: str) -> None:
        """Raise ValueError unless `condition` holds; `what` describes a valid value."""
        if not condition:
            raise ValueError(f"{knob}={getattr(self, knob)}: must be {what}")

    @property
    def zoom_bounds(self) -> tuple[float, float]:
        """The smallest and the largest zoom factor."""
        zoom = self.zoom_range
        if not isinstance(zoom, Sequence):
            return 1 - zoom, 1 + zoom
        self.require("zoom_range", len(zoom) == 2, ZOOM_RANGE)
        return zoom[0], zoom[1]

    @property
    def brightness_bounds(self) -> tuple[float, float]:
        """The smallest and the largest brightness factor."""
        low_high = (1.0, 1.0) if self.brightness_range is None else self.brightness_range
        is_pair = isinstance(low_high, Sequence) and len(low_high) == 2
        self.require("brightness_range", is_pair, BRIGHTNESS_RANGE)
        return low_high[0], low_high[1]

    def get_random_transform(self, key: jax.Array, shape: tuple[int, ...]) -> Transform:
        """Draw the random numbers for a batch of images of shape (N, H, W, C)."""
        n, height, width, _ = shape
        keys = iter(jax.random.split(key, 8))

        def uniform(low: float, high: float, *axes: int) -> jax.Array:
            return jax.random.uniform(next(keys), (n, *axes), minval=low, maxval=high)

        def symmetric(limit: float) -> jax.Array:
            return uniform(-limit, limit)

        rows = draw_shifts(next(keys), n, self.height_shift_range, height)
        columns = draw_shifts(next(keys), n, self.width_shift_range, width)
        chosen = jax.random.bernoulli(next(keys), 0.5, (n, 2))
        return Transform(
            theta=symmetric(self.rotation_range),
            shifts=jnp.stack([rows, columns], -1),
            shear=symmetric(self.shear_range),
            zooms=uniform(*self.zoom_bounds, 2),
            channel_shift=symmetric(self.channel_shift_range),
            flips=chosen & jnp.array([self.vertical_flip, self.horizontal_flip])[None],
            brightness=uniform(*self.brightness_bounds),
        )

    def apply_transform(self, images: jax.Array, drawn: Transform) -> jax.Array:
        """Change each image f32[N, H, W, C] by its random numbers; a knob at 0 changes nothing."""
        _, height, width, _ = images.shape
        shifts = (self.width_shift_range, self.height_shift_range)
        if self.rotation_range or any(shifts) or self.shear_range or self.zoom_bounds != (1, 1):
            warp = affine.keras_warp(
                drawn.theta, drawn.shifts, drawn.shear, drawn.zooms, height, width
            )
            images = affine.apply_warps(images, warp, self.fill_mode, self.cval)
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
        """Change each image at random, in one compiled program: [N, H, W, C] -> f32[N, H, W, C]."""
        images = images.astype(jnp.float32)
        return self.apply_transform(images, self.get_random_transform(key, images.shape))


def draw_shifts(key: jax.Array, n: int, shift: FloatOrFloats, size: int) -> jax.Array:
    """Draw n shifts in pixels along an axis of `size` pixels, f32[n].

    shift: width_shift_range or height_shift_range of ImageDataGenerator.
    """
    if isinstance(shift, float):
        drawn = jax.random.uniform(key, (n,), minval=-shift, maxval=shift)
    else:
        choice_key, sign_key = jax.random.split(key)
        choices = shift if isinstance(shift, Sequence) else range(max(int(shift), 1))
        chosen = jax.random.choice(choice_key, jnp.array(choices, jnp.float32), (n,))
        drawn = chosen * jax.random.rademacher(sign_key, (n,), jnp.float32)
    return drawn * size if np.max(shift) < 1 else drawn


def per_image(values: jax.Array) -> jax.Array:
    """Reshape [N] to [N, 1, 1, 1], to be combined with images [N, H, W, C]."""
    return values[:, None, None, None]


def scale_brightness(images: jax.Array, factors: jax.Array) -> jax.Array:
    """Multiply the pixels of each image by its factor, f32[N], and clip them to 0..255.

    An image with pixels outside 0..255 is scaled from its own minimum and clipped to its own range.
    """
    least, most = images.min((1, 2, 3), keepdims=True), images.max((1, 2, 3), keepdims=True)
    outside = (least < 0) | (most > 255)
    low, span = jnp.where(outside, least, 0), jnp.where(outside, most - least, 255)
    return jnp.clip((images - low) * per_image(factors), 0, span) + low
