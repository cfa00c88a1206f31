"""Device meshes, and the shardings of arrays over them.

A mesh has two axes. Batches are split along "data"; the layers that a network names
(`models.split`) are split along "model". jit partitions programs by these shardings.
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
    """Return a mesh of data x model devices; data = -1 uses all devices.

    Raises ConfigError if there are fewer devices, or if several processes would not use all.
    """
    available = jax.device_count()
    data = available // model if data == -1 else data
    used, processes = data * model, jax.process_count()
    if not 0 < used <= available or (processes > 1 and used != available):
        reason = f" in {processes} processes, which must all be used" if used < available else ""
        raise ConfigError(
            f"mesh.data={data} x mesh.model={model} are {used} devices, but there are "
            f"{available}{reason}"
        )
    # Auto lets XLA choose the shardings inside a step from those of its arguments.
    auto = (AxisType.Auto, AxisType.Auto)
    return jax.make_mesh(
        (data, model), ("data", "model"), axis_types=auto, devices=jax.devices()[:used]
    )


def own_mesh() -> Mesh:
    """Return a mesh of the devices of this process, along "data", for work that it does alone."""
    auto = (AxisType.Auto, AxisType.Auto)
    own = jax.local_devices()
    return jax.make_mesh((len(own), 1), ("data", "model"), axis_types=auto, devices=own)


def is_cpu(mesh: Mesh) -> bool:
    """Return whether the devices of `mesh` are CPUs."""
    return mesh.devices.flat[0].platform == "cpu"


def check_divisible(mesh: Mesh, images: int, key: str = "data.batch_size") -> None:
    """Raise ConfigError unless `images`, the value of `key`, split evenly over the axis "data"."""
    devices = mesh.shape["data"]
    if images % devices:
        below = images // devices * devices
        better = f"{below} or {below + devices}" if below else f"{devices}"
        raise ConfigError(
            f"{key}={images} does not split evenly over {devices} devices; use {better}, or fewer "
            f"devices, --config.mesh.data={math.gcd(images, devices)}"
        )


def replicated(mesh: Mesh) -> NamedSharding:
    """Return the sharding of an array that is replicated on all devices."""
    return NamedSharding(mesh, P())


def batch_sharded(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Return the sharding of a batch whose images are along `axis`: split over "data"."""
    return NamedSharding(mesh, P(*[None] * axis, "data"))


def local_rows(mesh: Mesh, batch_size: int) -> np.ndarray:
    """Return the rows of a batch that the devices of this process hold, i64[R], ascending."""
    slices = batch_sharded(mesh).addressable_devices_indices_map((batch_size,)).values()
    return np.unique([np.arange(batch_size)[rows] for rows in slices if rows is not None])


def place(tree: Any, sharding: Any, length: int = 0) -> Any:
    """Put the host arrays of `tree` on the devices.

    sharding: one for all arrays, or a tree with one for each. Each process passes the whole arrays;
    with `length`, the size of their first axis, it passes only its `local_rows`.
    """

    def one(array: Any, sharding: NamedSharding) -> jax.Array:
        if sharding.is_fully_addressable:
            return jax.device_put(array, sharding)
        array = np.asarray(array)
        if not length:
            return jax.make_array_from_callback(array.shape, sharding, lambda i: array[i])
        rows = local_rows(concrete_mesh(sharding), length)

        def device_rows(index: tuple[slice, ...] | None) -> np.ndarray:
            assert index
            first, last, _ = index[0].indices(length)
            return array[np.searchsorted(rows, first) : np.searchsorted(rows, last)]

        return jax.make_array_from_callback((length, *array.shape[1:]), sharding, device_rows)

    if isinstance(sharding, NamedSharding):
        return jax.tree.map(lambda array: one(array, sharding), tree)
    return jax.tree.map(one, tree, sharding)


def concrete_mesh(sharding: NamedSharding) -> Mesh:
    """Return the mesh of a sharding, as a concrete mesh of devices."""
    assert isinstance(sharding.mesh, Mesh)
    return sharding.mesh


def tree_shardings(tree: Any, mesh: Mesh, layers: Mapping[str, str]) -> Any:
    """Return a tree of the shardings of `tree`: parameters, or a state with trees like them.

    layers: {name: "outputs" or "inputs"}, the layers that are split over "model", and the axis of
    their kernels that is split. Leading axes, such as one of seeds, are not split.
    """

    def one(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        names = [str(getattr(key, "key", getattr(key, "name", ""))) for key in path]
        by = layers.get(names[-2]) if len(names) > 1 else None
        before = [None] * (len(leaf.shape) - 1)
        if by == "outputs" and names[-1] in ("kernel", "bias"):
            return NamedSharding(mesh, P(*before, "model"))
        if by == "inputs" and names[-1] == "kernel":
            return NamedSharding(mesh, P(*before[1:], "model", None))
        return replicated(mesh)

    return jax.tree_util.tree_map_with_path(one, tree)


def to_host(tree: Any) -> Any:
    """Return the whole arrays of `tree` as numpy arrays. All processes must call this."""

    def one(array: Any) -> np.ndarray:
        on_host = not isinstance(array, jax.Array) or array.is_fully_addressable
        if not (on_host or array.is_fully_replicated):
            sharding = replicated(concrete_mesh(array.sharding))
            array = jax.jit(identity, out_shardings=sharding)(array)
        return np.asarray(array)

    return jax.tree.map(one, tree)


def identity(array: jax.Array) -> jax.Array:
    return array


def with_mesh(mesh: Mesh, step: Callable[..., Any]) -> Callable[..., Any]:
    """Return `step` run under `mesh`, which its layers get by `jax.sharding.get_abstract_mesh`."""

    def step_with_mesh(*arguments: Any) -> Any:
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return step(*arguments)

    return step_with_mesh
