"""A step on several devices equals that on one, and communicates no more than it must."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_archs import cli, models
from cnn_archs.distributed import mesh as meshes
from cnn_archs.errors import ConfigError
from cnn_archs.training.placement import model_parallel_layers

STEPS = 4
SMALL = ("data.batch_size=64", "schedule.learning_rate=0.01", "model.num_classes=10")
# At higher rates, rounding errors grow tenfold in each step with batch norm over few images.
SLOWLY = "schedule.learning_rate=0.0001"
NETWORKS = {  # on the embedded digits, 32x32: narrow, with all their parts
    "alexnet": ("model.name=alexnet_cifar", "model.width=0.0625", "model.initializer=he"),
    "vgg": ("model.name=vgg_a_cifar", "model.width=0.0625", "model.initializer=he"),
    "vgg_bn": ("model.name=vgg_a_bn_cifar", "model.width=0.0625", SLOWLY),
    "resnet": ("model.name=resnet20", "model.width=0.25", SLOWLY),
    "googlenet": ("model.name=googlenet_cifar", "model.width=0.125"),
}


FAST = [  # what the tests that are not slow ask for: all in one process
    ("alexnet",),
    ("alexnet", "mesh.data=1"),
    ("alexnet", "mesh.model=2"),
    ("vgg_bn", "model.bn_group=-1"),
]


@pytest.fixture(scope="module")
def trained(simulated):
    """Return trained(network, *overrides), the output of trained.py on up to 8 devices."""

    @cache
    def process(*cases):
        order = [
            {
                "experiment": "lenet5_digits",
                "overrides": (*SMALL, *NETWORKS[network], *overrides),
                "steps": STEPS,
            }
            for network, *overrides in cases
        ]
        done = subprocess.run(
            [sys.executable, Path(__file__).with_name("trained.py"), json.dumps(order)],
            env=simulated(8),
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr[-2_000:]
        return dict(zip(cases, json.loads(done.stdout.splitlines()[-1]), strict=True))

    return lambda *case: process(*(FAST if case in FAST else [case]))[case]


def of_both(fast, *slow):
    return [fast, *(pytest.param(name, marks=pytest.mark.slow) for name in slow)]


# Data parallel.


@pytest.mark.parametrize("network", of_both("vgg_bn", "alexnet", "vgg", "resnet", "googlenet"))
def test_data_parallel_moves_the_gradient_once(network, trained):
    """All-reduces move the gradient, batch statistics and sums once; nothing is gathered."""
    found = trained(network)
    assert found["devices"] == 8
    assert found["collectives"].keys() == {"all-reduce"}
    moved = found["collectives"]["all-reduce"]
    assert max(moved) > 0.9 * found["gradient"]
    assert found["gradient"] <= sum(moved) < 1.1 * found["gradient"]


@pytest.mark.parametrize("network", of_both("vgg_bn", "alexnet", "vgg", "resnet", "googlenet"))
def test_losses_on_8_devices_are_those_of_one(network, trained):
    one = trained(network, "mesh.data=1")
    assert one["devices"] == 1 and not one["collectives"]
    np.testing.assert_allclose(trained(network)["losses"], one["losses"], rtol=1e-5)
    assert one["losses"][-1] != one["losses"][0]


# Batch statistics: over the batch (above), over each device's share, over groups of a size.


@pytest.mark.slow
@pytest.mark.parametrize(("group", "images"), [(-1, 8), (32, 32)])
def test_batch_statistics_of_groups_are_those_of_one_device(group, images, trained):
    """64 images on 8 devices are 8 per device, or 2 groups of 32, each over 4 devices."""
    found = trained("vgg_bn", f"model.bn_group={group}")
    one = trained("vgg_bn", f"model.bn_group={images}", "mesh.data=1")
    np.testing.assert_allclose(found["losses"], one["losses"], rtol=1e-5)


@pytest.mark.slow
def test_groups_are_not_the_whole_batch(trained):
    shares, whole = (trained("vgg_bn", *o)["losses"] for o in (["model.bn_group=-1"], []))
    assert abs(shares[0] / whole[0] - 1) > 1e-3


def test_shares_need_no_exchange_but_of_the_gradient(trained):
    """Statistics of the whole batch, in contrast, take an all-reduce in each layer."""
    moved = trained("vgg_bn", "model.bn_group=-1")["collectives"]
    assert moved.keys() == {"all-reduce"} and len(moved["all-reduce"]) <= 3


# Model parallel.


def test_alexnet_s_towers_live_on_two_devices(trained):
    found, one = trained("alexnet", "mesh.model=2"), trained("alexnet", "mesh.data=1")
    assert found["devices"] == 8
    np.testing.assert_allclose(found["losses"], one["losses"], rtol=1e-5)
    assert found["held"] < 0.6 * found["gradient"]  # each device holds half, except for fc8
    # As in 2012, the halves communicate where a layer sees all maps: conv3, its gradient, and fc6;
    # here also at the border of the response normalization.
    assert len(found["collectives"]["all-gather"]) <= 3


@pytest.mark.slow
@pytest.mark.parametrize("devices", [2, 4])
def test_vgg_s_dense_layers_are_split_column_then_row(devices, trained):
    found, one = trained("vgg", f"mesh.model={devices}"), trained("vgg", "mesh.data=1")
    np.testing.assert_allclose(found["losses"], one["losses"], rtol=1e-5)
    assert found["collectives"].keys() == {"all-reduce"}


def test_what_is_split_of_the_full_networks():
    """fc6 and fc7 have 102,764,544 + 16,781,312 parameters; each of 2 devices has half."""
    vgg = models.create("vgg_d")
    assert models.split(vgg, 2) == {"fc6": "outputs", "fc7": "inputs"}
    towers = {f"conv{i}": "outputs" for i in range(1, 6)}
    dense = {"fc6": "outputs", "fc7": "inputs"}
    assert models.split(models.create("alexnet"), 2) == towers | dense
    assert models.split(models.create("alexnet_one_tower"), 2) == dense
    assert models.split(models.create("alexnet"), 4) == dense


@pytest.mark.parametrize(
    ("name", "devices", "message"),
    [
        ("resnet20", 2, "mesh.model=2, model resnet20: none of its layers can be split"),
        ("vgg_d", 3, "the 4096 units of fc6 do not split evenly over 3 devices"),
    ],
)
def test_what_cannot_be_split_is_one_line(name, devices, message):
    mesh: Any = SimpleNamespace(shape={"data": 1, "model": devices})
    with pytest.raises(ConfigError, match=message):
        model_parallel_layers(models.create(name), name, mesh)


# The mesh itself.


def test_a_mesh_that_cannot_be_is_one_line(capsys, tmp_path):
    for flag, message in (
        ("mesh.data=3", "mesh.data=3 x mesh.model=1 are 3 devices, but there are 1"),
        ("mesh.model=2", "mesh.data=0 x mesh.model=2 are 0 devices, but there are 1"),
        ("mesh.model=0", "mesh.model=0: must be a whole number, from 1"),
        ("mesh.data=0", "mesh.data=0"),
    ):
        assert cli.main(["train", f"--config.{flag}", f"--workdir={tmp_path}/run"]) == 2
        said = capsys.readouterr().err
        assert message in said and said.count("\n") == 1


def test_shardings_are_by_layer_whatever_holds_its_arrays():
    """Parameters, velocities, and those of several seeds have the same shardings."""
    shape = jax.ShapeDtypeStruct
    layer = {"kernel": shape((3, 3, 4, 6), jnp.float32), "bias": shape((6,), jnp.float32)}
    tree = {"params": {"fc6": layer, "fc7": layer, "fc8": layer}, "trace": ({"fc6": layer},)}
    layers = {"fc6": "outputs", "fc7": "inputs"}
    found = meshes.tree_shardings(tree, meshes.make_mesh(), layers)
    specs = jax.tree.map(lambda s: tuple(s.spec), found)
    by_outputs = {"kernel": (None, None, None, "model"), "bias": ("model",)}
    assert specs["params"]["fc6"] == specs["trace"][0]["fc6"] == by_outputs
    assert specs["params"]["fc7"] == {"kernel": (None, None, "model", None), "bias": ()}
    assert specs["params"]["fc8"] == {"kernel": (), "bias": ()}
    seeds = jax.tree.map(lambda x: shape((5, *x.shape), x.dtype), tree)
    found = meshes.tree_shardings(seeds, meshes.make_mesh(), layers)["params"]["fc6"]
    assert tuple(found["bias"].spec) == (None, "model")


def test_bn_group_is_a_number_of_images_or_one_of_two_words(capsys, tmp_path):
    flags = ["--config=resnet_cifar10:20", "--config.model.bn_group=-2"]
    flags.append("--config.data.name=digits")
    assert cli.main(["train", *flags, f"--workdir={tmp_path}/run"]) == 2
    assert "bn_group=-2: must be a whole number, from -1" in capsys.readouterr().err
