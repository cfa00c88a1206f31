"""AlexNet's paper's four-layer network: counts by hand, and the same in torch.nn.functional."""

from typing import Any

import jax
import numpy as np
import pytest
import torch

from cnn_archs import models
from cnn_archs.models import summary
from cnn_archs.runtime.compiler_options import fast_compile_options

F = torch.nn.functional
# fmt: off
LAYERS = [
    # name, type, window, out (H, W, C), parameters, multiply-adds
    ("conv1", "conv",    "5x5/1", (32, 32, 32), 32 * (3 * 25 + 1),      32 * 32 * 32 * 3 * 25),
    ("lrn1",  "lrn",     "",      (32, 32, 32), 0,                      0),
    ("pool1", "maxpool", "3x3/2", (15, 15, 32), 0,                      0),
    ("conv2", "conv",    "5x5/1", (15, 15, 32), 32 * (32 * 25 + 1),     15 * 15 * 32 * 32 * 25),
    ("lrn2",  "lrn",     "",      (15, 15, 32), 0,                      0),
    ("pool2", "maxpool", "3x3/2", (7, 7, 32),   0,                      0),
    ("conv3", "conv",    "5x5/1", (7, 7, 64),   64 * (32 * 25 + 1),     7 * 7 * 64 * 32 * 25),
    ("pool3", "maxpool", "3x3/2", (3, 3, 64),   0,                      0),
    ("fc4",   "dense",   "",      (1, 1, 10),   10 * (3 * 3 * 64 + 1),  10 * 3 * 3 * 64),
]
# fmt: on


@pytest.mark.parametrize("lrn", [True, False])
def test_every_layer(lrn):
    found = summary.summarize(models.create("four_layers", lrn=lrn), (32, 32, 3))
    rows = [(r.name, r.type, r.window, r.out, r.params, r.macs) for r in found]
    assert rows == [row for row in LAYERS if lrn or row[1] != "lrn"]
    assert summary.totals(found)["params"] == 85_098


def in_torch(params, image, activation, lrn):
    """The network: image f64[N, 3, H, W] -> f64[N, 10]."""
    x = image
    for i in (1, 2, 3):
        kernel, bias = (torch.tensor(params[f"conv{i}"][k]) for k in ("kernel", "bias"))
        x = activation(F.conv2d(x, kernel.permute(3, 2, 0, 1), bias, padding=2))
        if lrn and i < 3:
            x = F.local_response_norm(x, 5, alpha=5e-4, beta=0.75, k=2.0)
        x = F.max_pool2d(x, 3, 2)
    kernel, bias = (torch.tensor(params["fc4"][k]) for k in ("kernel", "bias"))
    return torch.einsum("nchw,hwck->nk", x, kernel) + bias


@pytest.mark.parametrize("name, lrn", [("relu", True), ("tanh", False)])
def test_logits_are_those_of_the_same_network_in_torch(name, lrn):
    with jax.enable_x64(True):
        fields = dict(activation=name, lrn=lrn, width=0.25, dtype="float64")
        model = models.create("four_layers", **fields)
        variables = models.init(model, jax.random.key(0), (32, 32, 3))
        random = np.random.default_rng(0)
        params = jax.tree.map(lambda x: x + random.normal(0, 0.1, x.shape), variables["params"])
        image = random.normal(size=(2, 32, 32, 3))

        def forward(params, x):
            heads: Any = model.apply({"params": params}, x, train=False)
            return heads["logits"]

        run = jax.jit(forward)
        logits = run.lower(params, image).compile(compiler_options=fast_compile_options())(
            params, image
        )
        expected = in_torch(
            jax.tree.map(np.asarray, params),
            torch.tensor(image).permute(0, 3, 1, 2),
            getattr(torch, name),
            lrn,
        )
    np.testing.assert_allclose(logits, expected, rtol=1e-9)


def test_weights_are_glorots_and_biases_0():
    params = models.init(models.create("four_layers"), jax.random.key(0), (32, 32, 3))["params"]
    for name, fans in (("conv2", 25 * (32 + 32)), ("fc4", 576 + 10)):
        kernel = params[name]["kernel"]
        assert float(kernel.std()) == pytest.approx((2 / fans) ** 0.5, rel=0.03)
        assert not params[name]["bias"].any()
