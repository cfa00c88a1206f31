"""Inception-v3: printed facts, counts by hand, and the same network in torch.nn.functional.

Sources: Szegedy et al. 2015, table 1, section 4 and abstract; torchvision 0.28's `inception.py`
("num_params": 27161264, "_ops": 5.713, the smallest image 75x75).
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from cnn_archs import models
from cnn_archs.models import inception_v3, summary
from cnn_archs.models.inception_v3 import InceptionV3
from cnn_archs.runtime.compiler_options import supported_options

torch = pytest.importorskip("torch")
F = torch.nn.functional

IMAGE = (299, 299, 3)
SIZES = {  # table 1, "input size", is what the row above gives out; 256 and 2048 are torchvision's
    "Conv2d_1a_3x3": (149, 149, 32),
    "Conv2d_2a_3x3": (147, 147, 32),
    "Conv2d_2b_3x3": (147, 147, 64),
    "maxpool1": (73, 73, 64),
    "Conv2d_3b_1x1": (73, 73, 80),
    "Conv2d_4a_3x3": (71, 71, 192),
    "maxpool2": (35, 35, 192),
    "Mixed_5b": (35, 35, 256),
    "Mixed_5c": (35, 35, 288),
    "Mixed_5d": (35, 35, 288),
    "Mixed_6a": (17, 17, 768),
    "Mixed_6b": (17, 17, 768),
    "Mixed_6c": (17, 17, 768),
    "Mixed_6d": (17, 17, 768),
    "Mixed_6e": (17, 17, 768),
    "AuxLogits/pool": (5, 5, 768),
    "AuxLogits/conv0": (5, 5, 128),
    "AuxLogits/conv1": (1, 1, 768),
    "AuxLogits/fc": (1, 1, 1000),
    "Mixed_7a": (8, 8, 1280),
    "Mixed_7b": (8, 8, 2048),
    "Mixed_7c": (8, 8, 2048),
    "avgpool": (1, 1, 2048),
    "fc": (1, 1, 1000),
}


def shapes(model, image, train=True):
    """(heads, variables) as shapes; with `train`, the auxiliary classifier's too."""
    rngs = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    return jax.eval_shape(
        lambda: model.init_with_output(rngs, jnp.zeros((1, *image)), train=train),
    )


# --- Counts and sizes ----------------------------------------------------------------------------


def conv(area, inputs, maps):
    """Weights without biases, and the scale and shift of the batch normalization."""
    return area * inputs * maps + 2 * maps


def figure_5(c, pool):
    five, double = conv(1, c, 48) + conv(25, 48, 64), conv(1, c, 64) + conv(9, 64, 96)
    return conv(1, c, 64) + five + double + conv(9, 96, 96) + conv(1, c, pool)


def figure_6(n):
    """Six layers of 7 weights: two in one branch, four in the other; each ends with 192 maps."""
    once = conv(1, 768, n) + conv(7, n, n) + conv(7, n, 192)
    twice = conv(1, 768, n) + 3 * conv(7, n, n) + conv(7, n, 192)
    return once + twice + 2 * conv(1, 768, 192)


def figure_7(c):
    three = conv(1, c, 384) + 2 * conv(3, 384, 384)
    double = conv(1, c, 448) + conv(9, 448, 384) + 2 * conv(3, 384, 384)
    return conv(1, c, 320) + three + double + conv(1, c, 192)


def test_parameters_of_each_part():
    _, variables = shapes(InceptionV3(), IMAGE)
    parts = {
        name: sum(leaf.size for leaf in jax.tree.leaves(part))
        for name, part in variables["params"].items()
    }
    assert parts == {
        "Conv2d_1a_3x3": conv(9, 3, 32),
        "Conv2d_2a_3x3": conv(9, 32, 32),
        "Conv2d_2b_3x3": conv(9, 32, 64),
        "Conv2d_3b_1x1": conv(1, 64, 80),
        "Conv2d_4a_3x3": conv(9, 80, 192),
        "Mixed_5b": figure_5(192, 32),
        "Mixed_5c": figure_5(256, 64),
        "Mixed_5d": figure_5(288, 64),
        "Mixed_6a": conv(9, 288, 384) + conv(1, 288, 64) + conv(9, 64, 96) + conv(9, 96, 96),
        "Mixed_6b": figure_6(128),
        "Mixed_6c": figure_6(160),
        "Mixed_6d": figure_6(160),
        "Mixed_6e": figure_6(192),
        "AuxLogits": conv(1, 768, 128) + conv(25, 128, 768) + 769 * 1000,
        "Mixed_7a": 2 * conv(1, 768, 192)  # the first layers of both branches
        + conv(9, 192, 320)
        + 2 * conv(7, 192, 192)
        + conv(9, 192, 192),
        "Mixed_7b": figure_7(1280),
        "Mixed_7c": figure_7(2048),
        "fc": 2049 * 1000,
    }
    assert sum(parts.values()) == 27_161_264  # torchvision
    assert sum(parts.values()) - parts["AuxLogits"] == 23_834_568 < 25e6  # abstract


def test_multiply_adds_are_torchvisions_5_713_billion():
    once = summary.totals(summary.summarize(InceptionV3(), IMAGE))
    train = summary.totals(summary.summarize(InceptionV3(), IMAGE, train=True))
    assert (once["params"], once["macs"]) == (23_834_568, 5_713_216_096)
    head = 5 * 5 * 768 * 128 + 25 * 128 * 768 + 768 * 1000
    assert (train["params"], train["macs"]) == (27_161_264, 5_713_216_096 + head)


def test_sizes_of_table_1():
    rows = summary.summarize(InceptionV3(), IMAGE, train=True)
    assert {row.name: row.out for row in rows if row.name in SIZES} == SIZES
    assert all(row.receptive_field for row in rows)


# --- Fields --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_auxiliary_classifier_is_there_in_training_only():
    model = inception_v3.VARIANTS["inception_v3"](num_classes=7, width=0.125)
    logits = {"logits": (1, 7)}
    for network, train, expected in (
        (model, True, {**logits, "aux_6e": (1, 7)}),
        (model, False, logits),
        (model.clone(aux=False), True, logits),
    ):
        heads, variables = shapes(network, IMAGE, train)
        assert {name: head.shape for name, head in heads.items()} == expected
        assert ("AuxLogits" in variables["params"]) == ("aux_6e" in expected)
    _, variables = shapes(model, IMAGE, True)
    tested = jax.eval_shape(partial(models.tested, model), variables, jnp.zeros((1, *IMAGE)))
    assert {name: head.shape for name, head in tested.items()} == {**logits, "aux_6e": (1, 7)}


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields, train, least", [({}, True, 299), ({"aux": False}, True, 75), ({}, False, 75)]
)
def test_the_smallest_image_is_torchvisions(fields, train, least):
    """With one pixel less torchvision, too, has a window that is larger than its map."""
    model = InceptionV3(width=0.125, **fields)
    heads, _ = shapes(model, (least, least + 20, 3), train)
    assert heads["logits"].shape == (1, 1000)
    with pytest.raises(ValueError, match=f"{least}x{least}"):
        shapes(model, (least + 20, least - 1, 3), train)


def test_weights_start_as_normal_numbers_cut_at_two_deviations():
    found = {}

    def note(following, args, kwargs, context):
        if isinstance(context.module, nn.Conv | nn.Dense):
            found["/".join(context.module.path)] = context.module.kernel_init
        return following(*args, **kwargs)

    with nn.intercept_methods(note):
        _, variables = shapes(InceptionV3(width=0.125), IMAGE)
    kernels = [path for path in flatten_dict(variables["params"]) if path[-1] == "kernel"]
    assert found.keys() == {"/".join(path[:-1]) for path in kernels}

    small = {"AuxLogits/conv1/conv": 0.01, "AuxLogits/fc": 0.001}
    for name, initializer in found.items():
        assert initializer is inception_v3.INIT[small.get(name, 0.1)], name
    for deviation, initializer in inception_v3.INIT.items():
        unit = initializer(jax.random.key(3), (100_000,), "float32") / deviation
        assert 1.99 < jnp.abs(unit).max() < 2 + 1e-6
        assert unit.std() == pytest.approx(0.87963, rel=0.01)  # of N(0, 1) between -2 and 2


# --- The whole network in torch.nn.functional ----------------------------------------------------


class Reference:
    """The network of `weights`, by torchvision's names, in training or not; no dropout."""

    def __init__(self, weights, train):
        self.weights, self.train = weights, train
        self.stats = {}  # in training: (mean, biased variance) by batch norm

    def conv(self, x, name, stride=1, padding=0):
        y = F.conv2d(x, self.weights[f"{name}.conv.weight"], None, stride, padding)
        if self.train:
            mean, var = y.mean((0, 2, 3)), y.var((0, 2, 3), unbiased=False)
            self.stats[name] = mean.detach(), var.detach()
        else:
            mean, var = (self.weights[f"{name}.bn.running_{s}"] for s in ("mean", "var"))
        scale, shift = (self.weights[f"{name}.bn.{s}"] for s in ("weight", "bias"))
        mean, var, scale, shift = (p[:, None, None] for p in (mean, var, scale, shift))
        return F.relu((y - mean) / torch.sqrt(var + 1e-3) * scale + shift)

    def linear(self, x, name):
        return F.linear(
            x.mean((2, 3)), self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        )

    def __call__(self, x):
        x = self.conv(x, "Conv2d_1a_3x3", 2)
        x = self.conv(x, "Conv2d_2a_3x3")
        x = self.conv(x, "Conv2d_2b_3x3", 1, 1)
        x = self.conv(F.max_pool2d(x, 3, 2), "Conv2d_3b_1x1")
        x = F.max_pool2d(self.conv(x, "Conv2d_4a_3x3"), 3, 2)
        for letter in "bcd":
            x = self.of_35(x, f"Mixed_5{letter}.branch")
        x = self.to_17(x, "Mixed_6a.branch")
        for letter in "bcde":
            x = self.of_17(x, f"Mixed_6{letter}.branch")
        heads = {"aux_6e": self.auxiliary(x)} if self.train else {}
        x = self.to_8(x, "Mixed_7a.branch")
        for letter in "bc":
            x = self.of_8(x, f"Mixed_7{letter}.branch")
        return {"logits": self.linear(x, "fc"), **heads}

    def pooled(self, x, branch):
        return self.conv(F.avg_pool2d(x, 3, 1, 1), f"{branch}_pool")

    def of_35(self, x, branch):
        a = self.conv(x, f"{branch}1x1")
        b = self.conv(self.conv(x, f"{branch}5x5_1"), f"{branch}5x5_2", 1, 2)
        c = self.conv(self.conv(x, f"{branch}3x3dbl_1"), f"{branch}3x3dbl_2", 1, 1)
        c = self.conv(c, f"{branch}3x3dbl_3", 1, 1)
        return torch.cat((a, b, c, self.pooled(x, branch)), 1)

    def to_17(self, x, branch):
        a = self.conv(x, f"{branch}3x3", 2)
        b = self.conv(self.conv(x, f"{branch}3x3dbl_1"), f"{branch}3x3dbl_2", 1, 1)
        b = self.conv(b, f"{branch}3x3dbl_3", 2)
        return torch.cat((a, b, F.max_pool2d(x, 3, 2)), 1)

    def of_17(self, x, branch):
        wide, tall = (0, 3), (3, 0)  # of 1x7 and 7x1
        a = self.conv(x, f"{branch}1x1")
        b = self.conv(self.conv(x, f"{branch}7x7_1"), f"{branch}7x7_2", 1, wide)
        b = self.conv(b, f"{branch}7x7_3", 1, tall)
        c = self.conv(x, f"{branch}7x7dbl_1")
        for i, padding in enumerate((tall, wide, tall, wide), start=2):
            c = self.conv(c, f"{branch}7x7dbl_{i}", 1, padding)
        return torch.cat((a, b, c, self.pooled(x, branch)), 1)

    def to_8(self, x, branch):
        a = self.conv(self.conv(x, f"{branch}3x3_1"), f"{branch}3x3_2", 2)
        b = self.conv(self.conv(x, f"{branch}7x7x3_1"), f"{branch}7x7x3_2", 1, (0, 3))
        b = self.conv(self.conv(b, f"{branch}7x7x3_3", 1, (3, 0)), f"{branch}7x7x3_4", 2)
        return torch.cat((a, b, F.max_pool2d(x, 3, 2)), 1)

    def of_8(self, x, branch):
        a = self.conv(x, f"{branch}1x1")
        b = self.conv(x, f"{branch}3x3_1")
        b = [self.conv(b, f"{branch}3x3_2a", 1, (0, 1)), self.conv(b, f"{branch}3x3_2b", 1, (1, 0))]
        c = self.conv(self.conv(x, f"{branch}3x3dbl_1"), f"{branch}3x3dbl_2", 1, 1)
        c = [
            self.conv(c, f"{branch}3x3dbl_3a", 1, (0, 1)),
            self.conv(c, f"{branch}3x3dbl_3b", 1, (1, 0)),
        ]
        return torch.cat((a, *b, *c, self.pooled(x, branch)), 1)

    def auxiliary(self, x):
        x = self.conv(F.avg_pool2d(x, 5, 3), "AuxLogits.conv0")
        return self.linear(self.conv(x, "AuxLogits.conv1"), "AuxLogits.fc")


# Compiles in a fifth of the time and runs a second longer.
QUICK = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_use_fusion_emitters": False,
}
TORCH = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}


def torch_name(path):
    """params/Mixed_5b/branch1x1/norm/scale -> Mixed_5b.branch1x1.bn.weight."""
    *modules, leaf = path[1:]
    return ".".join(["bn" if m == "norm" else m for m in modules] + [TORCH.get(leaf, leaf)])


def transposed(kernel):
    """HWIO -> OIHW, IO -> OI."""
    return kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T


def draw(path, shape, rng):
    """Some values that keep the signals near 1, of which none is what it starts as."""
    if path[-1] == "kernel":
        return rng.normal(0, (2 / np.prod(shape[:-1])) ** 0.5, shape)
    return (
        rng.uniform(0.5, 1.5, shape) if path[-1] in ("scale", "var") else rng.normal(0, 0.3, shape)
    )


def case(train, image):
    """(model, its variables, torch's weights, images): float64, a sixteenth of the widths."""
    rng = np.random.default_rng(11)
    model = InceptionV3(num_classes=5, width=1 / 16, dropout=0.0)
    tree = flatten_dict(shapes(model, image, train)[1])
    drawn = {path: draw(path, leaf.shape, rng) for path, leaf in tree.items()}
    weights = {torch_name(p): torch.tensor(transposed(v)) for p, v in drawn.items()}
    images = rng.normal(size=(2, *image))
    return model.clone(dtype="float64"), unflatten_dict(drawn), weights, images


def assert_same(found, expected):
    """found: {name: array}, expected: {name: tensor}; relative to the norm of each."""
    assert found.keys() == expected.keys()
    for name in expected:
        a, b = np.asarray(found[name]), expected[name].detach().numpy()
        assert a.dtype == b.dtype == np.float64, name
        assert np.linalg.norm(a - b) < 1e-6 * np.linalg.norm(b), name


def test_inference_computes_what_torch_computes():
    model, variables, weights, images = case(False, (107, 131, 3))
    forward = jax.jit(
        lambda v, x: model.apply(v, x, train=False), compiler_options=supported_options(QUICK)
    )
    with jax.enable_x64(True):
        heads = forward(variables, images)
    assert_same(heads, Reference(weights, train=False)(torch.tensor(images).movedim(3, 1)))


@pytest.mark.slow
def test_training_computes_what_torch_computes():
    """299x347: on the auxiliary classifier's last maps, of 1x2, there is something to average."""
    model, variables, weights, images = case(True, (299, 347, 3))

    def loss_of(heads):
        return (heads["logits"][:, 1] + 0.4 * heads["aux_6e"][:, 2] ** 2).sum()

    def loss(params, images):
        v = {**variables, "params": params}
        heads, updates = model.apply(v, images, train=True, mutable=["batch_stats"])
        return loss_of(heads), (heads, updates["batch_stats"])

    train = jax.jit(jax.grad(loss, has_aux=True), compiler_options=supported_options(QUICK))
    with jax.enable_x64(True):
        gradients, (heads, running) = jax.device_get(train(variables["params"], images))

    reference = Reference({name: w.requires_grad_() for name, w in weights.items()}, train=True)
    expected = reference(torch.tensor(images).movedim(3, 1))
    loss_of(expected).backward()
    assert_same(heads, expected)
    assert_same(
        {torch_name(p): transposed(g) for p, g in flatten_dict({"params": gradients}).items()},
        {name: w.grad for name, w in weights.items() if w.grad is not None},
    )
    batch = jax.tree.map(lambda new, old: 10 * new - 9 * old, running, variables["batch_stats"])
    statistics = {
        f"{name}.bn.running_{key}": value
        for name, pair in reference.stats.items()
        for key, value in zip(("mean", "var"), pair, strict=True)
    }
    found = {torch_name(p): s for p, s in flatten_dict({"batch_stats": batch}).items()}
    assert_same(found, statistics)  # of the batch: running = 0.9 before + 0.1 batch
