"""From a config to pictures to look at."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from cnn_archs.analysis.sheet import sheet
from cnn_archs.data import order
from cnn_archs.data.decode import decode_and_crop
from cnn_archs.data.sources import Split
from cnn_archs.data.streaming import Streamed
from cnn_archs.setup import devices, network
from cnn_archs.splits import load_split


def variants(config: ConfigDict, output: Path, images: int, count: int) -> dict[str, Any]:
    """Writes the PNG `output`: training images, `count` variants of each beside it.

    Colours and geometry are those of training; the mean is left in and the scale is that of pixels,
    so that a person sees images. The images are the first ones of the run's first seed.
    """
    devices(config)
    net = network(config)
    inputs = dataclasses.replace(
        net.inputs, mean="none", standardize=None, pixel_range=(0.0, 255.0), pad=0
    )
    prepare = jax.jit(inputs.prepare({}))
    train = load_split(config, net, "train")
    examples = len(train) if isinstance(train, Split) else train.examples
    index = order.permutation(examples, config.seed, 0)[:images]
    originals = delivered(train, index, None)
    drawn = []
    for variant in range(count):
        rng = np.random.Generator(np.random.Philox(key=[config.seed, variant]))
        key = jax.random.fold_in(jax.random.key(config.seed), variant)
        drawn.append(as_pixels(prepare(key, delivered(train, index, rng))))
    shown = as_pixels(prepare(None, originals)) if isinstance(train, Streamed) else originals
    sheet(shown, np.stack(drawn, axis=1), output)
    return {"file": str(output), "images": len(index), "variants": count}


def delivered(
    train: Split | Streamed, index: np.ndarray, rng: np.random.Generator | None
) -> np.ndarray:
    """The images at `index` as the device gets them, u8[N, H, W, C]; no rng: in evaluation."""
    if isinstance(train, Split):
        return train.images[index]
    crop = train.crop
    return np.stack(
        [
            decode_and_crop(
                record.encoded, lambda h, w: crop.on_host(h, w, rng), crop.delivered, record.name
            )
            for record in (train.records[int(i)] for i in index)
        ]
    )


def as_pixels(images: jax.Array) -> np.ndarray:
    """f32 -> u8, rounded and cut."""
    return np.clip(np.round(np.asarray(images)), 0, 255).astype(np.uint8)
