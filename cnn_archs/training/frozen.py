"""Layers that do not train, as in a linear probe: a training step leaves them exactly as they are.

A frozen layer gets no update and no weight decay. Its batch normalization uses the running
statistics, as in evaluation, and does not change them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import flax.linen as nn
import jax
from flax.traverse_util import flatten_dict, unflatten_dict

from cnn_archs.layer_patterns import ModulePath
from cnn_archs.models.layers import BatchNorm

Frozen = frozenset[ModulePath]  # the modules whose variables do not change
NOTHING: Frozen = frozenset()


def without_gradient(frozen: Frozen, params: Any) -> Any:
    """Return `params`, with no gradient of those of frozen modules."""
    if not frozen:
        return params
    flat = flatten_dict(params)
    return unflatten_dict(
        {k: jax.lax.stop_gradient(v) if k[:-1] in frozen else v for k, v in flat.items()}
    )


def keep(frozen: Frozen, before: Any, after: Any) -> Any:
    """Return the tree `after` a step, with the variables of frozen modules as they were `before`.

    Both are params, or batch_stats, as nested dicts.
    """
    if not frozen:
        return after
    old = flatten_dict(before)
    return unflatten_dict(
        {k: old[k] if k[:-1] in frozen else v for k, v in flatten_dict(after).items()}
    )


@contextmanager
def use_running_statistics(frozen: Frozen) -> Iterator[None]:
    """Let the batch normalization of frozen modules work as in evaluation while this is open."""

    def call(method: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        is_norm = isinstance(context.module, BatchNorm) and context.method_name == "__call__"
        if is_norm and context.module.path in frozen:
            kwargs = {**kwargs, "train": False}
        return method(*args, **kwargs)

    if not frozen:
        yield
        return
    with nn.intercept_methods(call):
        yield
