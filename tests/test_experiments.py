"""Every experiment: its resolved config is the golden one, and its network takes a step.

A changed default shows as a diff in the golden files of the experiments that it touches:
CNN_ARCHS_UPDATE_GOLDEN=1 pytest tests/test_experiments.py writes them anew.
"""

import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from cnn_archs import config as configs
from cnn_archs import config_files, models
from cnn_archs.data.datasets import sources
from cnn_archs.data.transforms.preprocess import Preprocess
from cnn_archs.evaluate.step import make_eval_step
from cnn_archs.experiment import Experiment, resolve, resolve_settings
from cnn_archs.metrics import MetricSums
from cnn_archs.optim import gauss_newton
from cnn_archs.optim.recipe import Rules
from cnn_archs.training import steps

GOLDEN = Path(__file__).parent / "golden"
UPDATE = os.environ.get("CNN_ARCHS_UPDATE_GOLDEN") == "1"
MODULES = {
    path.stem: config_files.execute_file(path)
    for path in sorted(config_files.EXPERIMENTS.glob("[!_]*.py"))
    if path.stem != "base"
}
EXPERIMENTS = [
    f"{name}:{argument}" if argument else name
    for name, module in MODULES.items()
    for argument in getattr(module, "ARGUMENTS", (None,))
]


def golden(experiment):
    return GOLDEN / f"{experiment.replace(':', '_')}.json"


def as_json(experiment):
    return configs.load_config(experiment, []).to_json(sort_keys=True, indent=1) + "\n"


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_the_config_is_the_golden_one(experiment):
    if UPDATE:
        golden(experiment).write_text(as_json(experiment))
    assert golden(experiment).is_file(), "run this test with CNN_ARCHS_UPDATE_GOLDEN=1"
    assert as_json(experiment) == golden(experiment).read_text()


def test_there_is_no_golden_config_of_nothing():
    assert {p.name for p in GOLDEN.glob("*.json")} == {golden(e).name for e in EXPERIMENTS}


@pytest.mark.parametrize("name", [n for n, m in MODULES.items() if hasattr(m, "ARGUMENTS")])
def test_without_its_argument_an_experiment_is_one_of_its_variants(name):
    assert as_json(name) in {as_json(e) for e in EXPERIMENTS if e.split(":")[0] == name}


class Parts(NamedTuple):
    """Functions and objects that train an experiment; nothing has been traced yet.

    shape: (H, W, C) of the images that the training step gets.
    """

    experiment: Experiment
    rules: Rules
    prepare: Preprocess
    step: Callable[..., steps.TrainState]
    evaluate: Callable[..., MetricSums]
    shape: tuple[int, int, int]

    def first(self):
        """Return the state before the first step, as shapes and dtypes."""
        _, _, optimizer, average = self.rules
        variables = models.shapes(self.experiment.model, self.experiment.image_shape).variables
        return jax.eval_shape(
            lambda v: steps.state_from_variables(v, optimizer, average), variables
        )


def parts(experiment):
    recipe, inputs, model = experiment.recipe, experiment.inputs, experiment.model
    loss, _, optimizer, average = rules = recipe.make_rules(100.0)
    (h, w, c), _ = sources.dataset_spec(experiment.dataset.name)
    delivered = (h, w) if experiment.dataset.in_memory else inputs.crop.host_size
    mean = jnp.full((1, 1, c) if inputs.mean == "channel" else (*delivered, c), 127.0)
    statistics = {"mean": mean}
    if inputs.standardize:
        statistics["whitening"] = jnp.eye(mean.size)
    prepare = inputs.make_preprocess(statistics)
    knobs = dict(auxiliary=recipe.auxiliary, micro_batch=recipe.micro_batch)
    step = steps.make_train_step(model, loss, optimizer, average, prepare, **knobs)
    evaluate = make_eval_step(model, loss, prepare)
    return Parts(experiment, rules, prepare, step, evaluate, (*delivered, c))


# These take longer to compile than all the others together.
COSTLY = {
    *("googlenet_cifar10", "googlenet_imagenet", "resnet_imagenet:18", "inception_v3_imagenet"),
    *("inception_v2_imagenet:x30", "inception_v4_imagenet", "inception_resnet_imagenet:v2"),
    "nin_cifar10",
}


def run_here():
    """One variant of each experiment; the others are slow, and only traced in `make test`."""
    for name in MODULES:
        for i, e in enumerate(e for e in EXPERIMENTS if e.split(":")[0] == name):
            yield pytest.param(e, marks=pytest.mark.slow if i or e in COSTLY else ())


def traced_here():
    """All experiments; of those with branches, and of a VGG for CIFAR-10, one is not slow."""
    for e in EXPERIMENTS:
        alike = e.startswith(("inception_", "googlenet_", "vgg_cifar10"))
        slow = alike and e not in {"inception_resnet_imagenet:v2", "googlenet_imagenet"}
        yield pytest.param(e, marks=pytest.mark.slow if slow else ())


@pytest.mark.parametrize("experiment", list(traced_here()))
def test_one_training_step_fits_together(experiment):
    """init, the curvature where there is one, and a step, as shapes: nothing runs, no data."""
    config = configs.load_config(experiment, [])
    resolve_settings(config).recipe.make_rules(100.0)
    config = shallow(config)
    assert resolve(config).classes == sources.dataset_spec(config.data.name)[1]
    traced(like(config))


def shallow(config):
    """`config` with one unit of each kind left: the others are the same, or have other widths.

    All of them are traced in tests/models/test_architectures.py.
    """
    with config.unlocked():
        if "blocks" in config.model:  # the first of a stage projects, the second does not
            config.model.blocks = (
                min(config.model.blocks[0], 2),
                *(1 for _ in config.model.blocks[1:]),
            )
        for name in set(config.model.get("modules", ())) - {"3a", "4a", "4d", "5a"}:
            del config.model.modules[name]  # after pools, and before auxiliary classifiers
    return config


def like(config):
    """`config` as JSON, with what makes no other program at one value: most are traced once.

    The name of a network whose fields all stand there is that, and numbers of the schedule and of
    the crops.
    """
    tree = json.loads(config.to_json())
    for key in ("seeds", "epochs", "steps", "eval_batch_size", "warm_start", "test_scales"):
        tree.pop(key, None)
    module = type(models.create(**tree["model"]))
    tree["model"]["name"] = next(n for n, m in models.MODELS.items() if class_of(m) is module)
    tree["data"]["batch_size"] = 2 * (tree["model"].get("bn_group") or 2)
    if tree["crop"]["name"] == "shorter_side":
        tree["crop"] |= {"smallest": 256, "largest": 256, "evaluate": 256}
    if tree["schedule"]["name"] == "exponential":
        tree["schedule"] |= {"learning_rate": 0.1, "factor": 0.9, "every": 2.0}
    if tree["schedule"]["name"] in ("piecewise", "plateau"):
        tree["schedule"]["learning_rate"] = 0.1
        if "factors" in tree["schedule"]:
            tree["schedule"] |= {"factors": [1.0, 0.1], "boundaries": [1.0], "unit": "epoch"}
            tree["schedule"]["bias_factors"] = tree["schedule"]["bias_factors"][:2]
    return json.dumps(tree, sort_keys=True)


def class_of(constructor):
    return getattr(constructor, "func", constructor)


@cache
def traced(text):
    """Traces a step of the config `text`, and what comes before and after it."""
    base = config_files.execute_file(config_files.EXPERIMENTS / "base.py")
    config = ConfigDict({**base.DEFAULTS, **json.loads(text)})
    experiment = resolve(config)
    made, recipe = parts(experiment), experiment.recipe
    images = jax.ShapeDtypeStruct((recipe.batch_size, *made.shape), jnp.uint8)
    labels = jax.ShapeDtypeStruct(images.shape[:1], jnp.int32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    state = made.first()
    assert jax.eval_shape(made.step, state, key, images, labels) == state
    mask = jax.ShapeDtypeStruct(labels.shape, bool)
    counts = jax.eval_shape(made.evaluate, state.variables, images, labels, mask)
    assert counts.replace(auxiliary={}) == state.window
    if count := recipe.curvature_examples:
        diagonal = gauss_newton.gauss_newton_diagonal(experiment.model, made.rules.loss)
        image = jax.ShapeDtypeStruct((count, *experiment.image_shape), jnp.float32)
        label = jax.ShapeDtypeStruct((count,), jnp.int32)
        assert jax.eval_shape(diagonal, state.params, image, label) == state.params


@pytest.mark.parametrize("experiment", list(run_here()))
def test_two_steps_of_a_narrow_network_run(experiment):
    fields = configs.load_config(experiment, []).model
    narrow = dict(width=1 / 16, bn_group=2)
    overrides = [f"model.{k}={v}" for k, v in narrow.items() if k in fields]
    overrides += ["data.batch_size=4", "data.micro_batch=0"]
    if "learning_rate" in configs.load_config(experiment, []).schedule:
        overrides.append("schedule.learning_rate=1e-4")  # the weights are not the recipe's
    config = shallow(configs.load_config(experiment, overrides))
    made = parts(resolve(config))
    random = np.random.default_rng(0)

    def draw(x):  # an initialization takes as long to compile as a step
        return np.float32(random.normal(0, (2 / np.prod(x.shape[:-1])) ** 0.5, x.shape))

    key = jax.random.key(0)
    shapes = made.first()
    params = jax.tree.map(draw, shapes.params)
    stats = jax.tree.map(lambda x: np.ones(x.shape, x.dtype), shapes.batch_stats)
    state = steps.state_from_variables({"params": params, "batch_stats": stats}, *made.rules[2:])
    images = random.integers(0, 256, (4, *made.shape), dtype=np.uint8)
    labels = random.integers(0, made.experiment.classes, 4, dtype=np.int32)
    step = jax.jit(made.step)
    for _ in range(2):
        state = step(state, key, images, labels)
    assert (state.step, state.bad_step, state.window.examples) == (2, -1, 8)
    assert np.isfinite(state.window.loss)
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), params, state.params)
    assert np.mean(jax.tree.leaves(moved)) > 0.5  # all units of a narrow layer can be 0
