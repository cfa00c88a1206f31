"""Resolve a config to an `Experiment`: plain values that have been checked against each other.

A command resolves its config once and passes the experiment, or values of it, on. Only this module,
`experiment_inputs.py` and `config.py` read the keys of a config.
"""

import dataclasses
import os
from fractions import Fraction
from functools import partial
from typing import Any, NamedTuple

from cnn_archs import config as configs
from cnn_archs import models
from cnn_archs.config import Config
from cnn_archs.data.dataset import Dataset
from cnn_archs.data.record import Recorded
from cnn_archs.data.transforms.preprocess import Preprocessor
from cnn_archs.errors import ConfigError, config_errors
from cnn_archs.experiment_inputs import (
    Shape,
    check_shape,
    check_streamed,
    make_dataset,
    make_preprocessor,
    resolve_image_shape,
)
from cnn_archs.layer_patterns import ModulePath, find_frozen
from cnn_archs.optim import durations
from cnn_archs.optim.recipe import Recipe, check_batch_sizes, make_rules
from cnn_archs.runtime import backend


class Classifier(NamedTuple):
    """A network and the preprocessing of its images.

    image_shape: the (H, W, C) that `model` sees. classes: the number of its outputs, which is at
    least that of the dataset's classes. inputs: turns images of the dataset into that shape.
    """

    model: models.Network
    image_shape: Shape
    classes: int
    inputs: Preprocessor


@dataclasses.dataclass(frozen=True)
class Intervals:
    """Hold how often a run logs, evaluates and saves.

    log_every is in steps, the other periods are in epochs; diagnose_every=0 means never.
    eval_seconds, checkpoint_seconds: the least seconds between two events. keep: the number of
    checkpoints that are kept. profile: the steps that are traced.
    """

    log_every: int
    eval_every: float
    eval_seconds: float
    checkpoint_every: float
    checkpoint_seconds: float
    diagnose_every: float
    keep: int
    profile: range

    def least_seconds(self) -> dict[str, float]:
        """Return {kind of event: least seconds between two events}."""
        return {"evaluate": self.eval_seconds, "checkpoint": self.checkpoint_seconds}

    def periods(self, epoch: Fraction) -> dict[str, Fraction]:
        """Return {kind of event: steps between two events}. epoch: the steps in one epoch."""
        diagnose = {"diagnose": durations.epochs_to_steps(self.diagnose_every, epoch)}
        return {
            **(diagnose if self.diagnose_every else {}),
            "log": Fraction(self.log_every),
            "evaluate": durations.epochs_to_steps(self.eval_every, epoch),
            "checkpoint": durations.epochs_to_steps(self.checkpoint_every, epoch),
            "epoch": epoch,
        }


class WarmStart(NamedTuple):
    """The run whose weights a training starts from ("" for none), and the layers to copy.

    new_head: whether the last layer keeps its initial weights.
    """

    workdir: str
    layers: str
    new_head: bool


@dataclasses.dataclass(frozen=True, eq=False)
class ExperimentSettings:
    """The settings of an experiment that do not need its dataset.

    name: of `model`, which sees images of image_shape, (H, W, C). seeds: one per trained network.
    mesh_shape: the devices along the axes "data" and "model", as `mesh.create` takes them.
    test_scales: as `views.protocol_passes` takes them. frozen: the modules that do not train.
    seeds_form: see `seeds.choose_axis`. cuda_graph: see `compiler_options.cuda_graph_options`.
    deterministic, matmul_precision: see `backend.configure_jax`. config: the complete config, in
    the form of config.json.
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
    frozen: frozenset[ModulePath]
    seeds_form: str
    cuda_graph: bool
    deterministic: bool
    matmul_precision: str
    config: dict[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Experiment(ExperimentSettings):
    """An experiment, resolved from a config. classes, inputs: see `Classifier`.

    source: the name or the file of the experiment that the config is of, with its argument, as the
    user gave it; "" for a config that is of none, such as that of a run.
    """

    dataset: Dataset
    classes: int
    inputs: Preprocessor
    source: str = ""

    @property
    def net(self) -> Classifier:
        """The network and the preprocessing of its images."""
        return Classifier(self.model, self.image_shape, self.classes, self.inputs)

    def class_names(self) -> tuple[str, ...]:
        """Return a name for each output; `class 10`, ... for outputs beyond the dataset."""
        names = self.dataset.class_names()
        return names + tuple(f"class {i}" for i in range(len(names), self.classes))

    def notes(self) -> list[str]:
        """Return lines for the user about the images that are read, and outputs without a class."""
        return [*self.dataset.notes(), *self.outputs_notes()]

    def outputs_notes(self) -> list[str]:
        """Return a line for the user if the network has more outputs than there are classes."""
        if self.classes <= self.dataset.classes:
            return []
        key = f": --config.model.num_classes={self.dataset.classes}"
        free = "num_classes" in self.config["model"]
        return [f"{self.classes} outputs for {self.dataset.classes} classes{key if free else ''}"]


def order_notes(outputs: int, classes: int) -> list[str]:
    """Return a line for the user if weights from elsewhere have more outputs than classes."""
    if outputs <= classes:
        return []
    return [
        f"{outputs} outputs for {classes} classes: the first {classes} outputs are taken for the "
        "classes, in the order of their labels"
    ]


def start_experiment(
    config: Config, recorded: Recorded | None = None, data_dir: str = "", source: str = ""
) -> Experiment:
    """Configure jax as `config` says and resolve it; must run before any device is initialized.

    recorded, data_dir: see `resolve`. source: see `Experiment`.
    """
    backend.configure_jax(
        deterministic=config.deterministic, matmul_precision=config.matmul_precision
    )
    return resolve(config, recorded, data_dir, source)


def resolve(
    config: Config, recorded: Recorded | None = None, data_dir: str = "", source: str = ""
) -> Experiment:
    """Return the experiment of `config`, checked as far as possible without reading an image.

    recorded: the record of the data of a run of `config`, which is asked for the classes and the
    shape of the images in place of the dataset. data_dir: where the dataset is, if it is not where
    `config` says. source: see `Experiment`. Raises ConfigError if settings do not fit together,
    DataError if the dataset is missing and its size and classes are not known without it.
    """
    settings = resolve_settings(config, recorded, data_dir)
    dataset = make_dataset(config, recorded, data_dir)
    name, model, shape = settings.name, settings.model, settings.image_shape
    with config_errors(f"model {name}"):
        classes = model.num_classes
    if classes < dataset.classes:
        raise ConfigError(
            f"model {name} has {classes} outputs, but {dataset.name} has {dataset.classes} "
            f"classes: give train or import --config.model.num_classes={dataset.classes}, or the "
            "images of the network's classes, by --config.data.name=image_folder and "
            "--config.data.data_dir=DIR"
        )
    inputs = make_preprocessor(config, shape, resident=dataset.in_memory)
    if dataset.in_memory:
        check_shape(dataset, inputs, shape)
    else:
        check_streamed(config)
    with config_errors(f"model {name}"):
        logits = models.shapes(model, shape).heads["logits"]
        if model.bn_group >= 0:  # else the number of images on a device decides
            images = model.bn_group or settings.recipe.micro_batch_size
            models.check_batch_statistics(model, shape, images)
    assert logits.shape == (1, classes), logits.shape
    return Experiment(
        **vars(settings), dataset=dataset, classes=classes, inputs=inputs, source=source
    )


def resolve_settings(
    config: Config, recorded: Recorded | None = None, data_dir: str = ""
) -> ExperimentSettings:
    """Return the settings of `config` that do not need its dataset.

    The dataset, or `recorded`, is consulted only if `data.image_shape` is not set. Raises
    ConfigError if settings do not fit together.
    """
    recipe = make_recipe(config)
    fields = config.model.to_dict()
    with config_errors(f"model {fields['name']}"):
        model = models.create(**fields)
    check_batch_sizes(recipe.batch_size, recipe.micro_batch, bn_group=model.bn_group)
    shape = resolve_image_shape(config, recorded, data_dir)
    return ExperimentSettings(
        name=fields["name"],
        model=model,
        image_shape=shape,
        recipe=recipe,
        intervals=make_intervals(config),
        seeds=tuple(range(config.seed, config.seed + config.seeds)),
        mesh_shape=(config.mesh.data, config.mesh.model),
        eval_batch_size=config.eval_batch_size,
        test_scales=tuple(config.test_scales),
        warm_start=WarmStart(
            os.path.expanduser(config.warm_start.workdir),
            config.warm_start.layers,
            config.warm_start.new_head,
        ),
        frozen=find_frozen(config.frozen, fields["name"], model, shape),
        seeds_form=config.seeds_form,
        cuda_graph=config.cuda_graph,
        deterministic=config.deterministic,
        matmul_precision=config.matmul_precision,
        config=configs.to_plain_dict(config),
    )


def make_recipe(config: Config) -> Recipe:
    """Return the recipe of `config`. Raises ConfigError if its parts do not fit together."""
    kinds = ("loss", "schedule", "warmup", "optimizer", "average")
    made = partial(make_rules, **{kind: config[kind].to_dict() for kind in kinds})
    checked = made(steps_per_epoch=1.0)  # for the checks alone: any length of an epoch will do
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


def make_intervals(config: Config) -> Intervals:
    """Return the intervals of `config`.

    Raises ConfigError if the rate would depend on how fast the evaluations are.
    """
    if config.eval_seconds and config.schedule.name == "plateau":
        raise ConfigError(
            f"eval_seconds={config.eval_seconds:g}: schedule plateau counts evaluations, so that "
            "the rate would depend on the speed; use --config.eval_every"
        )
    every = ("log_every", "eval_every", "checkpoint_every", "diagnose_every", "keep")
    keys = (*every, "eval_seconds", "checkpoint_seconds")
    return Intervals(**{key: config[key] for key in keys}, profile=range(*config.profile))
