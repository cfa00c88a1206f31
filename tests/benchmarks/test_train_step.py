"""The benchmark of the training step trains the same networks on both sides, and says how long."""

import importlib.util
import math
from typing import Any

import pytest
import torch
import torch_reference as reference
from running import ROOT, run

SPEC = importlib.util.spec_from_file_location(
    "torch_networks", ROOT / "benchmarks" / "torch_networks.py"
)
assert SPEC and SPEC.loader
networks = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(networks)

PARAMETERS = {"lenet5": 61_706, "resnet20": 269_722}


@pytest.mark.parametrize(
    "params", [{"lenet5": 61_706}, pytest.param(PARAMETERS, marks=pytest.mark.slow)]
)
def test_a_small_run_prints_one_json_object_with_the_ratio(params):
    networks = f"--networks={','.join(params)}"
    result = run("train_step", networks, "--batch=4", "--rounds=2", "--seconds=0.01")
    assert result["ratio"] == max(row["ratio"] for row in result["rows"])
    for row, (network, count) in zip(result["rows"], params.items(), strict=True):
        assert row["network"] == network and row["params"] == count
        assert row["ratio"] == pytest.approx(row["ours"] / row["torch"])
        assert row["cpu_ratio"] == pytest.approx(row["ours_cpu"] / row["torch_cpu"])
        assert math.isfinite(row["ratio"]) and row["ratio"] > 0
        assert row["first_loss_difference"] < 1e-4
        assert "torch_compile" not in row
    assert result["versions"]["torch"] == torch.__version__


@pytest.mark.slow
def test_other_groups_and_torch_compile_are_told_beside_it():
    small = ("--networks=resnet20:bn_group=2", "--batch=4", "--rounds=2", "--seconds=0.01")
    (row,) = run("train_step", *small, "--compile")["rows"]
    assert row["network"] == "resnet20:bn_group=2"
    assert row["torch_compile"] > 0 and row["ratio"] == pytest.approx(row["ours"] / row["torch"])


CIFAR = (3, 3, 3)  # blocks of 20 layers
REFERENCES: dict[str, tuple[Any, dict[str, Any]]] = {
    "resnet20": (reference.cifar_resnet, dict(blocks=CIFAR)),
    "plain20": (reference.cifar_resnet, dict(blocks=CIFAR, shortcut="none")),
    "resnet18": (reference.resnet, dict(blocks=(2, 2, 2, 2))),
    "vgg_a_bn_cifar": (reference.vgg, dict(column="A", norm=True)),
    "alexnet_cifar": (reference.alexnet, dict(stride=1, padding=1)),
    "googlenet_cifar": (reference.googlenet, dict(variant="cifar")),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_torchs_networks_compute_what_the_reference_does(name):
    form, options = REFERENCES[name]
    torch.manual_seed(0)
    net = networks.NETWORKS[name]().double()
    weights = dict(net.named_parameters())
    for module in net.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    side = 64 if name == "resnet18" else 32
    images = torch.randn(2, 3, side, side, dtype=torch.float64)
    expected, _ = form(weights, images, train=True, **options)
    found = net(images)
    assert found.keys() == expected.keys()
    for head, logits in expected.items():
        torch.testing.assert_close(found[head], logits, rtol=1e-8, atol=1e-10)
