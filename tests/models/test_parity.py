"""Every family against the same networks in torch, by another hand (`tests/torch_reference.py`).

Full depth, reduced width and image, float64: there a difference is a difference in what is
computed. In float32 torch differs from itself in float64 by more than a fifth in the gradients of
a deep plain net, so that no bound on those would mean anything. The weights cross through the
names and layouts of `conversion/`, which are tested with it.
"""

from functools import partial

import jax
import numpy as np
import pytest
import torch
import torch_reference as reference
from flax.traverse_util import flatten_dict, unflatten_dict

from cnn_archs import models
from cnn_archs.conversion import torch_layout
from cnn_archs.runtime.compiler_options import supported_options

# XLA's optimization is most of the time of these tests, and no part of what they ask.
QUICK = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_use_fusion_emitters": False,
}
NO_DROPOUT = dict(dropout=0.0, width=1 / 16)


def imagenet(name, **fields):
    """A case: name, fields, image, torch's form."""
    model = models.create(name)
    options = dict(blocks=model.blocks, bottleneck=model.kind == "bottleneck")
    options |= dict(shortcut=model.shortcut, preactivation=model.unit == "preactivation")
    options |= dict(stride_in=model.stride_in)
    if model.stem == "7x7":
        return name, dict(width=1 / 16, **fields), 64, partial(reference.resnet, **options)
    return name, dict(width=1 / 4, **fields), 16, partial(reference.cifar_resnet, **options)


def alexnet(name, side=99, **options):
    return name, NO_DROPOUT, side, partial(reference.alexnet, **options)


def vgg(name, column, **options):
    return name, NO_DROPOUT, 64, partial(reference.vgg, column=column, **options)


def googlenet(name, variant, side=128, **fields):
    fields = dict(aux_dropout=0.0, **NO_DROPOUT, **fields)
    return name, fields, side, partial(reference.googlenet, variant=variant)


deep = partial(imagenet, scan_blocks=True)  # the same units, compiled once
CASES = [
    alexnet("alexnet"),
    vgg("vgg_a_lrn", "A", lrn=True),
    vgg("vgg_c", "C"),
    googlenet("googlenet", "paper"),
    imagenet("resnet20"),
]
SLOW_CASES = [
    vgg("vgg_e_bn", "E", norm=True),
    imagenet("resnet18"),
    deep("resnet164_v2"),
    deep("resnet110"),
    imagenet("plain20"),
    googlenet("googlenet_cifar", "cifar", 32),
    vgg("vgg_b_5x5", "B_5x5"),
    alexnet("alexnet_owt", groups=1, lrn=False, padding=2),
    deep("resnet50_v2"),
    imagenet("resnet50"),
    googlenet("googlenet_torchvision", "torchvision"),
    alexnet("alexnet_one_tower", groups=1),
    alexnet("alexnet_cifar", 32, stride=1, padding=1),
    vgg("vgg_a", "A"),
    vgg("vgg_b", "B"),
    vgg("vgg_d", "D"),
    vgg("vgg_e", "E"),
    googlenet("googlenet", "naive", module="naive"),
    googlenet("googlenet_separable", "separable"),
    googlenet("googlenet_bn", "bn"),
    imagenet("resnet18_c"),
    imagenet("resnet34_a"),
    imagenet("plain34"),
    deep("resnet50_v1_5"),
    deep("resnet101"),
    deep("resnet152"),
    imagenet("resnet18_v2"),
    deep("resnet200_v2"),
    imagenet("resnet20_b"),
    imagenet("resnet20_c"),
    deep("plain56"),
    deep("resnet110_v2"),
    deep("resnet1202"),
    deep("resnet1001_v2"),
]


def variables_of(model, image, seed=0):
    """{collection: {...}} in float64: everything random, the variances positive."""
    shapes = models.shapes(model, image).variables
    random = np.random.default_rng(seed)

    def value(path, leaf):
        if path[-1] == "kernel":
            fan_in = np.prod(leaf.shape[-4:-1] if len(leaf.shape) > 3 else leaf.shape[-2:-1])
            return random.normal(0, fan_in**-0.5, leaf.shape)
        if path[-1] in ("scale", "var"):
            return random.uniform(0.5, 1.5, leaf.shape)
        return random.normal(0, 0.1, leaf.shape)

    flat = {path: value(path, leaf) for path, leaf in flatten_dict(shapes).items()}
    return {"params": {}, "batch_stats": {}} | unflatten_dict(flat)


def error(found, expected):
    """Relative, of the whole tensor."""
    size = np.linalg.norm(expected)
    return np.linalg.norm(np.asarray(found) - expected) / (size if size > 1e-9 else 1.0)


@pytest.fixture(
    scope="module",
    params=[*CASES, *(pytest.param(c, marks=pytest.mark.slow) for c in SLOW_CASES)],
    ids=[c[0] for c in (*CASES, *SLOW_CASES)],
)
def case(request):
    """Model, image, images, variables, the same for torch, its form of the network."""
    name, fields, side, form = request.param
    model = models.create(name, dtype="float64", num_classes=7, **fields)
    image = (side, side, 3)
    images = np.random.default_rng(1).normal(size=(3, *image))
    with jax.enable_x64(True):
        variables = variables_of(model, image)
        state = torch_layout.to_state_dict(model, image, variables, 0)
    weights = {name: torch.tensor(value) for name, value in state.items()}
    return model, image, images, variables, weights, form


def test_inference_computes_what_torch_computes(case):
    model, image, images, variables, weights, form = case
    apply = partial(model.apply, train=False)
    with jax.enable_x64(True):
        heads = jax.jit(apply, compiler_options=supported_options(QUICK))(variables, images)
    with torch.no_grad():
        expected, _ = form(weights, torch.tensor(images).movedim(3, 1), train=False)
    assert set(heads) == set(expected) == {"logits"}
    assert heads["logits"].dtype == np.float64
    assert error(heads["logits"], expected["logits"].numpy()) < 1e-6


def test_training_computes_what_torch_computes(case):
    """All heads, the batch statistics, and the gradients of all parameters."""
    model, image, images, variables, weights, form = case
    random = np.random.default_rng(2)

    def total(params):
        v = {"params": params, "batch_stats": variables["batch_stats"]}
        heads, updates = model.apply(v, images, train=True, mutable=["batch_stats"])
        return sum((heads[h] * mix[h]).sum() for h in heads), (heads, updates)

    leaves = {n: w.clone().requires_grad_(w.is_floating_point()) for n, w in weights.items()}
    expected, statistics = form(leaves, torch.tensor(images).movedim(3, 1), train=True)
    mix = {h: random.normal(size=tuple(v.shape)) for h, v in expected.items()}
    sum((v * torch.tensor(mix[h])).sum() for h, v in expected.items()).backward()
    with jax.enable_x64(True):
        gradient = jax.jit(jax.grad(total, has_aux=True), compiler_options=supported_options(QUICK))
        grads, (heads, updates) = gradient(variables["params"])
        after = {"params": grads, "batch_stats": updates.get("batch_stats", {})}
        found = torch_layout.to_state_dict(model, image, after, 0)

    assert set(heads) == set(expected)
    for head in heads:
        assert error(heads[head], expected[head].detach().numpy()) < 1e-6, head
    for name, value in found.items():
        if name.endswith(torch_layout.COUNTER):
            continue
        if "running_" in name:
            norm, _, which = name.rpartition(".running_")
            old = weights[name].numpy()
            batch = statistics[norm][which == "var"].numpy()
            assert error(value, 0.9 * old + 0.1 * batch) < 1e-6, name
        else:
            assert error(value, leaves[name].grad.numpy()) < 1e-6, name
