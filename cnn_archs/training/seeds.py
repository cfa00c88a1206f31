"""The choice to train the seeds of a run by one vmapped program, or in turn."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class SeedAxis:
    """The form of the training states of a run's seeds.

    vmapped: one tree, whose leaves have a leading axis of all seeds, is stepped by one vmapped
    program. Otherwise each seed has a tree of its own, without that axis, and they are stepped in
    turn. Arguments named `trees` are lists in this form; those named `per_seed` have one tree per
    seed.
    """

    vmapped: bool

    @property
    def ndim(self) -> int:
        """The number of seed axes of a tree: 1 or 0."""
        return int(self.vmapped)

    def map(self, step: Callable[..., Any], in_axes: Any = 0) -> Callable[..., Any]:
        """Turn a function of one seed into a function of one tree in this form.

        in_axes: 0 for each argument that differs between seeds, None for the others.
        """
        return jax.vmap(step, in_axes=in_axes) if self.vmapped else step

    def stack(self, per_seed: Sequence[Any]) -> list[Any]:
        """Return the trees of all seeds in this form."""
        return [stack_trees(per_seed)] if self.vmapped else list(per_seed)

    def unstack(self, trees: Sequence[Any]) -> list[Any]:
        """Return one tree per seed; the inverse of `stack`."""
        if not self.vmapped:
            return list(trees)
        (tree,) = trees
        count = len(jax.tree.leaves(tree)[0])
        return [jax.tree.map(lambda x, i=i: x[i], tree) for i in range(count)]

    def take(self, trees: Sequence[Any], seeds: slice) -> Any:
        """Return a copy of the trees of some seeds as one tree with a leading seed axis."""
        if self.vmapped:
            return jax.tree.map(lambda x: x[seeds].copy(), trees[0])
        return stack_trees(trees[seeds])

    def groups(self, seeds: tuple[int, ...]) -> list[tuple[int, ...]]:
        """Return the seeds of each tree."""
        return [seeds] if self.vmapped else [(seed,) for seed in seeds]

    def join_indices(self, per_seed: Sequence[np.ndarray]) -> np.ndarray:
        """Join the example indices, [..., batch], of the seeds of one tree.

        Returns [..., seeds, batch], or [..., batch] if seeds are trained in turn.
        """
        return np.stack(per_seed, axis=-2) if self.vmapped else per_seed[0]


def fastest_axis(*, in_memory: bool, devices: int, platform: str) -> SeedAxis:
    """Return the faster form on `devices` devices for images in memory or streamed.

    Seeds are vmapped on a single accelerator only. On a CPU vmap is slower; over several devices
    XLA does not split the grouped convolutions that the kernels of several seeds become; and
    streamed images differ between seeds.
    """
    return SeedAxis(vmapped=in_memory and devices == 1 and platform != "cpu")


def stack_trees(trees: Sequence[Any]) -> Any:
    """Stack the leaves of equal trees along a new leading axis; numpy leaves stay numpy."""

    def stack(*leaves: Any) -> Any:
        on_host = all(isinstance(leaf, np.ndarray | np.generic) for leaf in leaves)
        return np.stack(leaves) if on_host else jnp.stack(leaves)

    return jax.tree.map(stack, *trees)
