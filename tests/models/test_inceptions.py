"""The Inception networks after v3 and Network in Network, against torch modules by another hand.

Those (`torch_*.py` in this folder) were written from the papers without sight of this package, and
test_torch_references.py compares their totals with what others print. Here each row of a summary,
values and gradients are compared with them, in the order of the layers.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen
from flax.traverse_util import flatten_dict, unflatten_dict
from torch import nn
from torch_bn_inception import BnInception
from torch_inception_resnet import (
    InceptionResNetV1,
    InceptionResNetV2Paper,
    InceptionResNetV2Released,
)
from torch_inception_v4 import InceptionV4
from torch_nin import NetworkInNetwork

from cnn_archs import models
from cnn_archs.models import nin, summary
from cnn_archs.models.layers import INITIALIZERS
from cnn_archs.models.pooling import AvgPool
from cnn_archs.runtime.compiler_options import supported_options

NETWORKS: dict[str, tuple[Callable[..., nn.Module], int, int, int]] = {
    # torch's form, the side of an image, parameters, multiply-adds
    "inception_v2": (partial(BnInception, eps=1e-5), 224, 11_285_224, 2_032_600_064),
    "inception_v4": (partial(InceptionV4, eps=1e-3), 299, 42_679_816, 12_253_974_624),
    "inception_resnet_v1": (partial(InceptionResNetV1, eps=1e-3), 299, 22_756_328, 6_206_361_696),
    "inception_resnet_v2": (
        *(partial(InceptionResNetV2Released, eps=1e-3), 299),
        *(55_843_464, 13_155_794_016),
    ),
    "inception_resnet_v2_paper": (
        *(partial(InceptionResNetV2Paper, eps=1e-3), 299),
        *(32_433_928, 9_257_953_632),
    ),
    "nin_cifar10": (NetworkInNetwork, 32, 966_986, 222_486_528),
}


@cache
def rows(name, **fields):
    """Return the rows of all layers with weights, at the size of the paper's images."""
    side = NETWORKS[name][1]
    found = summary.summarize(models.create(name, **fields), (side, side, 3))
    return {r.name: r for r in found}


# --- Sizes and counts ----------------------------------------------------------------------------


class Row(NamedTuple):
    out: tuple[int, ...]
    params: int
    macs: int


def rows_of_torch(network, side):
    """Return the rows of the convolutions, with their norms, and of the dense layer, in order.

    A batch without images shows the shapes, and no parameter is filled in.
    """
    found: list[Row] = []
    state = network.state_dict()
    empty = {key: torch.empty(value.shape, dtype=value.dtype) for key, value in state.items()}
    network.load_state_dict(empty, assign=True)

    def count(module, _, out):
        params = sum(p.numel() for p in module.parameters())
        if isinstance(module, nn.BatchNorm2d):
            found[-1] = found[-1]._replace(params=found[-1].params + params)
            return
        maps, *size = out.shape[1:]
        height, width = size or (1, 1)
        found.append(Row((height, width, maps), params, module.weight.numel() * height * width))

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
            module.register_forward_hook(count)
    network(torch.empty(0, 3, side, side))
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_each_row_is_that_of_the_network_in_torch(name):
    build, side, params, macs = NETWORKS[name]
    found = [Row(r.out, r.params, r.macs) for r in rows(name).values() if r.params]
    with torch.device("meta"):
        network = build().eval()
    assert found == rows_of_torch(network, side)
    assert (sum(r.params for r in found), sum(r.macs for r in found)) == (params, macs)


def test_the_sizes_of_figure_5_of_bn_inception():
    """The printed sizes hold, except for 4c, 4d and 4e, whose branches add up to others."""
    sizes = {
        **{"conv1": (112, 112, 64), "pool1": (56, 56, 64), "conv2": (56, 56, 192)},
        **{"pool2": (28, 28, 192), "3a": (28, 28, 256), "3b": (28, 28, 320)},
        **{"3c": (14, 14, 576), "4a": (14, 14, 576), "4b": (14, 14, 576), "4c": (14, 14, 608)},
        **{"4d": (14, 14, 608), "4e": (7, 7, 1056), "5a": (7, 7, 1024), "5b": (7, 7, 1024)},
        **{"avgpool": (1, 1, 1024), "fc": (1, 1, 1000)},
    }
    found = rows("inception_v2")
    assert {name: found[name].out for name in sizes} == sizes


def test_the_separable_stem_of_bn_inception():
    """Eight maps of each channel, 7x7; a 1x1 of 64 with a scale and a shift."""
    found = rows("inception_v2", stem="separable")
    first = [found["conv1_depthwise"], found["conv1_pointwise"]]
    assert [r.params for r in first] == [24 * 49, 24 * 64 + 128]
    assert [r.out for r in first] == [(112, 112, 24), (112, 112, 64)]
    whole = sum(r.params for r in found.values())
    assert whole == 11_285_224 - (147 * 64 + 128) + 24 * 49 + 24 * 64 + 128 == 11_278_528


@pytest.mark.parametrize(
    "name, maps",
    [
        ("inception_v4", (384, 1024, 1536)),
        ("inception_resnet_v1", (256, 896, 1792)),
        ("inception_resnet_v2_paper", (384, 1152, 2144)),
        ("inception_resnet_v2", (320, 1088, 2080)),
    ],
)
def test_the_maps_of_figures_9_and_15(name, maps):
    found = rows(name)
    stem = {"inception_resnet_v1": "conv6", "inception_resnet_v2": "mixed"}.get(name, "stem3")
    assert found[stem].out == (35, 35, maps[0])
    for letter, side, width in zip("ABC", (35, 17, 8), maps, strict=True):
        count = models.create(name).blocks["ABC".index(letter)]
        kind = "" if name == "inception_v4" else "/linear"
        same = [found[f"{letter}{i}{kind}"].out for i in range(1, count + 1)]
        assert same == [(side, side, width)] * count
        assert f"{letter}{count + 1}{kind}" not in found
    assert [found[f"reduction_{x}"].out[2] for x in "AB"] == list(maps[1:])


STARTS = {  # fields, an image, the initializer of all weights
    "inception_v2": ({}, (107, 96, 3), INITIALIZERS["he"]),  # leads to 7 pixels before 3c
    "inception_resnet_v1": ({"blocks": (1, 1, 1)}, (75, 80, 3), INITIALIZERS["he"]),
    "nin_cifar10": ({}, (29, 32, 3), nin.INIT),
}


@pytest.mark.parametrize("name", STARTS)
def test_unusual_images_are_taken_and_weights_start_as_the_docstrings_say(name):
    """In BN-Inception a pool of stride 2 must give as many outputs as the convolutions beside it.
    75x75 is the smallest image of the networks of 2016: it leads to one pixel."""
    fields, image, initializer = STARTS[name]
    found = set()

    def note(following, args, kwargs, context):
        if isinstance(context.module, linen.Conv | linen.Dense):
            found.add(context.module.kernel_init)
        return following(*args, **kwargs)

    model = models.create(name, width=1 / 16, **fields)
    with linen.intercept_methods(note):
        heads = models.shapes(model, image).heads
    assert heads["logits"].shape == (1, model.num_classes) and found == {initializer}


def test_the_weights_of_network_in_network_have_a_deviation_of_0_05():
    assert nin.INIT(jax.random.key(0), (10_000,)).std() == pytest.approx(0.05, rel=0.03)


@pytest.mark.parametrize("name", ["inception_v4", "inception_resnet_v1"])
def test_too_small_an_image_is_refused_in_words(name):
    with pytest.raises(ValueError, match="75x75 or more, not"):
        models.shapes(models.create(name), (80, 74, 3))


def test_a_mean_without_the_padding_is_that_of_the_pixels_in_the_window():
    x = np.random.default_rng(0).normal(size=(2, 5, 7, 3))
    for window, stride, padding in ((3, 1, 1), (5, 3, 2)):
        pool = partial(AvgPool, window, stride, padding)
        for counted in (True, False):
            theirs = nn.AvgPool2d(window, stride, padding, count_include_pad=counted)
            expected = theirs(torch.tensor(x).movedim(3, 1)).movedim(1, 3).numpy()
            with jax.enable_x64(True):
                found = pool(count_padding=counted)(jnp.asarray(x))
            np.testing.assert_allclose(found, expected, rtol=1e-12)


# --- Values and gradients ------------------------------------------------------------------------

# XLA's optimization is most of the time of these tests, and no part of what they ask.
QUICK = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_use_fusion_emitters": False,
}
CLASSES = 5
NARROW = 16  # all widths of all tables are multiples of 16


def narrow(network):
    """Replace the parameters of `network` by random ones of a sixteenth of the widths, in place.

    The three colors of an image and the classes keep their number.
    """
    generator = torch.Generator().manual_seed(7)
    for module in network.modules():
        for name, old in [*module.named_parameters(recurse=False), *buffers(module)]:
            kept = (3, CLASSES)
            sizes = [n if i > 1 or n in kept else n // NARROW for i, n in enumerate(old.shape)]
            fan_in = np.prod(sizes[1:], dtype=int)
            drawn = torch.randn(sizes, dtype=torch.float64, generator=generator)
            if old.ndim > 1:
                drawn *= (2 / fan_in) ** 0.5
            elif name in ("running_var", "weight"):
                drawn = 0.5 + torch.rand(sizes, dtype=torch.float64, generator=generator)
            else:
                drawn *= 0.3
            setattr(module, name, nn.Parameter(drawn) if name in ("weight", "bias") else drawn)
    return network


def buffers(module):
    """Return the running mean and variance of a batch norm, with their names."""
    if not isinstance(module, nn.BatchNorm2d):
        return []
    return [("running_mean", module.running_mean), ("running_var", module.running_var)]


def as_variables(model, image, network, gradients=False):
    """Return the parameters of `network` as variables of `model`, layer by layer in order.

    gradients: return their gradients instead.
    """
    model = model.clone(dtype="float32")
    names = [r.name for r in summary.summarize(model, image) if r.params]
    ours: dict[tuple[str, ...], Any] = {}
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    norms = iter([m for m in network.modules() if isinstance(m, nn.BatchNorm2d)])
    paths = {p[:-1] for p in flatten_dict(models.shapes(model, image).variables)}

    def value(parameter):
        return (parameter.grad if gradients else parameter).detach().numpy()

    for name, layer in zip(names, layers, strict=True):
        path = ("params", *name.split("/"))
        inner = (*path, "conv") if (*path, "conv") in paths else path
        kernel = value(layer.weight)
        ours[*inner, "kernel"] = kernel.transpose(2, 3, 1, 0) if kernel.ndim == 4 else kernel.T
        if layer.bias is not None:
            ours[*inner, "bias"] = value(layer.bias)
        if inner != path:
            norm = next(norms)
            ours[*path, "norm", "scale"], ours[*path, "norm", "bias"] = map(
                value, (norm.weight, norm.bias)
            )
            if not gradients:
                stats = ("batch_stats", *path[1:], "norm")
                mean, var = norm.running_mean, norm.running_var
                assert mean is not None and var is not None
                ours[*stats, "mean"], ours[*stats, "var"] = mean.numpy(), var.numpy()
    assert next(norms, None) is None
    return unflatten_dict(ours)


def case(name, blocks, side):
    """Return (model, its variables, the same network in torch, images), narrow and in float64.

    blocks: how many modules A, B and C both keep of a network that has them; None for all.
    """
    fields: dict[str, Any] = dict(num_classes=CLASSES, width=1 / NARROW, dropout=0.0)
    with torch.device("meta"):
        network = NETWORKS[name][0](CLASSES)
    if blocks and "blocks" in models.fields(name):
        fields["blocks"] = blocks
        word = "inception" if name == "inception_v4" else "block"
        for letter, count in zip("abc", blocks, strict=True):  # the last one of all may differ
            setattr(network, f"{word}_{letter}", getattr(network, f"{word}_{letter}")[-count:])
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    model, image = models.create(name, **fields), (side, side, 3)
    images = np.random.default_rng(1).normal(size=(3, *image))
    variables = as_variables(model, image, narrow(network))
    return model.clone(dtype="float64"), variables, network, images


def error(found, expected):
    """Return the norm of the difference, over that of `expected` unless that is 0 up to rounding.

    A bias before a batch norm, as in the last module of the released network, has no gradient.
    """
    size = np.linalg.norm(expected)
    return np.linalg.norm(np.asarray(found) - expected) / (size if size > 1e-9 else 1.0)


def check_inference(name, blocks, side):
    model, variables, network, images = case(name, blocks, side)
    with torch.no_grad():
        expected = network.eval()(torch.tensor(images).movedim(3, 1)).numpy()
    forward = jax.jit(partial(model.apply, train=False), compiler_options=supported_options(QUICK))
    with jax.enable_x64(True):
        found = forward(variables, images)["logits"]
    assert found.dtype == np.float64 and error(found, expected) < 1e-6


def check_training(name, blocks, side):
    model, variables, network, images = case(name, blocks, side)
    image = images.shape[1:]
    mix = np.random.default_rng(2).normal(size=(len(images), CLASSES))

    def total(params):
        v = {**variables, "params": params}
        logits = model.apply(v, images, train=True, mutable=["batch_stats"])[0]["logits"]
        return (logits * mix).sum(), logits

    gradient = jax.jit(jax.grad(total, has_aux=True), compiler_options=supported_options(QUICK))
    with jax.enable_x64(True):
        found, logits = jax.device_get(gradient(variables["params"]))
    expected = network.train()(torch.tensor(images).movedim(3, 1))
    (expected * torch.tensor(mix)).sum().backward()
    assert error(logits, expected.detach().numpy()) < 1e-6
    theirs = flatten_dict(as_variables(model, image, network, gradients=True)["params"])
    ours = flatten_dict(found)
    assert ours.keys() == theirs.keys()
    assert max(error(ours[path], theirs[path]) for path in ours) < 1e-6


SIDES = {"nin_cifar10": 32, "inception_v2": 96}  # others: 107, so that the last maps are 2x2
FEW = (1, 1, 2)  # the released network treats its last module C differently


QUICKEST = [n if n == "nin_cifar10" else pytest.param(n, marks=pytest.mark.slow) for n in NETWORKS]


@pytest.mark.parametrize("name", QUICKEST)
def test_whole_networks_compute_what_torch_computes(name):
    check_inference(name, None, SIDES.get(name, 107))


@pytest.mark.parametrize("name", QUICKEST)
def test_training_computes_what_torch_computes(name):
    check_training(name, FEW, SIDES.get(name, 107))
