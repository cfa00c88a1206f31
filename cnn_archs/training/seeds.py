"""Whether the seeds of a run are trained by one vmapped program, or in turn."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class SeedAxis:
    """The form in which the seeds of a run are held, and stepped.

    vmapped: one tree, with a leading axis of all seeds, is held for all of them, and one program
    steps it. Otherwise a tree is held for each seed, without that axis, and they are stepped in
    turn. Lists named `held` have the trees in this form; lists named `each` have one for each seed.
    """

    vmapped: bool

    @property
    def ndim(self) -> int:
        """How many axes of seeds the held trees have."""
        return int(self.vmapped)

    def map(self, step: Callable[..., Any], in_axes: Any = 0) -> Callable[..., Any]:
        """Make a function of one seed into a function of what is held.

        in_axes: 0 for each argument that seeds have of their own, None for the others.
        """
        return jax.vmap(step, in_axes=in_axes) if self.vmapped else step

    def stack(self, each: Sequence[Any]) -> list[Any]:
        """Bring the trees of each seed into the form in which they are held."""
        return [stacked(each)] if self.vmapped else list(each)

    def unstack(self, held: Sequence[Any]) -> list[Any]:
        """Return the tree of each seed; the inverse of `stack`."""
        if not self.vmapped:
            return list(held)
        (tree,) = held
        count = len(jax.tree.leaves(tree)[0])
        return [jax.tree.map(lambda x, i=i: x[i], tree) for i in range(count)]

    def share(self, held: Sequence[Any], seeds: slice) -> Any:
        """Return the trees of some seeds as one with a leading axis, whatever the form is."""
        if self.vmapped:
            return jax.tree.map(lambda x: x[seeds], held[0])
        return stacked(held[seeds])

    def groups(self, seeds: tuple[int, ...]) -> list[tuple[int, ...]]:
        """Return the seeds of each tree that is held."""
        return [seeds] if self.vmapped else [(seed,) for seed in seeds]

    def index(self, each: Sequence[np.ndarray]) -> np.ndarray:
        """Join what a program takes of each seed of its group, [..., batch].

        Returns [..., seeds, batch], or [..., batch] where seeds are trained in turn.
        """
        return np.stack(each, axis=-2) if self.vmapped else each[0]


IN_TURN = SeedAxis(vmapped=False)


def fastest(*, in_memory: bool, devices: int, platform: str) -> SeedAxis:
    """Return the faster form for images that are in memory or streamed, on so many devices.

    Seeds are vmapped on one accelerator alone. On a CPU that is slower; over several devices XLA
    does not split the grouped convolutions that the kernels of several seeds become; and each seed
    has a stream of images of its own.
    """
    return SeedAxis(vmapped=in_memory and devices == 1 and platform != "cpu")


def stacked(trees: Sequence[Any]) -> Any:
    """Stack the leaves of equal trees along a new leading axis: numpy's stay numpy's."""

    def stack(*leaves: Any) -> Any:
        on_host = all(isinstance(leaf, np.ndarray | np.generic) for leaf in leaves)
        return np.stack(leaves) if on_host else jnp.stack(leaves)

    return jax.tree.map(stack, *trees)
