"""Grad-CAM against torch's gradients, and the places of maps in the networks."""

from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cnn_archs import models
from cnn_archs.errors import ConfigError
from cnn_archs.evaluate.predict import Predictor
from cnn_archs.visualize.gradcam import find_place, make_gradcam


def predictor(name, image_shape, random, **fields):
    """Return a network with random weights in float64, whose images need no preprocessing."""
    model = models.create(name, **fields)
    shapes = models.shapes(model.clone(dtype="float32"), image_shape).variables
    variables = jax.tree.map(
        lambda leaf: random.normal(0, np.prod(leaf.shape[:-1] or (4,)) ** -0.5, leaf.shape), shapes
    )
    experiment: Any = SimpleNamespace(model=model, name=name, image_shape=image_shape)
    none: Any = None
    return Predictor(experiment, variables, lambda key, x: x, none, ())


def torch_maps(params, images):
    """Return AlexNet's maps after pool5 for one tower and no normalization: [N, C, h, w]."""
    x = torch.tensor(images).movedim(3, 1)
    strides, pools = {1: 4}, (1, 2, 5)
    for i in range(1, 6):
        kernel, bias = (torch.tensor(params[f"conv{i}"][k]) for k in ("kernel", "bias"))
        pad = 0 if i == 1 else kernel.shape[0] // 2
        x = F.relu(F.conv2d(x, kernel.permute(3, 2, 0, 1), bias, strides.get(i, 1), pad))
        x = F.max_pool2d(x, 3, 2) if i in pools else x
    return x


def torch_logits(params, maps):
    x = maps.permute(0, 2, 3, 1).flatten(1)
    for name in ("fc6", "fc7", "fc8"):
        kernel, bias = (torch.tensor(params[name][k]) for k in ("kernel", "bias"))
        x = x @ kernel.reshape(-1, kernel.shape[-1]) + bias
        x = F.relu(x) if name != "fc8" else x
    return x


def test_maps_are_weighted_by_the_mean_gradient_of_the_class_score():
    random = np.random.default_rng(6)  # maps speak for and against the class
    images = random.normal(size=(4, 99, 99, 3))
    fields: dict[str, Any] = dict(lrn=False, num_classes=5, hidden=(64, 48), dtype="float64")
    with jax.enable_x64(True):
        run = predictor(
            "alexnet_one_tower", (99, 99, 3), random, widths=(8, 12, 10, 14, 16), **fields
        )
        place = find_place(run, "")
        seen = make_gradcam(run, place)(images)
    assert (place.path, place.is_input, place.shape) == (("fc6",), True, (2, 2, 16))
    params = run.variables["params"]
    maps = torch_maps(params, images).requires_grad_()
    logits = torch_logits(params, maps)
    logits.max(1).values.sum().backward()
    assert maps.grad is not None
    weights = maps.grad.mean((2, 3), keepdim=True)
    want = F.relu((maps * weights).sum(1)).detach().numpy()
    assert want.max() > 1e-3 and (want == 0).any()
    np.testing.assert_allclose(seen.where, want, atol=1e-12)
    np.testing.assert_array_equal(seen.predicted, logits.argmax(1))
    probability = logits.softmax(1).max(1).values.detach().numpy()
    np.testing.assert_allclose(seen.probability, probability, rtol=1e-5)


def test_a_layer_that_is_named_is_looked_at():
    run = predictor("cnn", (28, 28, 1), np.random.default_rng(0))
    place = find_place(run, "conv2")
    assert (place.path, place.is_input, place.shape) == (("conv2",), False, (24, 24, 64))
    assert place.title == "the maps of conv2"


@pytest.mark.parametrize(
    "name, side, fields, path, is_input, shape",
    [
        ("resnet20", 32, {}, "pool", True, (8, 8, 64)),
        ("resnet20_v2", 32, {}, "pool", True, (8, 8, 64)),
        ("vgg_a", 64, dict(width=1 / 16), "fc6", True, (2, 2, 32)),
        ("lenet5", 28, {}, "C5", True, (5, 5, 16)),
    ],
)
def test_the_last_maps_are_those_before_one_value_is_made_of_each(
    name, side, fields, path, is_input, shape
):
    channels = 1 if name == "lenet5" else 3
    model = models.create(name, **fields)
    shapes = models.shapes(model, (side, side, channels)).variables
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    experiment: Any = SimpleNamespace(model=model, name=name, image_shape=(side, side, channels))
    none: Any = None
    run = Predictor(experiment, zeros, none, none, ())
    place = find_place(run, "")
    assert ("/".join(place.path), place.is_input, place.shape) == (path, is_input, shape)


def test_a_network_without_maps_and_an_unknown_layer_are_refused():
    run = predictor("mlp", (28, 28, 1), np.random.default_rng(0))
    with pytest.raises(ConfigError, match="--kind=gradcam: mlp has no layer with maps"):
        find_place(run, "")
    run = predictor("cnn", (28, 28, 1), np.random.default_rng(0))
    with pytest.raises(ConfigError, match="--layer=conv9: .*did you mean 'conv2'"):
        find_place(run, "conv9")
