"""Drawn images in memory, stored as they would be on a disk, and a network that sees positions."""

import io
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from PIL import Image

from cnn_archs import models
from cnn_archs.data.datasets.splits import Record, Records, Split
from cnn_archs.data.loading.streaming import Streamed
from cnn_archs.data.transforms import crops
from cnn_archs.data.transforms.preprocess import Preprocessor
from cnn_archs.experiment import Classifier

CLASSES = ("a", "b", "c", "d", "e", "f", "g")
OUT = (16, 16)


class Places(models.Network):
    """A network whose logit of each class is the mean of the pixels times a wave of that class."""

    @nn.compact
    def __call__(self, image, *, train):
        height, width = image.shape[1:3]
        y, x = jnp.arange(height)[:, None, None], jnp.arange(width)[None, :, None]
        k = jnp.arange(1.0, len(CLASSES) + 1)[None, None]
        wave = jnp.cos(0.37 * k * (y + 1) + 0.21 * k**2 * (x + 0.5))
        sharpness = self.param("sharpness", nn.initializers.ones, ())
        return {"logits": 20 * sharpness * jnp.einsum("nhwc,hwk->nk", image, wave) / height / width}


def inputs(crop, *, resident, mean="channel", **more):
    """Return a preprocessor that subtracts a mean and divides by 255."""
    fields: dict[str, Any] = dict(mirror=False, color=None, augment=None, standardize=None, pad=0)
    fields |= dict(std=(), reverse_channels=False, pixel_range=(0.0, 1.0), **more)
    return Preprocessor(crop=crop, resident=resident, mean=mean, **fields)


def network(crop, *, resident, mean="channel", model=None, **more):
    shape = (crop.out[0], crop.out[1], 3)
    inside = inputs(crop, resident=resident, mean=mean, **more)
    return Classifier(model or Places(), shape, len(CLASSES), inside)


SIZES = ((20, 31), (37, 19))


def pictures(count, seed=0):
    """Return smooth images, u8[H, W, 3] each, whose sizes are SIZES in turn."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        small = Image.fromarray(rng.integers(0, 256, (5, 5, 3), np.uint8))
        height, width = SIZES[i % len(SIZES)]
        yield np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def labels(count):
    return (3 * np.arange(count) % len(CLASSES)).astype(np.int32)


def png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def streamed(images, crop=None, damaged=(), on_corrupt="raise"):
    """Return `images` as a split that is read one by one; the `damaged` ones cannot be read."""
    files = [png(image) for image in images]
    files = [f[:40] if i in damaged else f for i, f in enumerate(files)]
    label = labels(len(files))

    def read(i):
        return Record(files[i], int(label[i]), f"image {i}")

    records = Records(read, np.arange(len(files)), label, CLASSES)
    return Streamed(records, crop or crops.create("none", OUT), on_corrupt=on_corrupt, threads=2)


def resident(images):
    return Split(np.stack(images), labels(len(images)), CLASSES)
