"""From uint8 images to what a network sees: the order in which the parts are applied."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from cnn_archs.data.transforms import crops
from cnn_archs.data.transforms.augment import Augment
from cnn_archs.data.transforms.keras_standardize import Standardization

Preprocess = Callable[[jax.Array | None, jax.Array], jax.Array]
MEANS = ("none", "pixel", "channel")


@dataclasses.dataclass(frozen=True)
class Preprocessor:
    """How images become input, in training and in evaluation.

    resident: the crop is made on the device altogether, of images of one size; else the host has
    made its part of it. mean: what is taken off, `pixel`: the training images' mean at each place,
    `channel`: over all places, or `none`. pixel_range: what 0 and 255 become; the differences from
    a mean are scaled alike. standardize: what comes in the place of both, or None.
    pad: zeros put around the image in the end.
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
        """(key, images u8[N, H, W, C]) -> f32[N, H', W', C]; without a key, as for evaluation.

        Colors change first, on raw pixels; then the mean is taken off, so that what comes in at a
        border is the mean; then the geometry; last the scale.
        """
        geometry = self.crop.crop_on_device if self.resident else self.crop.finish_on_device

        def prepare(key: jax.Array | None, images: jax.Array) -> jax.Array:
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

        return prepare

    def finish(self, images: jax.Array, statistics: dict[str, Any]) -> jax.Array:
        """What comes last: f32[N, H, W, C], the mean off -> the border, and the scale."""
        around = ((0, 0), (self.pad, self.pad), (self.pad, self.pad), (0, 0))
        x = jnp.pad(images, around)
        if self.standardize:
            return self.standardize.standardize(x, statistics)
        low, high = self.pixel_range
        scaled = x * ((high - low) / 255)
        return scaled + low if self.mean == "none" else scaled
