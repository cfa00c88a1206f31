"""Every experiment: its resolved config is the golden one, and its network takes a step.

A changed default shows as a diff in the golden files of the experiments that it touches:
CNN_ARCHS_UPDATE_GOLDEN=1 pytest tests/test_experiments.py writes them anew.
"""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from cnn_archs import config as configs
from cnn_archs.data import sources
from cnn_archs.setup import network
from cnn_archs.train import curvature, steps
from cnn_archs.train.assemble import rules

GOLDEN = Path(__file__).parent / "golden"
UPDATE = os.environ.get("CNN_ARCHS_UPDATE_GOLDEN") == "1"
MODULES = {
    path.stem: configs.module_at(path)
    for path in sorted(configs.EXPERIMENTS.glob("[!_]*.py"))
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
    return configs.load(experiment, []).to_json(sort_keys=True, indent=1) + "\n"


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


@pytest.mark.parametrize("name", MODULES)
def test_the_header_has_the_command_and_the_expected_result(name):
    header = MODULES[name].__doc__
    assert f"python launch.py train --config=experiments/{name}.py" in header
    assert "Expected:" in header


def variants():
    """The first and the last variant of each experiment; the others are slow."""
    for name in MODULES:
        of_name = [e for e in EXPERIMENTS if e.split(":")[0] == name]
        for e in of_name:
            mark = () if e in (of_name[0], of_name[-1]) else pytest.mark.slow
            yield pytest.param(e, marks=mark)


@pytest.mark.parametrize("experiment", list(variants()))
def test_one_training_step_fits_together(experiment):
    """init, the curvature where there is one, and a step, as shapes: nothing runs, no data."""
    config = configs.load(experiment, [])
    if "scan_blocks" in config.model:  # the same units, traced once
        config = configs.load(experiment, ["model.scan_blocks=true"])
    net = network(config)
    loss, _, optimizer, average = rules(config, steps_per_epoch=100.0)
    (h, w, c), classes = sources.describe(config.data.name)
    delivered = (h, w) if net.inputs.resident else net.inputs.crop.delivered
    mean = jnp.zeros((1, 1, c)) if config.data.mean == "channel" else jnp.zeros((*delivered, c))
    prepare = net.inputs.prepare({"mean": mean})
    knobs = dict(auxiliary=config.auxiliary, micro_batch=config.data.micro_batch)
    step = steps.train_step_of(net.model, loss, optimizer, average, prepare, **knobs)
    images = jax.ShapeDtypeStruct((config.data.batch_size, *delivered, c), jnp.uint8)
    labels = jax.ShapeDtypeStruct(images.shape[:1], jnp.int32)

    def first(key):
        return steps.init_state(net.model, optimizer, average, key, net.image_shape)

    key = jax.eval_shape(lambda: jax.random.key(0))
    state = jax.eval_shape(first, key)
    assert jax.eval_shape(step, state, key, images, labels) == state
    evaluate = steps.eval_step_of(net.model, loss, prepare)
    mask = jax.ShapeDtypeStruct(labels.shape, bool)
    counts = jax.eval_shape(evaluate, state.variables, images, labels, mask)
    assert counts == state.window
    assert net.classes == classes
    if config.optimizer.name == "sdlm":
        diagonal = curvature.gauss_newton_diagonal(net.model, loss)
        image = jax.ShapeDtypeStruct((config.optimizer.samples, *net.image_shape), jnp.float32)
        label = jax.ShapeDtypeStruct((config.optimizer.samples,), jnp.int32)
        assert jax.eval_shape(diagonal, state.params, image, label) == state.params
