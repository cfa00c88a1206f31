"""From a config to an `Experiment`: plain values that have been checked against each other.

Only this module and `config.py` know what a config looks like inside. A command resolves its config
once, and hands the experiment or values of it down.
"""

import dataclasses
from fractions import Fraction
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from cnn_archs import config as configs
from cnn_archs import models
from cnn_archs.data.dataset import Dataset
from cnn_archs.data.datasets import sources
from cnn_archs.data.transforms import augment, color, crops
from cnn_archs.data.transforms.keras_standardize import Standardization
from cnn_archs.data.transforms.preprocess import MEANS, Preprocessor
from cnn_archs.errors import ConfigError, config_errors
from cnn_archs.optim import durations
from cnn_archs.optim.recipe import Recipe, check_batch_sizes, make_rules
from cnn_archs.runtime import backend

Shape = tuple[int, int, int]  # (H, W, C)


class Classifier(NamedTuple):
    """A network and how images come to it.

    image_shape: (H, W, C) that `model` sees. classes: its outputs, at least those of the dataset.
    inputs: how images of the dataset come to be image_shape.
    """

    model: models.Network
    image_shape: Shape
    classes: int
    inputs: Preprocessor


@dataclasses.dataclass(frozen=True)
class Intervals:
    """What a run does besides its steps, and how often.

    log_every: in steps; the others: in epochs, and diagnose_every=0: never. keep: checkpoints that
    stay. profile: the steps that are traced.
    """

    log_every: int
    eval_every: float
    checkpoint_every: float
    diagnose_every: float
    keep: int
    profile: range

    def periods(self, epoch: Fraction) -> dict[str, Fraction]:
        """Steps between events of each kind that there is; epoch: steps in one pass."""
        diagnose = {"diagnose": durations.epochs_to_steps(self.diagnose_every, epoch)}
        return {
            **(diagnose if self.diagnose_every else {}),
            "log": Fraction(self.log_every),
            "evaluate": durations.epochs_to_steps(self.eval_every, epoch),
            "checkpoint": durations.epochs_to_steps(self.checkpoint_every, epoch),
            "epoch": epoch,
        }


class WarmStart(NamedTuple):
    """The run whose weights a training begins with, "" for none, and the layers that it takes."""

    workdir: str
    layers: str


@dataclasses.dataclass(frozen=True, eq=False)
class ExperimentSettings:
    """What a config says of itself, whether its dataset is there or not.

    name: of `model`, which sees images of image_shape, (H, W, C). seeds: one for each network that
    is trained. mesh_shape: devices along "data" and "model", as `mesh.create` takes them.
    test_scales: as `views.passes` takes them. deterministic, matmul_precision: see
    `backend.configure`. config: all of it, as config.json has it.
    """

    name: str
    model: models.Network
    image_shape: Shape
    recipe: Recipe
    intervals: Intervals
    seeds: tuple[int, ...]
    mesh_shape: tuple[int, int]
    eval_batch_size: int
    test_scales: tuple[float, ...]
    warm_start: WarmStart
    deterministic: bool
    matmul_precision: str
    config: dict[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Experiment(ExperimentSettings):
    """All that a config says. classes, inputs: see `Classifier`."""

    dataset: Dataset
    classes: int
    inputs: Preprocessor

    @property
    def net(self) -> Classifier:
        return Classifier(self.model, self.image_shape, self.classes, self.inputs)

    def class_names(self) -> tuple[str, ...]:
        """A name for each output: the dataset's, and `class 10`, ... where the network has more."""
        names = self.dataset.class_names()
        return names + tuple(f"class {i}" for i in range(len(names), self.classes))


def start_experiment(config: ConfigDict) -> Experiment:
    """Set up jax as `config` says and resolve it: the first use of devices in a process."""
    backend.configure_jax(
        deterministic=config.deterministic, matmul_precision=config.matmul_precision
    )
    return resolve(config)


def resolve(config: ConfigDict) -> Experiment:
    """Return the experiment of `config`, checked as far as no image need be read for it.

    ConfigError where its parts do not fit together, DataError where the dataset is neither known
    nor there.
    """
    outlined, dataset = resolve_settings(config), make_dataset(config)
    name, model, shape = outlined.name, outlined.model, outlined.image_shape
    classes = model.num_classes
    if classes < dataset.classes:
        raise ConfigError(
            f"model {name} has {classes} outputs, but {dataset.name} has {dataset.classes} "
            f"classes: --config.model.num_classes={dataset.classes}"
        )
    inputs = make_inputs(config, shape, resident=dataset.in_memory)
    if dataset.in_memory:
        check_shape(dataset, inputs, shape)
    else:
        check_streamed(config)
    with config_errors(f"model {name}"):
        logits = models.shapes(model, shape).heads["logits"]
    assert logits.shape == (1, classes), logits.shape
    return Experiment(**vars(outlined), dataset=dataset, classes=classes, inputs=inputs)


def resolve_settings(config: ConfigDict) -> ExperimentSettings:
    """Return the outline of `config`; ConfigError where knobs do not fit together.

    The dataset need be known or there only where the config leaves the images' size to it.
    """
    recipe = make_recipe(config)
    fields = config.model.to_dict()
    with config_errors(f"model {fields['name']}"):
        model = models.create(**fields)
    check_batch_sizes(recipe.batch_size, recipe.micro_batch, bn_group=model.bn_group)
    return ExperimentSettings(
        name=fields["name"],
        model=model,
        image_shape=resolve_image_shape(config),
        recipe=recipe,
        intervals=make_intervals(config),
        seeds=tuple(range(config.seed, config.seed + config.seeds)),
        mesh_shape=(config.mesh.data, config.mesh.model),
        eval_batch_size=config.eval_batch_size,
        test_scales=tuple(config.test_scales),
        warm_start=WarmStart(**config.warm_start),
        deterministic=config.deterministic,
        matmul_precision=config.matmul_precision,
        config=configs.to_plain_dict(config),
    )


def make_dataset(config: ConfigDict) -> Dataset:
    """Return the dataset of `config`, whose images are not read.

    ConfigError where they cannot be downsampled, DataError where it is neither known nor there.
    """
    data = config.data
    (h, w, c), classes = sources.dataset_spec(data.name, data.data_dir)
    by = data.downsample
    if by < 1 or h % by or w % by:
        raise ConfigError(f"data.downsample={by} does not divide the images, {h} x {w} pixels")
    if by > 1 and not (h and w):
        raise ConfigError("data.downsample needs a dataset whose images are of one size")
    return Dataset(
        name=data.name,
        data_dir=data.data_dir,
        stored_shape=(h // by, w // by, c),
        classes=classes,
        downsample=by,
        holdout=data.holdout,
        examples=data.examples,
        on_corrupt=data.on_corrupt,
        threads=data.threads,
    )


def resolve_image_shape(config: ConfigDict) -> Shape:
    """Return the (H, W, C) that the network of `config` sees: as stated, or the dataset's."""
    stated, pad = tuple(config.data.image_shape), config.data.pad
    if all(stated):
        return stated
    h, w, c = make_dataset(config).stored_shape
    if not h or not w:
        raise ConfigError(
            f"the images of {config.data.name} differ in size: say what the network sees, "
            f"--config.data.image_shape=(224,224,{c})"
        )
    return h + 2 * pad, w + 2 * pad, c


def make_inputs(config: ConfigDict, shape: Shape, *, resident: bool) -> Preprocessor:
    """Return the Preprocessor of `config` for a network that sees images of `shape`."""
    if config.data.mean not in MEANS:
        raise ConfigError(f"data.mean is {config.data.mean!r}, not one of {', '.join(MEANS)}")
    with config_errors("config"):
        standardize = make_standardization(config)
        check_colors(config)
        return Preprocessor(
            crop=make_crop(config, shape),
            resident=resident,
            mirror=config.mirror,
            color=color.create(**config.color.to_dict()),
            augment=augment.create(**config.augment.to_dict()),
            mean=config.data.mean,
            standardize=standardize,
            pixel_range=config.data.pixel_range,
            pad=config.data.pad,
        )


def make_crop(config: ConfigDict, shape: Shape) -> crops.Crop:
    """Return the crop of `config` for a network that sees images of `shape`, padding included."""
    pad = config.data.pad
    return crops.create(out=(shape[0] - 2 * pad, shape[1] - 2 * pad), **config.crop)


def make_standardization(config: ConfigDict) -> Standardization | None:
    """Return what `config.standardize` names; ConfigError beside a mean."""
    knobs = config.standardize.to_dict()
    if knobs.pop("name") == "none":
        return None
    if config.data.mean != "none":
        raise ConfigError("data.mean and standardize both take a mean off: use one")
    return Standardization(**knobs)


def check_colors(config: ConfigDict) -> None:
    """ConfigError where the generator would change colors of which a mean has been taken off."""
    if config.augment.name != "generator" or config.data.mean == "none":
        return
    brightness = tuple(config.augment.brightness_range)
    if brightness != (1.0, 1.0) or config.augment.channel_shift_range:
        raise ConfigError("augment's brightness and channel shift need data.mean=none")


def check_shape(dataset: Dataset, inputs: Preprocessor, shape: Shape) -> None:
    """ConfigError where images of the dataset do not become `shape`."""
    stored = dataset.stored_shape
    with config_errors(f"the images of {dataset.name} are {stored}"):
        images = jax.ShapeDtypeStruct((1, *stored), jnp.float32)
        made = jax.eval_shape(lambda x: inputs.crop.crop_on_device(None, x), images).shape[1:]
    padded = (made[0] + 2 * inputs.pad, made[1] + 2 * inputs.pad, made[2])
    if shape != padded:
        raise ConfigError(
            f"data.image_shape is {shape}, but the images of {dataset.name} are {padded}"
        )


def check_streamed(config: ConfigDict) -> None:
    """ConfigError for what needs all images at once, which those that differ in size never are."""
    for what, asked in (
        ("standardize", config.standardize.name != "none"),
        ("diagnose_every", config.diagnose_every),
        ("optimizer sdlm", config.optimizer.name == "sdlm"),
    ):
        if asked:
            raise ConfigError(f"{what} needs a dataset whose images are of one size")


def make_recipe(config: ConfigDict) -> Recipe:
    """Return the recipe of `config`; ConfigError where knobs do not fit together."""
    kinds = ("loss", "schedule", "warmup", "optimizer", "average")
    made = partial(make_rules, **{kind: config[kind].to_dict() for kind in kinds})
    checked = made(steps_per_epoch=1.0)  # of any length: no image has been counted yet
    if checked.schedule.needs_validation and not config.data.holdout:
        raise ConfigError(
            f"schedule {config.schedule.name} follows the error on held-out images: "
            "set --config.data.holdout"
        )
    return Recipe(
        make_rules=made,
        loss=checked.loss,
        batch_size=config.data.batch_size,
        micro_batch=config.data.micro_batch,
        epochs=config.epochs,
        steps=config.steps,
        auxiliary=config.auxiliary,
        keeps_average=config.average.name != "none",
        curvature_examples=config.optimizer.samples if config.optimizer.name == "sdlm" else 0,
    )


def make_intervals(config: ConfigDict) -> Intervals:
    """Return the upkeep of `config`."""
    every = ("log_every", "eval_every", "checkpoint_every", "diagnose_every", "keep")
    return Intervals(**{key: config[key] for key in every}, profile=range(*config.profile))
