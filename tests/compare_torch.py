"""Compare a network in inference with the same network written in torch, in float64.

The test of a network states the network once more in a few lines of `torch.nn.functional`, and
hands them to `assert_torch_agrees`.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import numpy as np
import torch
from flax.traverse_util import flatten_dict, unflatten_dict

from cnn_archs import models
from cnn_archs.models import Network

Weights = dict[str, torch.Tensor]  # "conv1/kernel", "block1/norm/mean", ...: in torch's layout


def assert_torch_agrees(
    model: Network,
    image_shape: tuple[int, int, int],
    reference: Callable[[torch.Tensor, Weights], torch.Tensor],
    *,
    pixels: tuple[float, float] = (-1.0, 1.0),
    rtol: float = 1e-9,
) -> None:
    """Assert that `reference` computes the logits of `model` from the same random weights.

    model: a network with dtype "float64". image_shape: (H, W, C). reference: maps two images
    f64[2, C, H, W] and the weights by name to logits. pixels: the range of the images' values.
    rtol: how far logits may differ, as a share of the largest.
    """
    random = np.random.default_rng(3)
    images = random.uniform(*pixels, (2, *image_shape))
    with jax.enable_x64(True):
        variables = random_variables(model, image_shape, random)
        apply = jax.jit(partial(model.apply, train=False))
        logits = apply(variables, images)["logits"]
    expected = reference(torch.tensor(images).movedim(3, 1), torch_weights(variables)).numpy()
    assert logits.dtype == expected.dtype == np.float64
    assert expected.shape == logits.shape and expected.std() > 0.1
    np.testing.assert_allclose(logits, expected, rtol=rtol, atol=rtol * np.abs(expected).max())


def random_variables(
    model: Network, image_shape: tuple[int, int, int], random: np.random.Generator
) -> dict[str, Any]:
    """Return random variables of `model` that keep the scale of what passes through its layers.

    Kernels are normal with deviation 1/sqrt(inputs), variances uniform between 0.5 and 2, and all
    else normal with deviation 1.
    """
    shapes = jax.eval_shape(lambda key: models.init(model, key, image_shape), jax.random.key(0))

    def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
        if name == "var":
            return random.uniform(0.5, 2.0, shape)
        return random.normal(0, np.prod(shape[:-1]) ** -0.5, shape)

    return {
        kind: unflatten_dict(
            {path: draw(path[-1], leaf.shape) for path, leaf in flatten_dict(tree).items()}
        )
        for kind, tree in shapes.items()
    }


def torch_weights(variables: Mapping[str, Any]) -> Weights:
    """Return parameters and batch statistics by name, each as torch has it.

    A kernel [H, W, I, O] becomes [O, I, H, W], and [I, O] becomes [O, I].
    """
    found = {}
    for tree in variables.values():
        for path, value in flatten_dict(tree, sep="/").items():
            tensor = torch.tensor(value)
            order = {4: (3, 2, 0, 1), 2: (1, 0)}.get(tensor.ndim, range(tensor.ndim))
            found[path] = tensor.permute(*order) if tensor.ndim else tensor
    return found
