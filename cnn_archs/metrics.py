"""Metrics as sums over examples, which can be added and are divided only once."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import flax.struct
import jax
import jax.numpy as jnp


class MetricSums(flax.struct.PyTreeNode):
    """Sums over examples: loss f32[], examples, top1 and top5 hits i32[].

    auxiliary: the top-1 hits of each auxiliary classifier, by name; {} if there is none.
    """

    examples: jax.Array
    loss: jax.Array
    top1: jax.Array
    top5: jax.Array
    auxiliary: Mapping[str, jax.Array] = flax.struct.field(default_factory=dict)

    @classmethod
    def zeros(cls) -> Self:
        """Return the sums over no examples."""
        zero = jnp.zeros((), jnp.int32)
        return cls(examples=zero, loss=jnp.zeros((), jnp.float32), top1=zero, top5=zero)

    @classmethod
    def from_logits(
        cls,
        logits: jax.Array,
        label: jax.Array,
        loss: jax.Array,
        mask: jax.Array,
        heads: Mapping[str, jax.Array] | None = None,
    ) -> Self:
        """Sum over the examples whose `mask` is True.

        logits f32[N, K], label i32[N], loss f32[N], mask bool[N]. heads: the logits of the
        auxiliary classifiers, by name. For ties see `top_k_hits`.
        """
        return cls(
            examples=mask.sum(dtype=jnp.int32),
            loss=jnp.where(mask, loss, 0.0).sum(),
            top1=top_k_hits(logits, label, mask, 1),
            top5=top_k_hits(logits, label, mask, 5),
            auxiliary={
                name: top_k_hits(head, label, mask, 1) for name, head in (heads or {}).items()
            },
        )

    def __add__(self, other: Self) -> Self:
        return jax.tree.map(jnp.add, self, other)

    def report(self) -> dict[str, float]:
        """Return the means as numbers on the host: loss, top1_error and top5_error, fractions of 1.

        `examples` is the number of examples. Each auxiliary classifier has its top-1 error, such as
        `aux_4a_error`.
        """
        counts = jax.device_get(self)
        n = int(counts.examples)
        return {
            "loss": float(counts.loss) / n,
            "top1_error": 1 - int(counts.top1) / n,
            "top5_error": 1 - int(counts.top5) / n,
            "examples": n,
            **{f"{name}_error": 1 - int(top1) / n for name, top1 in counts.auxiliary.items()},
        }


def top_k_hits(logits: jax.Array, label: jax.Array, mask: jax.Array, k: int) -> jax.Array:
    """Count the top-k hits among the examples whose `mask` is True: i32[].

    An example is a hit if fewer than k classes rank before the right class. A class ranks before
    another if its logit is larger, or if it is equal and its index is lower. A logit of the right
    class that is not finite is never a hit.
    """
    right = jnp.take_along_axis(logits, label[:, None], axis=-1)
    before = jnp.arange(logits.shape[-1])[None, :] < label[:, None]
    rank = ((logits > right) | ((logits == right) & before)).sum(-1)
    counted = mask & jnp.isfinite(right[:, 0])
    return (counted & (rank < k)).sum(dtype=jnp.int32)


def stack_by_seed(reports: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Turn one report per seed into one list per metric; `examples` stays a single number."""
    keys = ["top1_error", "top5_error", "loss"]
    keys += [key for key in reports[0] if key not in (*keys, "examples")]
    return {**{k: [r[k] for r in reports] for k in keys}, "examples": reports[0]["examples"]}
