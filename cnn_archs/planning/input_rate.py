"""The input of a training: how many images, how many bytes, and how fast a host decodes them."""

import io
import time
from collections.abc import Sequence
from functools import partial
from itertools import cycle
from math import prod
from typing import NamedTuple

import numpy as np
from PIL import Image

from cnn_archs.data.dataset import Dataset
from cnn_archs.data.datasets import sources
from cnn_archs.data.loading.decode import decode_and_crop
from cnn_archs.data.transforms.crops import Crop
from cnn_archs.errors import DataError
from cnn_archs.experiment import Experiment

# Mean bytes of a stored photograph of ImageNet, whose archive of training images has 147.9 GB. It
# is assumed for every dataset that is missing.
PHOTOGRAPH = 115_000
SAMPLE = 64  # images that are read to estimate their mean size


class InputVolume(NamedTuple):
    """The data that a training reads from disk and sends to the devices.

    images: number of training images; counted: whether they were counted in the dataset on disk.
    resident: whether all images are kept on the devices, `held` bytes including the test images,
    and read once; otherwise each is read in each epoch. stored: bytes per image on disk, or of its
    pixels if resident. sample: some encoded images; empty if `stored` is assumed. sent: bytes that
    go to the devices per image and label, or per index if resident.
    """

    images: int
    counted: bool
    resident: bool
    held: int
    stored: int
    sample: tuple[bytes, ...]
    sent: int


def input_volume(experiment: Experiment) -> InputVolume:
    """Measure what `experiment` reads, or assume it if the dataset is missing.

    Raises DataError if the dataset is missing and its size is not known.
    """
    dataset = experiment.dataset
    images, counted = count_images(dataset)
    if dataset.in_memory:
        _, tested = sources.SPLIT_SIZES.get(dataset.name, (0, images // 5))
        everything = images + dataset.holdout + tested
        pixels = prod(dataset.stored_shape)
        return InputVolume(images, counted, True, everything * (pixels + 4), pixels, (), 4)
    some = sample_images(dataset)
    size = sum(map(len, some)) // len(some) if some else PHOTOGRAPH
    h, w = experiment.inputs.crop.host_size
    return InputVolume(images, counted, False, 0, size, some, h * w * experiment.image_shape[2] + 4)


def count_images(dataset: Dataset) -> tuple[int, bool]:
    """Return the number of training images, and whether they were counted.

    If the dataset is missing, the known number is returned. Raises DataError if none is known.
    """
    try:
        return dataset.training_images(), True
    except DataError:
        if dataset.name not in sources.SPLIT_SIZES:
            raise
        return sources.SPLIT_SIZES[dataset.name][0] - dataset.holdout, False


def sample_images(dataset: Dataset) -> tuple[bytes, ...]:
    """Read some encoded images, spread over the dataset; return none if it is missing."""
    try:
        records = sources.open_records(dataset.name, "train", dataset.data_dir)
    except DataError:
        return ()
    some = np.unique(np.linspace(0, len(records) - 1, SAMPLE).astype(int))
    return tuple(records[int(i)].encoded for i in some)


def decoding_rate_of_a_core(crop: Crop, images: Sequence[bytes], seconds: float = 1.0) -> float:
    """Measure how many images per second one core decodes and crops as in training.

    Only the processor time of this thread counts, so other work on the machine does not. Without
    `images` a drawn photograph of the usual size is decoded.
    """
    encoded = cycle(images or [draw_photograph()])
    random = np.random.default_rng(0)
    choose_box = partial(crop.host_box, rng=random)
    done, start = 0, time.thread_time()
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or not done:
        decode_and_crop(next(encoded), choose_box, crop.host_size, "one of the images")
        done += 1
    return done / (time.thread_time() - start)


def draw_photograph() -> bytes:
    """Draw a JPEG of 500x375 pixels and about 110 kB, with details of all sizes."""
    random = np.random.default_rng(0)
    image = np.zeros((375, 500, 3))
    for side in (4, 16, 64, 250):
        rough = random.integers(0, 256, (side, side, 3), dtype=np.uint8)
        large = Image.fromarray(rough).resize((500, 375), Image.Resampling.BILINEAR)
        image += np.asarray(large)
    file = io.BytesIO()
    Image.fromarray((image * 255 / image.max()).astype(np.uint8)).save(file, "JPEG", quality=95)
    return file.getvalue()
