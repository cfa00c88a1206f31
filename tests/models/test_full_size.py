"""The whole networks at their papers' size, in float32: what they compute in evaluation.

Running statistics are those after one training pass: 0.9 of the first ones, 0.1 of the batch's.
(With all of the batch's, torch differs from itself in float64 by 1.4e-3 in plain-56.) Against
tests/torch_reference.py, as in test_parity.py, where the gradients are too.
"""

from functools import partial

import jax
import numpy as np
import pytest
import torch
import torch_reference as reference

from cnn_archs import models
from cnn_archs.conversion import torch_layout
from cnn_archs.runtime.compiler_options import fast_compile_options


def residual(name):
    model = models.create(name)
    options = dict(blocks=model.blocks, bottleneck=model.kind == "bottleneck")
    options |= dict(shortcut=model.shortcut, preactivation=model.unit == "preactivation")
    form = reference.resnet if model.stem == "7x7" else reference.cifar_resnet
    return partial(form, **options, stride_in=model.stride_in)


NETWORKS = {
    "alexnet": (227, reference.alexnet),
    "alexnet_owt": (224, partial(reference.alexnet, groups=1, lrn=False, padding=2)),
    "vgg_d": (224, partial(reference.vgg, column="D")),
    "vgg_e_bn": (224, partial(reference.vgg, column="E", norm=True)),
    "googlenet": (224, partial(reference.googlenet, variant="paper")),
    "googlenet_torchvision": (224, partial(reference.googlenet, variant="torchvision")),
    **{n: (224, residual(n)) for n in ("resnet18", "resnet50", "resnet152_v1_5", "resnet200_v2")},
    **{n: (32, residual(n)) for n in ("resnet20", "plain56", "resnet110", "resnet164_v2")},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_evaluation_computes_what_torch_computes(name):
    side, form = NETWORKS[name]
    deep = {"scan_blocks": True} if "scan_blocks" in models.fields(name) else {}
    model, image = models.create(name, **deep), (side, side, 3)
    init = jax.jit(
        partial(models.init, model, image_shape=image), compiler_options=fast_compile_options()
    )
    state = torch_layout.to_state_dict(model, image, jax.device_get(init(jax.random.key(0))), 0)
    weights = {k: torch.tensor(v) for k, v in state.items()}
    x = np.random.default_rng(0).normal(size=(2, *image)).astype(np.float32)
    with torch.no_grad():
        _, statistics = form(weights, torch.tensor(x).movedim(3, 1), train=True)
        for norm, (mean, var) in statistics.items():
            weights[f"{norm}.running_mean"] = 0.1 * mean
            weights[f"{norm}.running_var"] = 0.9 + 0.1 * var
        expected = form(weights, torch.tensor(x).movedim(3, 1), train=False)[0]["logits"].numpy()
    variables = torch_layout.from_state_dict(
        model, image, {k: v.numpy() for k, v in weights.items()}
    )
    apply = jax.jit(partial(model.apply, train=False), compiler_options=fast_compile_options())
    found = np.asarray(apply(variables, x)["logits"])
    assert np.linalg.norm(found - expected) < 1e-4 * np.linalg.norm(expected)
