"""The networks: pure flax modules, by name.

Every module takes `image: f32[N, H, W, C]` and a keyword `train`, and returns a dict of heads,
of which `"logits": f32[N, num_classes]` is the classifier. Its fields are its ablation knobs.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn

from cnn_archs.models.lenet import LeNet5, LeNet5_1998
from cnn_archs.models.mlp import CNN, MLP

MODELS: dict[str, Callable[..., nn.Module]] = {
    "mlp": MLP,
    "cnn": CNN,
    "lenet5": LeNet5,
    "lenet5_1998": LeNet5_1998,
}


def create(name: str, **fields: Any) -> nn.Module:
    """The module `name`. KeyError for an unknown name, TypeError for an unknown field."""
    return MODELS[name](**fields)


def fields(name: str) -> dict[str, Any]:
    """The fields of the module `name` with their default values."""
    constructor = MODELS[name]
    preset = constructor.keywords if isinstance(constructor, partial) else {}
    module = constructor.func if isinstance(constructor, partial) else constructor
    return {
        f.name: preset.get(f.name, f.default)
        for f in dataclasses.fields(module)  # type: ignore[arg-type]
        if f.name not in ("parent", "name")
    }
