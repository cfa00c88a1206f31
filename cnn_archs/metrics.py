"""Metrics are sums over examples: add them, divide once."""

from collections.abc import Sequence
from typing import Any, Self

import flax.struct
import jax
import jax.numpy as jnp


class Counts(flax.struct.PyTreeNode):
    """Sums over examples: loss f32[], examples, top1 and top5 hits i32[]."""

    examples: jax.Array
    loss: jax.Array
    top1: jax.Array
    top5: jax.Array

    @classmethod
    def zero(cls) -> Self:
        zero = jnp.zeros((), jnp.int32)
        return cls(examples=zero, loss=jnp.zeros((), jnp.float32), top1=zero, top5=zero)

    @classmethod
    def of(cls, logits: jax.Array, label: jax.Array, loss: jax.Array, mask: jax.Array) -> Self:
        """logits f32[N, K], label i32[N], loss f32[N], mask bool[N]: False does not count.

        An example is a top-k hit when fewer than k classes score above the right one or, as a
        tie, equal to it with a lower number. A score that is not a number is never a hit.
        """
        right = jnp.take_along_axis(logits, label[:, None], axis=-1)
        before = jnp.arange(logits.shape[-1])[None, :] < label[:, None]
        rank = ((logits > right) | ((logits == right) & before)).sum(-1)
        counted = mask & jnp.isfinite(right[:, 0])
        return cls(
            examples=mask.sum(dtype=jnp.int32),
            loss=jnp.where(mask, loss, 0.0).sum(),
            top1=(counted & (rank < 1)).sum(dtype=jnp.int32),
            top5=(counted & (rank < 5)).sum(dtype=jnp.int32),
        )

    def __add__(self, other: Self) -> Self:
        return jax.tree.map(jnp.add, self, other)

    def report(self) -> dict[str, float]:
        """Means on the host: loss, top1_error, top5_error as fractions; examples."""
        counts = jax.device_get(self)
        n = int(counts.examples)
        return {
            "loss": float(counts.loss) / n,
            "top1_error": 1 - int(counts.top1) / n,
            "top5_error": 1 - int(counts.top5) / n,
            "examples": n,
        }


def columns(reports: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Reports of seeds -> a list for each value; `examples` is the same for all."""
    keys = ("top1_error", "top5_error", "loss")
    return {**{k: [r[k] for r in reports] for k in keys}, "examples": reports[0]["examples"]}
