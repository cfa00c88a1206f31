"""Weights files in the safetensors format, and runs that begin with given weights.

This is the only file that imports safetensors. `cnn_archs/conversion/` gives the tensors in a file
their names.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from cnn_archs.checkpoints import Checkpoints
from cnn_archs.errors import ConfigError, DataError, first_line
from cnn_archs.experiment import ExperimentSettings
from cnn_archs.run_dir import RunDir
from cnn_archs.runtime.environment import describe_environment
from cnn_archs.runtime.files import atomic_write
from cnn_archs.training import steps
from cnn_archs.training.trainer_checkpoint import items_of_state


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Return the tensors of a safetensors file by name. Raises DataError if it is damaged."""
    with safetensors_errors(path):
        return load_file(path)


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file. Raises DataError if it is damaged."""
    with safetensors_errors(path), safe_open(path, framework="np") as file:
        return file.metadata() or {}


@contextmanager
def safetensors_errors(path: Path) -> Iterator[None]:
    """Raise DataError about `path` in place of the errors of reading a safetensors file."""
    try:
        yield
    except OSError as e:
        raise DataError(f"cannot read {path}: {e.strerror or e}") from e
    # AttributeError: of a type that numpy has not, such as the 8-bit floats.
    except (
        SafetensorError,
        ValueError,
        LookupError,
        TypeError,
        OverflowError,
        AttributeError,
    ) as e:
        raise DataError(f"{path} is not a valid safetensors file: {first_line(e)}") from e


def write_safetensors(
    path: Path, tensors: dict[str, np.ndarray], metadata: Mapping[str, str]
) -> None:
    """Write `tensors` as a safetensors file atomically. Raises DataError if that fails."""
    try:
        with atomic_write(path) as temporary:
            save_file(tensors, temporary, metadata=dict(metadata))
    except SafetensorError as e:  # which is also raised when the disk is full
        raise DataError(f"cannot write {path}: {first_line(e)}") from e


def create_run(
    workdir: Path,
    settings: ExperimentSettings,
    variables: Mapping[str, Any],
    source: Path,
    imported: Mapping[str, Any],
) -> None:
    """Create a run of `settings` in `workdir`, with one seed, at step 0, and with `variables`.

    variables: {"params", "batch_stats"}. source: the file that they come from. imported: what the
    run's environment.json says of that file. Raises ConfigError if `workdir` holds a run already,
    and DataError if a weight is not finite.
    """
    if not all(np.isfinite(x).all() for x in jax.tree.leaves(variables)):
        raise DataError(f"{source} has weights that are not finite")
    rules = settings.recipe.make_rules(1.0)  # the steps per epoch do not change the first state
    workdir.mkdir(parents=True, exist_ok=True)
    folder = RunDir(workdir)
    with folder.lock():
        if folder.has_config() or folder.has_checkpoints():
            raise ConfigError(f"{workdir} holds a run already; use another --workdir")
        arrays = jax.tree.map(jnp.asarray, variables)
        state = steps.state_from_variables(arrays, rules.optimizer, rules.average)
        one_seed = jax.tree.map(lambda x: np.asarray(x)[None], state)
        notes = {"seconds": 0.0, "settled": True, "parts": []}
        Checkpoints(folder.checkpoints, keep=settings.intervals.keep).save(
            0, items_of_state(one_seed), notes
        )
        folder.write_environment({**describe_environment(), "imported": imported})
        folder.write_config(settings.config)
