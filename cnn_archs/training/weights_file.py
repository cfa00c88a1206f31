"""Weights files in the safetensors format, and runs that begin with given weights.

This is the only file that imports safetensors. What the tensors of a file are called is not known
here: see `cnn_archs/weights/`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from cnn_archs.checkpoints import Checkpoints
from cnn_archs.errors import ConfigError, DataError, first_line
from cnn_archs.experiment import ExperimentSettings
from cnn_archs.run_dir import RunDir
from cnn_archs.runtime.environment import describe_environment
from cnn_archs.runtime.files import atomic_write
from cnn_archs.training import steps
from cnn_archs.training.trainer import items_of


def read(path: Path) -> dict[str, np.ndarray]:
    """Return the tensors of a safetensors file by name. DataError for a damaged file."""
    try:
        return load_file(path)
    except (SafetensorError, ValueError, KeyError, TypeError, OverflowError) as e:
        raise DataError(f"{path} is not a valid safetensors file: {first_line(e)}") from e


def write(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """Write `tensors` as a safetensors file, as a whole or not at all. DataError on failure."""
    try:
        with atomic_write(path) as temporary:
            save_file(tensors, temporary, metadata={"format": "pt"})
    except SafetensorError as e:  # which is also raised when the disk is full
        raise DataError(f"cannot write {path}: {first_line(e)}") from e


def start_run(
    workdir: Path, outlined: ExperimentSettings, variables: Mapping[str, Any], source: Path
) -> None:
    """Make `workdir` a run of `outlined`, with one seed, that is at step 0 with `variables`.

    variables: {"params", "batch_stats"}. source: the file that they come from. ConfigError if
    `workdir` holds a run already.
    """
    made = outlined.recipe.rules(1.0)  # the first state does not depend on the steps per epoch
    workdir.mkdir(parents=True, exist_ok=True)
    folder = RunDir(workdir)
    with folder.lock():
        if folder.has_config() or folder.has_checkpoints():
            raise ConfigError(f"{workdir} holds a run already; use another --workdir")
        first = steps.begin(jax.tree.map(jnp.asarray, variables), made.optimizer, made.average)
        one_seed = jax.tree.map(lambda x: x[None], first)
        checkpoints = Checkpoints(folder.checkpoints, keep=outlined.intervals.keep)
        checkpoints.save(0, items_of(one_seed), {"seconds": 0.0, "settled": True, "parts": []})
        folder.write_environment({**describe_environment(), "imported": str(source)})
        folder.write_config(outlined.config)
