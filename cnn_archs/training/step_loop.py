"""Compiles the training step, alone or as a loop of many steps in one call."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from cnn_archs.distributed import mesh as meshes
from cnn_archs.distributed.mesh import with_mesh
from cnn_archs.training.steps import TrainState


def gather_batch(train_step: Callable[..., TrainState]) -> Callable[..., TrainState]:
    """Return step(state, key, images, labels, index i32[B]), which gathers its batch by `index`.

    images, labels: all of a split, on the devices.
    """
    return lambda state, key, images, labels, index: train_step(
        state, key, images[index], labels[index]
    )


def repeat_steps(
    train_step: Callable[..., TrainState], *, packed: bool
) -> Callable[..., TrainState]:
    """Return step(state, key, images, labels, index[, count]), which makes many steps in a call.

    index: i32[N, ..., B], where index[i] is for step i of the call. Without `count` all N steps are
    made: the number is a constant of the program, so that an accelerator need not ask its host
    before each step whether to go on. count: i32[], the number of steps to make, at most N.
    packed: keep the batch statistics and the counts as one vector per dtype between steps, so that
    an accelerator updates all of them in one kernel each.
    """

    def steps(state, key, images, labels, index, count=None):
        pack, unpack = packing(state) if packed else (identity, identity)

        def body(i, held):
            return pack(train_step(unpack(held), key, images, labels, index[i]))

        number = len(index) if count is None else count
        return unpack(jax.lax.fori_loop(0, number, body, pack(state)))

    return steps


def identity(state: Any) -> Any:
    return state


def packing(states: Any) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """Return pack(states) -> (states without their small parts, vectors by dtype), and its inverse.

    states: a TrainState, or a tuple of them.
    """
    names = ("batch_stats", "window", "epoch")

    def each(states: Any) -> Sequence[TrainState]:
        return states if isinstance(states, tuple) else [states]

    def small(states: Any) -> list[Any]:
        return jax.tree.leaves([getattr(s, name) for s in each(states) for name in names])

    def pack(states: Any) -> Any:
        vectors = {
            name: jnp.concatenate([x.reshape(-1) for x in small(states) if x.dtype.name == name])
            for name in dtypes
        }
        rest = [s.replace(**dict.fromkeys(names)) for s in each(states)]
        return rest, vectors

    def unpack(held: Any) -> Any:
        rest, vectors = held
        used, found = dict.fromkeys(dtypes, 0), []
        for leaf in leaves:
            first = used[leaf.dtype.name]
            used[leaf.dtype.name] += leaf.size
            found.append(vectors[leaf.dtype.name][first : first + leaf.size].reshape(leaf.shape))
        parts = iter(jax.tree.unflatten(structure, found))
        whole = tuple(s.replace(**{name: next(parts) for name in names}) for s in rest)
        return whole if isinstance(states, tuple) else whole[0]

    leaves = small(states)
    structure = jax.tree.structure([getattr(s, name) for s in each(states) for name in names])
    dtypes = sorted({leaf.dtype.name for leaf in leaves})
    return pack, unpack


@dataclasses.dataclass(frozen=True)
class StepLoop:
    """The compiled forms of `repeat_steps`, for an index of N batches i32[N, ..., B].

    steps: N. part: makes any number of steps up to N, its last argument. whole: makes N steps; None
    on a CPU, which is its own host, so that one program is enough.
    """

    steps: int
    part: Callable[..., TrainState]
    whole: Callable[..., TrainState] | None

    def makes_all(self, count: int) -> bool:
        """Return whether a call of `count` steps is one of `whole`."""
        return self.whole is not None and count == self.steps

    def __call__(self, state: Any, key: Any, images: Any, labels: Any, index: Any, count: int):
        """Make the first `count` of the steps in `index`, and return the next state."""
        if self.whole and self.makes_all(count):
            return self.whole(state, key, images, labels, index)
        return self.part(state, key, images, labels, index, np.int32(count))


def jit_train_step(
    train_step: Callable[..., TrainState],
    mesh: Mesh,
    *,
    state_sharding: Any,
    in_memory: bool,
    seed_axes: int = 0,
    loop: int = 1,
    jit: Callable[..., Callable[..., TrainState]] = jax.jit,
) -> Callable[..., TrainState]:
    """Jit `train_step` over `mesh`: the batch is split along "data", and the state is donated.

    state_sharding: the sharding of each array of the state. in_memory: the step is one of
    `gather_batch`; otherwise batches are its arguments. seed_axes: number of axes before the batch
    in the index of a gathered step. loop: the most steps in one call; if it is more than 1, the
    result is a `StepLoop`. jit: `jax.jit`, or a function with the same arguments.
    """
    replicated = meshes.replicated(mesh)
    step = with_mesh(mesh, train_step)
    jit = partial(jit, donate_argnums=0, out_shardings=state_sharding)
    if not in_memory:
        batch = meshes.batch_sharded(mesh)
        return jit(step, in_shardings=(state_sharding, replicated, batch, batch))
    index = meshes.batch_sharded(mesh, axis=seed_axes + (loop > 1))
    in_shardings = (state_sharding, *[replicated] * 3, index)
    if loop == 1:
        return jit(step, in_shardings=in_shardings)
    step = repeat_steps(step, packed=not meshes.is_cpu(mesh))
    return StepLoop(
        steps=loop,
        part=jit(step, in_shardings=(*in_shardings, replicated)),
        whole=None if meshes.is_cpu(mesh) else jit(step, in_shardings=in_shardings),
    )
