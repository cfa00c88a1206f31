"""LeNet-1, LeNet-4 and the fully connected networks of LeCun et al. 1998, section III.C.

Counts by arithmetic from the sentences of the papers; logits and gradients against torch, float64.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from cnn_archs import models
from cnn_archs.claims.checks import CHECKS
from cnn_archs.models import lenet_ancestors, summary
from cnn_archs.optim import gauss_newton, losses

Case = tuple[str, dict[str, Any], tuple[int, int, int]]  # network, its fields, image
LENET1: Case = ("lenet1", {}, (28, 28, 1))
LENET4: Case = ("lenet4", {}, (32, 32, 1))
DENSE: Case = ("mlp_1998", {"hidden": (11, 7)}, (6, 5, 1))
CASES = pytest.mark.parametrize("name, fields, image", [LENET1, LENET4, DENSE])
RANDOM = np.random.default_rng(0)


def shapes_of(model, image):
    return models.shapes(model, image).variables["params"]


def draw(model, image):
    """Draw weights that keep the signals near 1."""
    return jax.tree.map(
        lambda leaf: np.float32(RANDOM.uniform(-0.4, 0.4, leaf.shape)), shapes_of(model, image)
    )


def squash(a):
    return 1.7159 * torch.tanh(2 / 3 * a)


def convolve(x, p):
    return F.conv2d(x, p["kernel"].permute(3, 2, 0, 1), p["bias"])


def by_table(x, p, table):
    """Sum the connections of a table one at a time."""
    maps = [bias.expand(len(x), x.shape[2] - 4, x.shape[3] - 4) for bias in p["bias"]]
    pairs = [(i, o) for i, row in enumerate(table) for o, c in enumerate(row) if c == "X"]
    for k, (i, o) in enumerate(pairs):
        maps[o] = maps[o] + F.conv2d(x[:, i : i + 1], p["kernel"][None, None, :, :, k])[:, 0]
    return torch.stack(maps, 1)


def subsample(x, p):
    ours = p["coefficient"][None, :, None, None] * (4 * F.avg_pool2d(x, 2))
    return ours + p["bias"][None, :, None, None]


def torch_logits(name, p, image):
    x = torch.tensor(image, dtype=torch.float64).permute(0, 3, 1, 2)
    if name == "mlp_1998":
        x = x.reshape(len(x), -1)
        for layer in sorted(p):
            x = squash(x @ p[layer]["kernel"] + p[layer]["bias"])
        return x
    table = lenet_ancestors.LENET1_TABLE if name == "lenet1" else lenet_ancestors.LENET4_TABLE
    x = squash(convolve(x, p["C1"]))
    if name == "lenet4":  # a pair of S2 maps for each C1 map
        x = torch.stack([x, x], 2).flatten(1, 2)
    x = squash(subsample(x, p["S2"]))
    x = squash(by_table(x, p["C3"], table))
    x = squash(subsample(x, p["S4"]))
    if name == "lenet1":
        return squash(convolve(x, p["OUT"])).flatten(1)
    x = squash(convolve(x, p["C5"])).flatten(1)
    return squash(x @ p["OUT"]["kernel"] + p["OUT"]["bias"])


@CASES
def test_logits_and_gradients_are_torchs(name, fields, image):
    model = models.create(name, **fields)
    params = draw(model, image)
    batch = RANDOM.uniform(-0.1, 1.175, (3, *image))
    labels = np.array([0, 9, 4])
    p = jax.tree.map(lambda w: torch.tensor(w, dtype=torch.float64, requires_grad=True), params)
    expected = torch_logits(name, p, batch)
    targets = 2.0 * F.one_hot(torch.tensor(labels), 10) - 1.0
    (0.5 * (expected - targets).square().sum(1)).mean().backward()

    def energy(params, batch):
        heads: Any = model.apply({"params": params}, batch, train=True)
        loss = losses.create("squared_error")(heads["logits"], jnp.asarray(labels))
        return loss.mean(), heads["logits"]

    with jax.enable_x64(True):
        wide = jax.tree.map(lambda w: jnp.asarray(w, jnp.float64), params)
        step = jax.jit(jax.value_and_grad(energy, has_aux=True))
        (_, logits), gradients = step(wide, jnp.asarray(batch))
    np.testing.assert_allclose(logits, expected.detach().numpy(), rtol=1e-6, atol=1e-7)
    for (path, ours), theirs in zip(
        jax.tree_util.tree_leaves_with_path(gradients), jax.tree.leaves(p), strict=True
    ):
        theirs = theirs.grad.numpy()
        where = jax.tree_util.keystr(path)
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6, err_msg=where)


def test_lenet1_has_the_counts_of_1990():
    """LeCun et al. 1990 print 2,578 independent parameters and 98,442 connections."""
    found = summary.totals(summary.summarize(models.create("lenet1"), (28, 28, 1)))
    assert found["params"] == 4 * 26 + 4 * 2 + (20 * 25 + 12) + 12 * 2 + 10 * 193 == 2_578
    assert CHECKS["connections"](model="lenet1", image=[28, 28, 1]) == 98_442


def test_lenet4_has_about_260000_connections():
    c1, s2, c3, s4 = 784 * 4 * 26, 196 * 8 * 5, 100 * (48 * 25 + 16), 25 * 16 * 5
    counted = CHECKS["connections"](model="lenet4", image=[32, 32, 1])
    assert counted == c1 + s2 + c3 + s4 + 120 * 401 + 10 * 121 == 262_306


@pytest.mark.parametrize(
    "table, maps, connections",
    [(lenet_ancestors.LENET1_TABLE, (4, 12), 20), (lenet_ancestors.LENET4_TABLE, (8, 16), 48)],
)
def test_a_table_uses_its_maps_evenly(table, maps, connections):
    mask = np.array([[c == "X" for c in row] for row in table])
    assert mask.shape == maps and mask.sum() == connections
    assert len(set(mask.sum(1))) == 1  # each input map is used as often as the others
    assert mask.any(0).all()


@pytest.mark.parametrize("name, fields, image", [LENET1, LENET4])
def test_a_lenet_takes_its_size_only(name, fields, image):
    model = models.create(name, **fields)
    with pytest.raises(ValueError, match="takes images of .*x.*x1, not of 30x30x1"):
        jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 30, 30, 1)), train=True))


def test_weights_start_uniform_in_2_4_over_fan_in():
    made = models.init(models.create("mlp_1998", hidden=(300,)), jax.random.key(0), (28, 28, 1))
    for layer, fan_in in (("fc1", 784), ("fc2", 300)):
        for leaf in jax.tree.leaves(made["params"][layer]):
            assert np.abs(leaf).max() <= 2.4 / fan_in + 1e-9
        assert np.abs(made["params"][layer]["kernel"]).max() > 2.3 / fan_in


@CASES
def test_appendix_c_has_the_curvature_of_all_weights(name, fields, image):
    model = models.create(name, **fields)
    diagonal = gauss_newton.gauss_newton_diagonal(model, losses.create("squared_error"))
    params = shapes_of(model, image)
    images = jax.ShapeDtypeStruct((2, *image), jnp.float32)
    h = jax.eval_shape(diagonal, params, images, jax.ShapeDtypeStruct((2,), jnp.int32))
    assert jax.tree.map(lambda x: x.shape, h) == jax.tree.map(lambda x: x.shape, params)


def test_the_curvature_of_the_last_layer_by_hand():
    """d2E/dx^2 is 1 at the outputs: h of a weight is the mean of (f'(a) x_j)^2."""
    model = models.create("mlp_1998", hidden=())
    params, x = draw(model, (2, 3, 1)), RANDOM.uniform(-1, 1, (4, 2, 3, 1))
    diagonal = gauss_newton.gauss_newton_diagonal(model, losses.create("squared_error"))
    h = diagonal(params, jnp.asarray(x, jnp.float32), jnp.array([0, 1, 2, 3]))["fc1"]["kernel"]
    flat = x.reshape(4, 6)
    a = flat @ params["fc1"]["kernel"] + params["fc1"]["bias"]
    slope = 1.7159 * 2 / 3 * (1 - np.tanh(2 / 3 * a) ** 2)
    expected = np.einsum("nj,ni->ji", flat**2, slope**2) / 4
    np.testing.assert_allclose(h, expected, rtol=1e-5)
