"""ResNets for CIFAR-10 of any depth: counted by hand from section 4.2, and called by name."""

import pytest

from cnn_archs import config, models
from cnn_archs.errors import ConfigError
from cnn_archs.models import summary


def basic(n):
    """Count the parameters of 6n + 2 layers with shortcuts of option A, or without any."""
    first = 3 * 3 * 3 * 16 + 2 * 16  # a kernel, and a scale and a bias of batch normalization
    stages = 0
    for before, width in ((16, 16), (16, 32), (32, 64)):
        stages += 9 * before * width + (2 * n - 1) * 9 * width * width + 2 * n * 2 * width
    return first + stages + 64 * 10 + 10


def bottleneck(n, *, preactivation):
    """Count the parameters of 9n + 2 layers with projections where the number of maps changes."""
    total, before = 3 * 3 * 3 * 16, 16
    for width in (16, 32, 64):
        for _ in range(n):
            total += before * width + 9 * width * width + width * 4 * width
            norms = (before, width, width) if preactivation else (width, width, 4 * width)
            total += 2 * sum(norms)
            if before != 4 * width:
                total += before * 4 * width + (0 if preactivation else 2 * 4 * width)
            before = 4 * width
    return total + 2 * (256 if preactivation else 16) + 256 * 10 + 10


@pytest.mark.parametrize(
    "argument, name, layers, params",
    [
        ("8", "resnet8", 8, basic(1)),
        ("plain14", "plain14", 14, basic(2)),
        ("50", "resnet50_cifar", 50, basic(8)),
        ("29_bottleneck", "resnet29_bottleneck", 29, bottleneck(3, preactivation=False)),
        ("164_bottleneck_v2", "resnet164_bottleneck_v2", 164, bottleneck(18, preactivation=True)),
    ],
)
def test_a_depth_has_its_name_its_layers_and_its_parameters(argument, name, layers, params):
    stated = config.load_config(f"resnet_cifar10:{argument}", [])
    assert stated.model.name == name and name not in list(models.MODELS)
    model = models.create(**stated.model)
    rows = summary.summarize(model, (32, 32, 3))
    assert summary.totals(rows)["params"] == params
    # Projections are not counted as layers.
    weighted = [r for r in rows if r.type in ("conv", "dense") and "shortcut" not in r.name]
    assert len(weighted) == layers


def test_listed_networks_are_those_of_the_same_name():
    for name in ("resnet20", "resnet32_b", "plain44", "resnet56_v2", "resnet110_c"):
        listed = models.MODELS[name]
        made = models.resnet.cifar_by_name(name)
        assert made is not None and made() == listed()
    assert models.create("resnet164_bottleneck_v2") == models.create("resnet164_v2")


@pytest.mark.parametrize(
    "argument, said",
    [
        ("9", "no net has 9 layers; 8 and 14 are near"),
        ("2", "no net has 2 layers; 8 and 14 are near"),
        ("30_bottleneck", "no net has 30 layers; 29 and 38 are near"),
        ("20_bottleneck_b", "N_bottleneck and N_bottleneck_v2 with N = 9n + 2"),
        ("x", "N, plainN and N_v2 of any depth N = 6n + 2"),
    ],
)
def test_another_depth_is_refused(argument, said):
    with pytest.raises(ConfigError) as e:
        config.load_config(f"resnet_cifar10:{argument}", [])
    assert said in str(e.value)


@pytest.mark.parametrize(
    "name", ["resnet9", "resnet50_b", "resnet20_cifar", "plain20_v2", "resnet"]
)
def test_there_is_no_network_of_such_a_name(name):
    assert name not in models.MODELS and models.MODELS.get(name) is None
    with pytest.raises(KeyError):
        models.MODELS[name]
