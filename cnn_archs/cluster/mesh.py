"""The devices of a run as a mesh: jit and NamedSharding do the rest."""

import jax
from jax.sharding import AxisType, Mesh

from cnn_archs.errors import ConfigError


def data_parallel() -> Mesh:
    """All devices along "data", one along "model"."""
    # Auto: the shardings inside a step are XLA's to choose, from those of its arguments.
    auto = (AxisType.Auto, AxisType.Auto)
    return jax.make_mesh((jax.device_count(), 1), ("data", "model"), axis_types=auto)


def check_batch(mesh: Mesh, batch_size: int) -> None:
    """ConfigError where `batch_size` images do not split evenly over the mesh's "data"."""
    devices = mesh.shape["data"]
    if batch_size % devices:
        below = batch_size // devices * devices
        raise ConfigError(
            f"data.batch_size={batch_size} does not split evenly over {devices} devices; "
            f"use {f'{below} or ' if below else ''}{below + devices}"
        )
