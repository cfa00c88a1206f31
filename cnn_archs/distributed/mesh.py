"""The devices of a run as a mesh, and what of an array each of them holds.

A mesh has two axes: batches are split along "data", and along "model" the layers that a network
names (`models.split`). jit and these shardings do the rest.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from cnn_archs.errors import ConfigError


def make_mesh(data: int = -1, model: int = 1) -> Mesh:
    """The mesh of data x model devices; data = -1: of all that there are.

    ConfigError where there are not so many, or where some process would have none of them.
    """
    there = jax.device_count()
    data = there // model if data == -1 else data
    used = data * model
    if not 0 < used <= there or (jax.process_count() > 1 and used != there):
        raise ConfigError(
            f"mesh.data={data} x mesh.model={model} are {used} devices, and there are {there}"
            + (f" in {jax.process_count()} processes, all to be used" if used < there else "")
        )
    # Auto: the shardings inside a step are XLA's to choose, from those of its arguments.
    auto = (AxisType.Auto, AxisType.Auto)
    return jax.make_mesh(
        (data, model), ("data", "model"), axis_types=auto, devices=jax.devices()[:used]
    )


def check_divisible(mesh: Mesh, images: int, key: str = "data.batch_size") -> None:
    """ConfigError where so many images, which `key` says, do not split evenly over "data"."""
    devices = mesh.shape["data"]
    if images % devices:
        below = images // devices * devices
        raise ConfigError(
            f"{key}={images} does not split evenly over {devices} devices; "
            f"use {f'{below} or ' if below else ''}{below + devices}, or fewer devices, "
            f"--config.mesh.data={math.gcd(images, devices)}"
        )


def replicated(mesh: Mesh) -> NamedSharding:
    """Of what every device has all of."""
    return NamedSharding(mesh, P())


def batch_sharded(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Of a batch, whose images are along `axis`."""
    return NamedSharding(mesh, P(*(None,) * axis, "data"))


def local_rows(mesh: Mesh, batch_size: int) -> np.ndarray:
    """i64[R]: those of a batch's rows, ascending, that the devices of this process hold."""
    held = batch_sharded(mesh).addressable_devices_indices_map((batch_size,)).values()
    return np.unique([np.arange(batch_size)[index] for index in held if index is not None])


def place(tree: Any, sharding: Any, length: int = 0) -> Any:
    """The host's arrays on the devices: a sharding for all of them, or a tree of one for each.

    Every process has the whole arrays; or with `length`, that of their first axis, those `rows`
    of them that it holds.
    """

    def one(array: Any, sharding: NamedSharding) -> jax.Array:
        if sharding.is_fully_addressable:
            return jax.device_put(array, sharding)
        array = np.asarray(array)
        if not length:
            return jax.make_array_from_callback(array.shape, sharding, lambda i: array[i])
        held = local_rows(concrete_mesh(sharding), length)

        def part(index: tuple[slice, ...] | None) -> np.ndarray:
            assert index
            first, last, _ = index[0].indices(length)
            return array[np.searchsorted(held, first) : np.searchsorted(held, last)]

        return jax.make_array_from_callback((length, *array.shape[1:]), sharding, part)

    if isinstance(sharding, NamedSharding):
        return jax.tree.map(lambda array: one(array, sharding), tree)
    return jax.tree.map(one, tree, sharding)


def concrete_mesh(sharding: NamedSharding) -> Mesh:
    """Its mesh, which is of real devices."""
    assert isinstance(sharding.mesh, Mesh)
    return sharding.mesh


def tree_shardings(tree: Any, mesh: Mesh, layers: Mapping[str, str]) -> Any:
    """For each array of `tree`, parameters or what is as large as they: how it is held.

    layers: {name: "outputs" or "inputs"}, by which a layer is split over "model". Axes before
    those of a kernel or a bias, like one of seeds, are not split.
    """

    def one(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        names = [str(getattr(key, "key", getattr(key, "name", ""))) for key in path]
        by = layers.get(names[-2]) if len(names) > 1 else None
        before = (None,) * (len(leaf.shape) - 1)
        if by == "outputs" and names[-1] in ("kernel", "bias"):
            return NamedSharding(mesh, P(*before, "model"))
        if by == "inputs" and names[-1] == "kernel":
            return NamedSharding(mesh, P(*before[1:], "model", None))
        return replicated(mesh)

    return jax.tree_util.tree_map_with_path(one, tree)


def to_host(tree: Any) -> Any:
    """The arrays of `tree` as numpy's, whole; every process must ask."""

    def one(array: Any) -> np.ndarray:
        there = not isinstance(array, jax.Array) or array.is_fully_addressable
        if not (there or array.is_fully_replicated):
            array = jax.jit(same, out_shardings=replicated(concrete_mesh(array.sharding)))(array)
        return np.asarray(array)

    return jax.tree.map(one, tree)


def same(array: jax.Array) -> jax.Array:
    return array


def with_mesh(mesh: Mesh, step: Callable[..., Any]) -> Callable[..., Any]:
    """`step`, in which layers can ask for the mesh (`jax.sharding.get_abstract_mesh`)."""

    def step_within(*arguments: Any) -> Any:
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return step(*arguments)

    return step_within
