"""Initial weights from another run: by name, by a mapping, per seed; errors are one line."""

import shutil

import jax
import numpy as np
import pytest

import cnn_archs
from cnn_archs import config as configs
from cnn_archs import models
from cnn_archs.checkpoints import Checkpoints
from cnn_archs.errors import ConfigError
from cnn_archs.experiment import resolve
from cnn_archs.run_dir import RunDir
from cnn_archs.training import loop, warm_start
from cnn_archs.training.build import Member, build_trainer
from cnn_archs.training.seeds import SeedAxis
from cnn_archs.training.trainer_checkpoint import Saver

FROM_A = "conv1_1,conv2_1,conv3_1,conv3_2,fc6,fc7,fc8"  # VGG, section 3.1


def experiment(model, *more):
    common = ["data.batch_size=9", "steps=1", "eval_batch_size=360", "model.num_classes=10"]
    small = ["model.width=0.03125"] if model.startswith("vgg") else []
    return resolve(
        configs.load_config("lenet5_digits", [f"model.name={model}", *small, *common, *more])
    )


def saved(workdir, *arguments):
    """Save a run at step 0, and return its workdir."""
    c = experiment(*arguments)
    workdir.mkdir(exist_ok=True)
    with Saver([Checkpoints(workdir / "checkpoints")]) as saver:
        saver.save(build_trainer(Member(c, workdir)))
    RunDir(workdir).write_config(c.config)
    return workdir


@pytest.fixture(scope="module")
def net_a(tmp_path_factory):
    """Return a run of VGG's column A for 32x32 images, with another seed than the later runs."""
    return saved(tmp_path_factory.mktemp("A"), "vgg_a_bn_cifar", "seed=7")


def started(workdir, model, *more):
    """Return a trainer, and the variables with which each of its seeds starts."""
    run = build_trainer(Member(experiment(model, *more), workdir))
    return run, warm_start.warm_start_variables(run, *experiment(model, *more).warm_start)


def same(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(x, y) for x, y in pairs)


@pytest.mark.slow
def test_vggs_deeper_columns_take_four_convolutions_and_three_dense_layers_of_a(net_a, tmp_path):
    more = (f"warm_start.workdir={net_a}", f"warm_start.layers={FROM_A}")
    run, (variables,) = started(tmp_path, "vgg_b_bn_cifar", *more)
    a, random = cnn_archs.load(net_a).variables, run.seed_variables()[0]
    taken = set(FROM_A.split(","))
    assert taken < set(random["params"])
    for name in random["params"]:
        source = a if name in taken else random
        for kind in ("params", "batch_stats"):
            assert same(variables[kind].get(name, {}), source[kind].get(name, {})), name
    assert not same(variables["params"]["conv1_1"], random["params"]["conv1_1"])


def test_a_run_begins_with_them_and_needs_them_no_more_once_it_is_saved(tmp_path):
    mlp, source, workdir = ("mlp", "model.hidden=(5,)"), tmp_path / "source", tmp_path / "run"
    before = cnn_archs.load(saved(source, *mlp, "seed=7")).variables
    more = (*mlp, f"warm_start.workdir={source}", "average.name=ema", "schedule.learning_rate=0.0")
    loop.train(experiment(*more), workdir)
    assert same(cnn_archs.load(workdir).variables, before)  # since the rate is 0
    shutil.rmtree(source)
    loop.train(experiment(*more, "steps=2"), workdir)
    assert cnn_archs.load(workdir).step == 2


@pytest.mark.slow
def test_each_seed_takes_its_own_or_the_only_one(tmp_path):
    mlp = ("mlp", "model.hidden=(5,)")
    for name, of_source, expected in (("two", ("seeds=2",), [0, 1]), ("one", (), [0, 0])):
        source = saved(tmp_path / name, *mlp, "seed=7", *of_source)
        more = (*mlp[1:], "seeds=2", f"warm_start.workdir={source}")
        run, found = started(tmp_path / "run", "mlp", *more)
        for variables, seed in zip(found, expected, strict=True):
            assert same(variables, cnn_archs.load(source, seed).variables)
        together = build_trainer(Member(experiment("mlp", *more)), axis=SeedAxis("vmapped"))
        for r in (run, together):
            r.set_variables(found)
            assert all(same(a, b) for a, b in zip(r.seed_variables(), found, strict=True))


def test_layers_may_have_another_name_there(tmp_path):
    there = cnn_archs.load(saved(tmp_path / "a", "mlp", "model.hidden=(32,32)")).variables["params"]
    more = (f"warm_start.workdir={tmp_path / 'a'}", "warm_start.layers=fc3=fc2")
    _, (found,) = started(tmp_path / "b", "mlp", "model.hidden=(4,32,32)", *more)
    assert same(found["params"]["fc3"], there["fc2"])
    assert not same(found["params"]["fc4"], there["fc3"])


@pytest.mark.parametrize(
    "layers, message",
    [
        ("conv9_1", "this network has no layer 'conv9_1'; it has conv1_1"),
        ("conv1_1=conv9_1", "that run has no layer 'conv9_1'"),
        ("conv2_1", r"conv2_1\['conv'\]\['bias'\] is \(4,\) in that run and \(8,\)"),
    ],
)
def test_what_does_not_fit_is_one_line(layers, message, net_a, tmp_path):
    more = (f"warm_start.workdir={net_a}", f"warm_start.layers={layers}", "model.width=0.0625")
    with pytest.raises(ConfigError, match=message):
        started(tmp_path, "vgg_a_bn_cifar", *more)


def test_a_source_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="there is no run in .*none"):
        loop.train(experiment("mlp", f"warm_start.workdir={tmp_path / 'none'}"), tmp_path / "run")


def test_a_new_head_keeps_its_initial_weights_and_all_else_is_copied(net_a, tmp_path):
    more = (f"warm_start.workdir={net_a}", "model.num_classes=12")
    with pytest.raises(ConfigError, match="fc8.*: --config.warm_start.new_head=true"):
        started(tmp_path, "vgg_a_bn_cifar", *more)
    run, (variables,) = started(
        tmp_path, "vgg_a_bn_cifar", *more, "warm_start.new_head=true", "seed=3"
    )
    a, random = cnn_archs.load(net_a).variables, run.seed_variables()[0]
    for name in random["params"]:
        source = random if name == "fc8" else a
        for kind in ("params", "batch_stats"):
            assert same(variables[kind].get(name, {}), source[kind].get(name, {})), name
    assert not same(variables["params"]["conv1_1"], random["params"]["conv1_1"])


def test_a_network_that_computes_something_else_with_the_same_weights_is_told():
    """The pool at the edge has no shape that could differ; dropout changes no evaluation."""
    ours = models.create("resnet18", pool1="overhanging", bn_group=4)
    found = warm_start.field_differences(ours, models.create("resnet18", dtype="bfloat16"), "x")
    assert found == ["the weights of x were trained in a network with pool1=padded"]
    same = models.create("alexnet", dropout=0.1)
    assert warm_start.field_differences(same, models.create("alexnet"), "x") == []
