"""Images in the forms in which a notebook has them, turned into those of an evaluation."""

import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from cnn_archs.errors import ConfigError
from cnn_archs.evaluate.predict import decode_image, read_encoded
from cnn_archs.experiment import Experiment

FORMS = (
    "images must be an array u8[N, H, W, C] (or u8[N, H, W] in gray), one image u8[H, W, C], a "
    "path, an image of PIL, or a list of these"
)
PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")  # others are converted to RGB


class Item(NamedTuple):
    """One image u8[H, W, C] as evaluation delivers it, its name, and its file (b"" without one)."""

    image: np.ndarray
    name: str
    encoded: bytes


def image_batches(images: Any, experiment: Experiment, invert: bool) -> Iterator[list[Item]]:
    """Yield images as evaluation delivers them, as many at a time as evaluation takes.

    images: in one of FORMS. A file or an array of another size than the dataset's is resized and
    cropped as the command `predict` does it. invert: whether to yield their negatives. Raises
    ConfigError for something else, DataError for a file that cannot be read.
    """
    given, size = as_list(images), experiment.eval_batch_size
    if not given:
        raise ConfigError("there are no images")
    for first in range(0, len(given), size):
        yield [
            read_item(image, experiment, f"image {first + i}", invert)
            for i, image in enumerate(given[first : first + size])
        ]


def as_list(images: Any) -> list[Any]:
    """Return single images: paths, images of PIL, and arrays u8[H, W, C] or u8[H, W, 1].

    Raises ConfigError if `images` is in none of FORMS.
    """
    if isinstance(images, str | os.PathLike | Image.Image):
        return [images]
    if isinstance(images, Iterable) and not is_array(images):
        return [one for image in images for one in as_list(image)]
    if not is_array(images):
        raise ConfigError(f"{FORMS}, not {type(images).__name__}")
    array = np.asarray(images)
    if array.dtype != np.uint8:
        raise ConfigError(
            f"images must be raw pixels, uint8 from 0 to 255, not {array.dtype}: what the network "
            "needs besides, such as a scale or a mean, is applied here"
        )
    channels_last = array.ndim > 2 and array.shape[-1] in (1, 3, 4)
    if array.ndim == 2 or (array.ndim == 3 and not channels_last):
        array, channels_last = array[..., None], True
    if array.ndim not in (3, 4) or not channels_last or 0 in array.shape[-3:]:
        raise ConfigError(f"{FORMS}, not an array of shape {np.shape(images)}")
    return list(array) if array.ndim == 4 else [array]


def is_array(value: Any) -> bool:
    """Return whether `value` is an array, of numpy or of another library that numpy can read."""
    return isinstance(value, np.ndarray) or "__array__" in dir(value)


def read_item(image: Any, experiment: Experiment, name: str, invert: bool) -> Item:
    """Return one image of `as_list` as an Item. name: of an image that is in no file."""
    if isinstance(image, np.ndarray):
        if image.shape == experiment.dataset.stored_shape:
            return Item(255 - image if invert else image, name, b"")
        image = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    if isinstance(image, Image.Image):
        encoded = encode(image)
    else:
        name = os.path.expanduser(image)
        encoded = read_encoded(Path(name))
    return Item(decode_image(encoded, name, experiment, invert=invert), name, encoded)


def encode(image: Image.Image) -> bytes:
    """Return an image of PIL as the content of a file, without any loss.

    So it is read by the decoder that reads files.
    """
    if image.mode not in PNG_MODES:
        image = image.convert("RGB")
    file = io.BytesIO()
    image.save(file, "PPM" if image.mode in ("L", "RGB") else "PNG")
    return file.getvalue()
