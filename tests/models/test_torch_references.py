"""The PyTorch references have the parameters, sizes and multiply-adds that others print for them.

Totals from outside, by where they are printed:

    osmr       the tables of models of github.com/osmr/imgclsmob, of its own code and of
               github.com/Cadene/pretrained-models.pytorch. Its multiply-adds ("FLOPs/2") count
               batch norms, biases and pools too, which adds less than 1 % here.
    facenet    a summary of InceptionResnetV1 of github.com/timesler/facenet-pytorch.
    Keras      keras.io/api/applications.

Nothing is computed: parameters start on torch's "meta" device, and a batch has no images. Sizes are
not taken on that device, whose operations import torch's compiler, which takes seconds.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial

import pytest
import torch
from torch import nn
from torch_bn_inception import BnInception
from torch_inception_resnet import (
    InceptionResNetV1,
    InceptionResNetV2Paper,
    InceptionResNetV2Released,
)
from torch_inception_v4 import InceptionV4
from torch_nin import NetworkInNetwork

NETWORKS: dict[str, tuple[Callable[[], nn.Sequential], int]] = {  # and the side of an image
    "bn_inception": (partial(BnInception, eps=1e-3), 224),
    "inception_v4": (partial(InceptionV4, eps=1e-3), 299),
    "inception_v4_release": (partial(InceptionV4, eps=1e-3, kernels="release"), 299),
    "inception_resnet_v1": (partial(InceptionResNetV1, eps=1e-3), 299),
    "inception_resnet_v2_paper": (partial(InceptionResNetV2Paper, eps=1e-3), 299),
    "inception_resnet_v2_released": (partial(InceptionResNetV2Released, eps=1e-3), 299),
    "nin": (NetworkInNetwork, 32),
}


@dataclass
class Counts:
    """Hold what one pass through a network shows."""

    params: int
    scales: int  # batch norms' scales, of which there are as many as shifts and means
    macs: int = 0  # of convolutions and dense layers, without biases
    maps: dict[str, tuple[int, ...]] = field(default_factory=dict)  # by part: channels, H, W


@cache
def counts(name: str) -> Counts:
    """Send no images through the network `name`."""
    build, side = NETWORKS[name]
    with torch.device("meta"):
        network = build().eval()
    state = network.state_dict()
    empty = {key: torch.empty(value.shape, dtype=value.dtype) for key, value in state.items()}
    network.load_state_dict(empty, assign=True)
    norms = (m for m in network.modules() if isinstance(m, nn.BatchNorm2d))
    found = Counts(sum(p.numel() for p in network.parameters()), sum(m.num_features for m in norms))

    def count(module: nn.Module, _: object, output: torch.Tensor) -> None:
        assert isinstance(module, nn.Conv2d | nn.Linear)
        found.macs += module.weight.numel() * output.shape[2:].numel()

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    x = torch.empty(0, 3, side, side)
    with torch.no_grad():
        for part, layer in network.named_children():
            x = layer(x)
            found.maps[part] = tuple(x.shape[1:])
    return found


# --- Parameters ----------------------------------------------------------------------------------


def test_bn_inception_has_the_parameters_of_others():
    """Their 11,295,240 (osmr) count a bias of each convolution; batch norm makes it superfluous."""
    found = counts("bn_inception")
    assert found.params + found.scales == 11_295_240
    assert (found.params, found.scales) == (11_285_224, 10_016)


@pytest.mark.parametrize("kernels", ["", "_release"])
def test_inception_v4_has_the_parameters_of_others(kernels):
    assert counts(f"inception_v4{kernels}").params == 42_679_816  # osmr


def test_inception_resnet_v1_has_the_parameters_of_others():
    """Facenet's network has a sixth block C, and 512 normalized features instead of classes."""
    found = counts("inception_resnet_v1").params
    classes = 1792 * 1000 + 1000
    features = 1792 * 512 + 2 * 512
    branches = conv(1792, 192) + conv(1792, 192) + conv(192, 192, 3) + conv(192, 192, 3)
    assert found - classes + features + branches + 384 * 1792 + 1792 == 23_482_624
    assert found == 22_756_328


def test_inception_resnet_v2_has_the_parameters_of_others():
    found = counts("inception_resnet_v2_released")
    assert found.params == 55_843_464  # osmr
    assert found.params - found.scales == 55_813_192  # Keras: "trainable", no scales
    assert found.params - found.scales + 2 * found.scales == 55_873_736  # Keras: with statistics


def test_network_in_network_has_the_parameters_of_others():
    assert counts("nin").params == 966_986  # osmr


def conv(inputs: int, outputs: int, window: int = 1) -> int:
    """Parameters of a convolution without bias and of its batch norm."""
    return inputs * outputs * window + 2 * outputs


def test_inception_resnet_v2_of_the_paper_has_the_parameters_of_its_figures():
    """Nobody else prints this total: the sum goes by the figures, from left to right."""
    figure_3 = [
        *(conv(3, 32, 9), conv(32, 32, 9), conv(32, 64, 9), conv(64, 96, 9)),
        *(conv(160, 64), conv(64, 96, 9)),
        *(conv(160, 64), conv(64, 64, 7), conv(64, 64, 7), conv(64, 96, 9)),
        conv(192, 192, 9),
    ]
    figure_16 = [
        *(conv(384, 32), conv(384, 32), conv(32, 32, 9)),
        *(conv(384, 32), conv(32, 48, 9), conv(48, 64, 9)),
        128 * 384 + 384,
    ]
    figure_7 = [conv(384, 384, 9), conv(384, 256), conv(256, 256, 9), conv(256, 384, 9)]
    figure_17 = [
        *(conv(1152, 192), conv(1152, 128), conv(128, 160, 7), conv(160, 192, 7)),
        384 * 1152 + 1152,
    ]
    figure_18 = [
        *(conv(1152, 256), conv(256, 384, 9), conv(1152, 256), conv(256, 288, 9)),
        *(conv(1152, 256), conv(256, 288, 9), conv(288, 320, 9)),
    ]
    figure_19 = [
        *(conv(2144, 192), conv(2144, 192), conv(192, 224, 3), conv(224, 256, 3)),
        448 * 2144 + 2144,
    ]
    blocks = 5 * sum(figure_16) + 10 * sum(figure_17) + 5 * sum(figure_19)
    total = sum(figure_3) + sum(figure_7) + sum(figure_18) + blocks + 2144 * 1000 + 1000
    assert counts("inception_resnet_v2_paper").params == total == 32_433_928


# --- Sizes ---------------------------------------------------------------------------------------


def test_bn_inception_has_the_sizes_of_figure_5():
    """4c and 4d (576 printed) and 4e (1024 printed) differ: their branches have more."""
    assert counts("bn_inception").maps == {
        "conv1": (64, 112, 112),
        "pool1": (64, 56, 56),
        "conv2_reduce": (64, 56, 56),
        "conv2": (192, 56, 56),
        "pool2": (192, 28, 28),
        "inception_3a": (256, 28, 28),
        "inception_3b": (320, 28, 28),
        "inception_3c": (576, 14, 14),
        "inception_4a": (576, 14, 14),
        "inception_4b": (576, 14, 14),
        "inception_4c": (608, 14, 14),
        "inception_4d": (608, 14, 14),
        "inception_4e": (1056, 7, 7),
        "inception_5a": (1024, 7, 7),
        "inception_5b": (1024, 7, 7),
        "pool5": (1024,),
        "logits": (1000,),
    }


@pytest.mark.parametrize(
    "name, letter, maps",
    [
        ("inception_v4", "inception", (384, 1024, 1536)),  # figure 9
        ("inception_resnet_v1", "block", (256, 896, 1792)),  # figure 15
        ("inception_resnet_v2_paper", "block", (384, 1152, 2144)),  # sums of figures 3, 7 and 18
        ("inception_resnet_v2_released", "block", (320, 1088, 2080)),  # comments of TF-Slim
    ],
)
def test_the_networks_of_2016_have_the_sizes_of_their_schemas(name, letter, maps):
    a, b, c = zip(maps, (35, 17, 8), (35, 17, 8), strict=True)
    parts = {"stem": a, "a": a, "reduction_a": b, "b": b, "reduction_b": c, "c": c}
    found = counts(name).maps
    for part, size in parts.items():
        assert found[part if len(part) > 1 else f"{letter}_{part}"] == size, part
    last = 1536 if name == "inception_resnet_v2_released" else maps[-1]
    assert found["pool"] == found["dropout"] == (last,)


def test_network_in_network_halves_its_maps_twice():
    found = counts("nin").maps
    assert [found[f"mlpconv{i}"] for i in (1, 2, 3)] == [(96, 32, 32), (192, 16, 16), (10, 8, 8)]
    assert found["pool3"] == (10,)


# --- Multiply-adds -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, macs, printed",
    [
        ("bn_inception", 2_032_600_064, 2_048.06e6),  # osmr
        ("inception_v4", 12_253_974_624, 12_304.93e6),  # osmr
        ("inception_v4_release", 12_253_974_624, 12_304.93e6),  # osmr
        ("inception_resnet_v1", 6_206_361_696, None),
        ("inception_resnet_v2_paper", 9_257_953_632, None),
        ("inception_resnet_v2_released", 13_155_794_016, 13_188.64e6),  # osmr
        ("nin", 222_486_528, 222.97e6),  # osmr
    ],
)
def test_multiply_adds_of_convolutions_and_dense_layers(name, macs, printed):
    assert counts(name).macs == macs
    if printed is not None:
        assert 0.99 * printed < macs < printed
