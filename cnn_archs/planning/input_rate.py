"""What a training reads: how many images, how many bytes, and how fast a host decodes them."""

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

# Bytes of a photograph as it is stored: ImageNet's mean, whose archive of training images has
# 147.9 GB. Of other datasets it is assumed, unless they are there.
PHOTOGRAPH = 115_000
SAMPLE = 64  # images that are looked at, of a dataset that is there


class Intake(NamedTuple):
    """images: trained on; counted: now, or by a table of known datasets. resident: all of them are
    on the devices, `held` bytes with those to test on, and read once; else each is read in each
    epoch. stored: bytes of an image on the disk; of resident ones, of its pixels. sample: some of
    the images, as they are stored, or none where that is assumed. sent: bytes of an image and its
    label, or its number, on the way to the devices.
    """

    images: int
    counted: bool
    resident: bool
    held: int
    stored: int
    sample: tuple[bytes, ...]
    sent: int


def intake(experiment: Experiment) -> Intake:
    """That of `experiment`. DataError for a dataset that is neither there nor known."""
    dataset = experiment.dataset
    images, counted = count(dataset)
    if dataset.in_memory:
        _, tested = sources.SPLIT_SIZES.get(dataset.name, (0, images // 5))
        everything = images + dataset.holdout + tested
        pixels = prod(dataset.stored_shape)
        return Intake(images, counted, True, everything * (pixels + 4), pixels, (), 4)
    some = sample(dataset)
    size = sum(map(len, some)) // len(some) if some else PHOTOGRAPH
    h, w = experiment.inputs.crop.host_size
    return Intake(images, counted, False, 0, size, some, h * w * experiment.image_shape[2] + 4)


def count(dataset: Dataset) -> tuple[int, bool]:
    """(images to train on, counted?): by the dataset, or as it is known to be."""
    try:
        return dataset.training_images(), True
    except DataError:
        if dataset.name not in sources.SPLIT_SIZES:
            raise
        return sources.SPLIT_SIZES[dataset.name][0] - dataset.holdout, False


def sample(dataset: Dataset) -> tuple[bytes, ...]:
    """Images all over the dataset, encoded; none where it is not there."""
    try:
        records = sources.open_records(dataset.name, "train", dataset.data_dir)
    except DataError:
        return ()
    some = np.unique(np.linspace(0, len(records) - 1, SAMPLE).astype(int))
    return tuple(records[int(i)].encoded for i in some)


def decoded_by_a_core(crop: Crop, images: Sequence[bytes], seconds: float = 1.0) -> float:
    """Images a second on one core of this machine, whatever else it does meanwhile: `images`, or a
    drawn one of the usual size, are decoded and cropped as in training, again and again."""
    encoded = cycle(images or [photograph()])
    random = np.random.default_rng(0)
    choose_box = partial(crop.host_box, rng=random)
    done, start = 0, time.thread_time()
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or not done:
        decode_and_crop(next(encoded), choose_box, crop.host_size, "one of the images")
        done += 1
    return done / (time.thread_time() - start)


def photograph() -> bytes:
    """A JPEG of 500x375 and about 110 kB, with details of all sizes."""
    random = np.random.default_rng(0)
    image = np.zeros((375, 500, 3))
    for side in (4, 16, 64, 250):
        rough = random.integers(0, 256, (side, side, 3), dtype=np.uint8)
        large = Image.fromarray(rough).resize((500, 375), Image.Resampling.BILINEAR)
        image += np.asarray(large)
    file = io.BytesIO()
    Image.fromarray((image * 255 / image.max()).astype(np.uint8)).save(file, "JPEG", quality=95)
    return file.getvalue()
