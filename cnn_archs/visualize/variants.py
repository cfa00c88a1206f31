"""Draw a sheet of training images with augmented variants of each."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from cnn_archs.data.datasets.splits import Split
from cnn_archs.data.loading import sampler
from cnn_archs.data.loading.streaming import Streamed
from cnn_archs.experiment import Experiment
from cnn_archs.visualize.contact_sheet import write_sheet
from cnn_archs.visualize.images import as_pixels, delivered_images, unnormalized


def write_variants(experiment: Experiment, output: Path, images: int, count: int) -> dict[str, Any]:
    """Write a PNG of training images, each with `count` augmented variants beside it.

    Colors and geometry are augmented as in training, but no mean is subtracted and pixels keep
    their range, so that the images can be recognized. They are the first images that the run's
    first seed trains on.
    """
    inputs = unnormalized(experiment.inputs)
    prepare, seed = jax.jit(inputs.make_preprocess({})), experiment.seeds[0]
    train = experiment.dataset.split("train", inputs.crop)
    examples = len(train) if isinstance(train, Split) else train.examples
    index = sampler.permutation(examples, seed, 0)[:images]
    originals = delivered_images(train, index, None)
    drawn = []
    for variant in range(count):
        rng = np.random.Generator(np.random.Philox(key=[seed, variant]))
        key = jax.random.fold_in(jax.random.key(seed), variant)
        drawn.append(as_pixels(prepare(key, delivered_images(train, index, rng))))
    shown = as_pixels(prepare(None, originals)) if isinstance(train, Streamed) else originals
    write_sheet(shown, np.stack(drawn, axis=1), output)
    return {"file": str(output), "images": len(index), "variants": count}
