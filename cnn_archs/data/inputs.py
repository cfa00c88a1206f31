"""From uint8 images to what a network sees: the order in which the parts are applied."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cnn_archs.cluster import processes
from cnn_archs.data import crops, statistics
from cnn_archs.data.augment import Augment
from cnn_archs.data.sources import Split
from cnn_archs.data.standardize import Standardization
from cnn_archs.data.streaming import Streamed

Prepare = Callable[[jax.Array | None, jax.Array], jax.Array]
MEANS = ("none", "pixel", "channel")
AT_ONCE = 1000  # images in memory for statistics


@dataclasses.dataclass(frozen=True)
class Inputs:
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

    def fit(self, train: Callable[[], Split | Streamed]) -> statistics.Statistics:
        """What `prepare` needs to know of the training images; {} where it needs nothing.

        train: loads the images, and is called only where they are needed. Of streamed images the
        statistics are those of evaluation's crops.
        """
        found = {}
        if self.mean != "none":
            found["mean"] = statistics.mean(self.mean, batches(train()))
        if self.standardize:
            images = train()
            assert isinstance(images, Split), "only images of one size are standardized"
            found |= self.standardize.fit(images.images)
        return found

    def prepare(self, statistics: dict[str, Any]) -> Prepare:
        """(key, images u8[N, H, W, C]) -> f32[N, H', W', C]; without a key, as for evaluation.

        Colors change first, on raw pixels; then the mean is taken off, so that what comes in at a
        border is the mean; then the geometry; last the scale.
        """
        geometry = self.crop.resident if self.resident else self.crop.on_device

        def prepare(key: jax.Array | None, images: jax.Array) -> jax.Array:
            x = images.astype(jnp.float32)
            keys = (None,) * 4 if key is None else tuple(jax.random.split(key, 4))
            if key is not None:
                x = self.color(keys[0], x)
            if self.mean != "none":
                x = x - jnp.asarray(statistics["mean"])[None]
            x = geometry(keys[1], x)
            if key is not None:
                x = crops.mirror(keys[2], x) if self.mirror else x
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


def batches(split: Split | Streamed) -> Iterator[np.ndarray]:
    """Yield this process's share of all images, u8[N, H, W, C], AT_ONCE at most at a time."""
    if isinstance(split, Split):
        share = processes.share(len(split))
        yield from (split.images[share[i : i + AT_ONCE]] for i in range(0, len(share), AT_ONCE))
        return
    rows = processes.share(AT_ONCE)
    for images, _, mask in split.evaluation(AT_ONCE, lambda batch: batch, rows):
        yield images[mask]
