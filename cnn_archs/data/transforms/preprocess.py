"""Preprocessing: the order of steps that turn uint8 images into what a network sees."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from cnn_archs.data.transforms import crops
from cnn_archs.data.transforms.augment import Augment
from cnn_archs.data.transforms.keras_standardize import Standardization

Preprocess = Callable[[jax.Array | None, jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True)
class Preprocessor:
    """The steps from images to a network's input, in training and in evaluation.

    resident: whether images of one size, in device memory, are cropped there altogether; otherwise
    the host has made its part of the crop. mirror: whether half of the training images are
    mirrored. mean: the mean of the training images that is subtracted: `pixel`, of each position;
    `channel`, over all positions; or `none`. pixel_range: the values that 0 and 255 are mapped to;
    differences from a mean are scaled by the same factor. standardize: used instead of mean and
    pixel_range, or None. pad: the width of the border of zeros that is added last, in pixels.
    """

    crop: crops.Crop
    resident: bool
    mirror: bool
    color: Augment
    augment: Augment
    mean: str
    standardize: Standardization | None
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
            return self.standardize.standardize(x, statistics)
        low, high = self.pixel_range
        scaled = x * ((high - low) / 255)
        return scaled + low if self.mean == "none" else scaled
