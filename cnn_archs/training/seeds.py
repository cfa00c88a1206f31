"""The choice to train the seeds of a run by one program, vmapped or written out, or in turn."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cnn_archs.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class SeedAxis:
    """The form of the training states of a run's seeds.

    form: if `vmapped`, one tree, whose leaves have a leading axis of all seeds, is stepped by one
    vmapped program. Otherwise each seed has a tree of its own, without that axis. If `unrolled`,
    one program steps all trees, with the step written out for each; if `in_turn`, one program steps
    one tree after the other. Arguments named `trees` are lists in this form; those named `per_seed`
    have one tree per seed.
    """

    form: str

    @property
    def vmapped(self) -> bool:
        """Return True if all seeds are in one tree."""
        return self.form == "vmapped"

    @property
    def unrolled(self) -> bool:
        """Return True if one call steps the trees of all seeds."""
        return self.form == "unrolled"

    @property
    def ndim(self) -> int:
        """The number of seed axes of a tree: 1 or 0."""
        return int(self.vmapped)

    @property
    def together(self) -> bool:
        """Return True if one call of the training step is for all seeds."""
        return self.form != "in_turn"

    def map(self, step: Callable[..., Any], in_axes: Any = 0) -> Callable[..., Any]:
        """Turn a function of one seed into a function of one tree in this form.

        in_axes: 0 for each argument that differs between seeds, None for the others.
        """
        return jax.vmap(step, in_axes=in_axes) if self.vmapped else step

    def map_training(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Turn a gathered training step of one seed into one for a call; see `calls`.

        The index of a call for all seeds is i32[seeds, batch].
        """
        if not self.unrolled:
            return self.map(step, in_axes=(0, 0, None, None, 0))

        def each(states, keys, images, labels, index):
            of_seeds = zip(states, keys, index, strict=True)
            return tuple(step(state, key, images, labels, own) for state, key, own in of_seeds)

        return each

    def calls(self, trees: Sequence[Any]) -> list[Any]:
        """Return what each call of the training step takes: one of `trees`, or all as a tuple."""
        return [tuple(trees)] if self.unrolled else list(trees)

    def of_calls(self, results: Sequence[Any]) -> list[Any]:
        """Return the trees that the calls returned; the inverse of `calls`."""
        return list(results[0]) if self.unrolled else list(results)

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
        """Return the seeds of each call of the training step."""
        return [seeds] if self.together else [(seed,) for seed in seeds]

    def join_indices(self, per_seed: Sequence[np.ndarray]) -> np.ndarray:
        """Join the example indices, [..., batch], of the seeds of one call.

        Returns [..., seeds, batch], or [..., batch] if seeds are trained in turn.
        """
        return np.stack(per_seed, axis=-2) if self.together else per_seed[0]


def choose_axis(form: str, *, in_memory: bool, devices: int, platform: str) -> SeedAxis:
    """Return the form of the seeds on `devices` devices, for images in memory or streamed.

    form: `vmapped`, `unrolled`, `in_turn`, or `default`, the one that should be fastest. A GPU
    takes the seeds unrolled: vmapped, the gradients of their kernels would be grouped convolutions
    with windows as large as the maps, for which it has nothing fast. A single TPU takes them
    vmapped; over several devices XLA does not split the grouped convolutions. A CPU takes them in
    turn, and so do streamed images, which differ between seeds. Raises ConfigError if streamed
    images are to be trained on in another form.
    """
    if form == "default":
        if in_memory and platform == "gpu":
            return SeedAxis("unrolled")
        return SeedAxis("vmapped" if in_memory and (platform, devices) == ("tpu", 1) else "in_turn")
    if not in_memory and form != "in_turn":
        raise ConfigError(
            f"seeds_form={form}: images that are streamed differ between seeds, which are trained "
            "in turn; use --config.seeds_form=in_turn"
        )
    return SeedAxis(form)


def stack_trees(trees: Sequence[Any]) -> Any:
    """Stack the leaves of equal trees along a new leading axis; numpy leaves stay numpy."""

    def stack(*leaves: Any) -> Any:
        on_host = all(isinstance(leaf, np.ndarray | np.generic) for leaf in leaves)
        return np.stack(leaves) if on_host else jnp.stack(leaves)

    return jax.tree.map(stack, *trees)
