"""Turn the sections of a config about images into a dataset and a `Preprocessor` that fits it."""

from pathlib import Path

import jax
import jax.numpy as jnp

from cnn_archs.config import Config
from cnn_archs.data.dataset import Dataset
from cnn_archs.data.datasets import sources
from cnn_archs.data.loading import one_size
from cnn_archs.data.record import Recorded
from cnn_archs.data.transforms import augment, color, crops
from cnn_archs.data.transforms.keras_standardize import Standardization
from cnn_archs.data.transforms.preprocess import Preprocessor
from cnn_archs.data.transforms.whitening import ContrastAndWhitening
from cnn_archs.errors import ConfigError, DataError, config_errors
from cnn_archs.run_dir import RunDir

Shape = tuple[int, int, int]  # (H, W, C)


def make_dataset(config: Config, recorded: Recorded | None = None, data_dir: str = "") -> Dataset:
    """Return the dataset of `config`, of whose images no more than headers are read.

    recorded, data_dir: see `experiment.resolve`. Raises ConfigError if the images cannot be
    downsampled, DataError if the dataset is missing and its size and classes are not known without
    it.
    """
    data, where = config.data, data_dir or config.data.data_dir
    if recorded:
        shape, classes = recorded.record.stored_shape, len(recorded.record.classes)
    else:
        shape, classes = sources.dataset_spec(data.name, where)
        if 0 in shape and data.name not in sources.DATASET_SPECS:
            shape = found_shape(config, where)
        shape = downsampled_shape(shape, data.downsample)
        if 0 in shape:
            shape = (0, 0, decoded_channels(config))
    return Dataset(
        name=data.name,
        data_dir=where,
        stored_shape=shape,
        classes=classes,
        downsample=data.downsample,
        holdout=data.holdout,
        examples=data.examples,
        eval_examples=config.eval_examples,
        on_corrupt=data.on_corrupt,
        threads=data.threads,
        recorded=recorded,
    )


def check_changed_places(saved: Config, config: Config) -> None:
    """Check the places that `config` names and the config `saved` of a run does not.

    A run that has begun is not asked for the places of its own config: its images may be gone.
    Raises ConfigError for a dataset, a folder or a run that does not exist, DataError for a dataset
    that is missing and not known without its files.
    """
    data, where = config.data, config.data.data_dir
    if where and where != saved.data.data_dir and not Path(where).expanduser().is_dir():
        raise ConfigError(f"data.data_dir: there is no folder {Path(where).expanduser()}")
    if data.name != saved.data.name:
        sources.dataset_spec(data.name, where)
    start = config.warm_start.workdir
    if start and start != saved.warm_start.workdir:
        RunDir(Path(start).expanduser()).check_run()


def found_shape(config: Config, where: str) -> Shape:
    """Return the (H, W, C) of the images in `where`, by their headers; H and W are 0 if they vary.

    C is that of `data.image_shape`, if it is set. Images of one size are taken for images that vary
    if the network is to see them in another size. Raises DataError if the dataset is missing and
    `data.image_shape` is not set.
    """
    stated, data = tuple(config.data.image_shape), config.data
    try:
        found = one_size.survey(data.name, where).shape or sources.VARIABLE_SIZE
    except DataError:
        if all(stated):  # whoever reads the images will say what is wrong
            return sources.VARIABLE_SIZE
        raise
    if not all(stated):
        return found
    seen = tuple(side // data.downsample + 2 * data.pad for side in found[:2])
    return (*found[:2], decoded_channels(config)) if stated[:2] == seen else sources.VARIABLE_SIZE


def decoded_channels(config: Config) -> int:
    """Return the channels that images of a folder are decoded to: 3, or 1 for gray.

    Raises ConfigError if the network sees another number.
    """
    shape = tuple(config.data.image_shape)
    if shape[-1] not in (0, 1, 3):
        raise ConfigError(
            f"data.image_shape={shape}: images of {config.data.name} are decoded to 3 channels, or "
            "to 1 in gray"
        )
    return shape[-1] or 3


def downsampled_shape(shape: Shape, by: int) -> Shape:
    """Return the (H, W, C) of images of `shape` after `data.downsample`=`by`.

    Raises ConfigError if they cannot be downsampled.
    """
    h, w, c = shape
    if h % by or w % by:
        raise ConfigError(f"data.downsample={by} does not divide the images, {h} x {w} pixels")
    if by > 1 and not (h and w):
        raise ConfigError("data.downsample needs a dataset whose images are of one size")
    return h // by, w // by, c


def resolve_image_shape(config: Config, recorded: Recorded | None, data_dir: str) -> Shape:
    """Return the (H, W, C) that the network sees: `data.image_shape`, or that of the dataset.

    Raises ConfigError if neither is fixed.
    """
    stated, pad = tuple(config.data.image_shape), config.data.pad
    if all(stated):
        return stated
    dataset = make_dataset(config, recorded, data_dir)
    h, w, c = dataset.stored_shape
    if not dataset.in_memory:
        reason = "may differ in size"
        if not recorded and dataset.name not in sources.DATASET_SPECS:
            reason = one_size.survey(dataset.name, dataset.data_dir).reason
        raise ConfigError(
            f"the images of {dataset.place()} {reason}: set the size that the network sees, for "
            "example --config.data.image_shape=(224,224,3), or (28,28,1) for gray"
        )
    return h + 2 * pad, w + 2 * pad, c


def make_preprocessor(config: Config, shape: Shape, *, resident: bool) -> Preprocessor:
    """Return the Preprocessor of `config` for a network that sees images of `shape`.

    resident: all images of the dataset have one size and are in memory. Raises ConfigError if the
    sections of the config do not fit together.
    """
    with config_errors("config"):
        standardize = make_standardization(config)
        check_colors(config)
        check_normalization(config, shape)
        return Preprocessor(
            crop=make_crop(config, shape),
            resident=resident,
            mirror=config.mirror,
            color=color.create(**config.color.to_dict()),
            augment=augment.create(**config.augment.to_dict()),
            mean=given_mean(config),
            std=tuple(config.data.std),
            reverse_channels=config.data.channel_order == "bgr",
            standardize=standardize,
            pixel_range=config.data.pixel_range,
            pad=config.data.pad,
        )


def make_crop(config: Config, shape: Shape) -> crops.Crop:
    """Return the crop of `config` for a network that sees images of `shape`, including padding.

    Raises ConfigError if its sizes do not fit, or if it deslants images whose mean is subtracted.
    """
    pad = config.data.pad
    if config.crop.name == "deslant" and config.data.mean != "none":
        raise ConfigError("crop.name=deslant measures ink on a background of 0: use data.mean=none")
    return crops.create(out=(shape[0] - 2 * pad, shape[1] - 2 * pad), **config.crop)


def make_standardization(config: Config) -> Standardization | ContrastAndWhitening | None:
    """Return the standardization of `config`, if any.

    Raises ConfigError if `data.mean` or `data.std` normalizes as well.
    """
    knobs = config.standardize.to_dict()
    name = knobs.pop("name")
    if name == "none":
        return None
    if config.data.mean != "none" or config.data.std:
        raise ConfigError(
            "data.mean or data.std and standardize both normalize: use only one of them"
        )
    return ContrastAndWhitening(**knobs) if name == "gcn_zca" else Standardization(**knobs)


def check_colors(config: Config) -> None:
    """Raise ConfigError if the generator would change colors after a mean was subtracted."""
    if config.augment.name != "generator" or config.data.mean == "none":
        return
    brightness = tuple(config.augment.brightness_range)
    if brightness != (1.0, 1.0) or config.augment.channel_shift_range:
        raise ConfigError("the brightness and channel shift of augment need data.mean=none")


def given_mean(config: Config) -> str | tuple[float, ...]:
    """Return `data.mean`: which mean of the training images it is, or its numbers."""
    mean = config.data.mean
    return mean if isinstance(mean, str) else tuple(mean)


def check_normalization(config: Config, shape: Shape) -> None:
    """Raise ConfigError unless the numbers of `data.mean` and `data.std` fit images of `shape`."""
    numbers = {"mean": given_mean(config), "std": tuple(config.data.std)}
    given = {key: value for key, value in numbers.items() if value and not isinstance(value, str)}
    for key, value in given.items():
        if len(value) not in (1, shape[2]):
            raise ConfigError(
                f"data.{key} has {len(value)} numbers, but the images have {shape[2]} channels: "
                "give one for each, or one for all"
            )
    if numbers["mean"] == ():
        raise ConfigError("data.mean=(): give a number for each channel, or data.mean=none")
    if given and tuple(config.data.pixel_range) != (0.0, 1.0):
        raise ConfigError(
            f"data.pixel_range={tuple(config.data.pixel_range)} and the numbers of data.mean or "
            "data.std both scale pixels; the numbers are for pixels from 0 to 1, so that "
            "data.pixel_range must be (0,1)"
        )
    if config.data.channel_order == "bgr" and shape[2] != 3:
        raise ConfigError(f"data.channel_order=bgr: the images have {shape[2]} channels, not 3")


def check_shape(dataset: Dataset, inputs: Preprocessor, shape: Shape) -> None:
    """Raise ConfigError if the images of `dataset`, cropped and padded, do not have `shape`."""
    stored = dataset.stored_shape
    with config_errors(f"the images of {dataset.name} are {stored}"):
        images = jax.ShapeDtypeStruct((1, *stored), jnp.float32)
        cropped = jax.eval_shape(lambda x: inputs.crop.crop_on_device(None, x), images).shape[1:]
    padded = (cropped[0] + 2 * inputs.pad, cropped[1] + 2 * inputs.pad, cropped[2])
    if shape != padded:
        raise ConfigError(
            f"data.image_shape is {shape}, but the images of {dataset.name} are {padded}"
        )


def check_streamed(config: Config) -> None:
    """Raise ConfigError for settings that need all images in memory, if images are streamed."""
    for what, asked in (
        ("standardize", config.standardize.name != "none"),
        ("diagnose_every", config.diagnose_every),
        ("optimizer sdlm", config.optimizer.name == "sdlm"),
    ):
        if asked:
            raise ConfigError(
                f"{what} needs a dataset that is held in memory; images of {config.data.name} are "
                "read one by one, because they may differ in size"
            )
