"""Preprocessing: the order of steps that turn uint8 images into what a network sees."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from cnn_archs.data.transforms import crops
from cnn_archs.data.transforms.augment import Augment
from cnn_archs.data.transforms.keras_standardize import Standardization
from cnn_archs.data.transforms.whitening import ContrastAndWhitening

Preprocess = Callable[[jax.Array | None, jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True)
class Preprocessor:
    """The steps from images to a network's input, in training and in evaluation.

    resident: whether images of one size, in device memory, are cropped there altogether; otherwise
    the host has made its part of the crop. mirror: whether half of the training images are
    mirrored. mean: the mean of the training images that is subtracted: `pixel`, of each position;
    `channel`, over all positions; numbers in place of it, of each channel or of all, of pixels from
    0 to 1; or `none`. pixel_range: the values that 0 and 255 are mapped to; differences from a mean
    are scaled by the same factor. std: what each channel, or all, is divided by after that; empty
    for nothing. reverse_channels: whether the network sees BGR in place of RGB. standardize: used
    instead of mean, std and pixel_range, or None. pad: the width of the border of zeros that is
    added last, in pixels.
    """

    crop: crops.Crop
    resident: bool
    mirror: bool
    color: Augment
    augment: Augment
    mean: str | tuple[float, ...]
    std: tuple[float, ...]
    reverse_channels: bool
    standardize: Standardization | ContrastAndWhitening | None
    pixel_range: tuple[float, float]
    pad: int

    def make_preprocess(self, statistics: dict[str, Any]) -> Preprocess:
        """Make the function (key, images u8[N, H, W, C]) -> f32[N, H', W', C].

        statistics: of the training images, see `pixel_statistics`. Without a key (None) the
        function preprocesses for evaluation.

        Colors change first, on raw pixels. Then the mean is subtracted, so that the zeros which
        crops and warps fill in stand for the mean. Then images are cropped and augmented, and
        finally padded and scaled.
        """
        geometry = self.crop.crop_on_device if self.resident else self.crop.finish_on_device

        def preprocess(key: jax.Array | None, images: jax.Array) -> jax.Array:
            x = images.astype(jnp.float32)
            keys = (None,) * 4 if key is None else tuple(jax.random.split(key, 4))
            if key is not None:
                x = self.color(keys[0], x)
            if self.mean != "none":
                x = x - jnp.asarray(statistics["mean"])[None]
            x = geometry(keys[1], x)
            if key is not None:
                x = crops.random_flip(keys[2], x) if self.mirror else x
                x = self.augment(keys[3], x)
            return self.finish(x, statistics)

        return preprocess

    def finish(self, images: jax.Array, statistics: dict[str, Any]) -> jax.Array:
        """Pad and scale images f32[N, H, W, C] from which the mean has been subtracted."""
        around = ((0, 0), (self.pad, self.pad), (self.pad, self.pad), (0, 0))
        x = jnp.pad(images, around)
        if self.standardize:
            return self.in_order(self.standardize.standardize(x, statistics))
        low, high = self.pixel_range
        scaled = x * ((high - low) / 255)
        if self.mean == "none":
            scaled = scaled + low
        if self.std:
            scaled = scaled / jnp.array(self.std, jnp.float32)[None, None, None]
        return self.in_order(scaled)

    def in_order(self, images: jax.Array) -> jax.Array:
        """Return images f32[N, H, W, C] with their channels in the order that the network sees."""
        return images[..., ::-1] if self.reverse_channels else images
