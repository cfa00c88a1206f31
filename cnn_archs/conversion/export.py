"""The command `export`: the weights of a network as a file for torch."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cnn_archs import models
from cnn_archs.conversion import file_network, option_a
from cnn_archs.conversion.torch_layout import tensors, to_state_dict
from cnn_archs.errors import DataError, config_errors
from cnn_archs.evaluate.load import load_run
from cnn_archs.experiment import ExperimentSettings
from cnn_archs.runtime.compiler_options import fast_compile_options
from cnn_archs.training import weights_file


def export(
    output: Path, settings: ExperimentSettings, workdir: Path | None, dtype: str = "float32"
) -> dict[str, Any]:
    """Write the weights of one network to the file `output`; return what the command prints.

    With `workdir` it is the first seed of that run, whose settings are `settings`. Without one, it
    is the network with which a run of `settings` would begin. dtype: that of the numbers in the
    file. Raises DataError if the file cannot be written, or a number is too large for `dtype`.
    """
    model, image_shape, step = settings.model, settings.image_shape, 0
    with config_errors(f"model {settings.name}"):
        tensors(model, image_shape)  # refuses a network before anything is allocated
    if workdir:
        saved = load_run(workdir)
        variables, step = saved.seed_variables(0), saved.step
    else:
        variables = initial_variables(settings)
    state = to_state_dict(model, image_shape, jax.device_get(variables), step)
    if option_a.has_akamasters_maps(model):
        state = option_a.to_akamasters(model, state)
    state = {name: as_dtype(name, array, dtype) for name, array in state.items()}
    metadata = file_network.metadata(settings.config["model"])
    weights_file.write_safetensors(output, state, metadata)
    return {
        "file": str(output),
        "model": settings.name,
        "step": step,
        "tensors": len(state),
        "parameters": sum(v.size for v in jax.tree.leaves(variables["params"])),
    }


def as_dtype(name: str, array: np.ndarray, dtype: str) -> np.ndarray:
    """Return the tensor `name` in `dtype`; whole numbers, which count batches, stay as they are.

    Raises DataError if a finite value becomes infinite.
    """
    if array.dtype.kind != "f":
        return array
    with np.errstate(over="ignore"):
        stored = array.astype(dtype)
    if not np.isfinite(stored).all():
        raise DataError(f"{name} has values that are too large for {dtype}, or not finite")
    return stored


def initial_variables(settings: ExperimentSettings) -> dict[str, Any]:
    """Return {"params", "batch_stats"} with which a run of the first seed of `settings` begins."""
    with config_errors(f"model {settings.name}"):
        key, _ = jax.random.split(jax.random.key(settings.seeds[0]))
        init = partial(models.init, settings.model, image_shape=settings.image_shape)
        return jax.jit(init, compiler_options=fast_compile_options())(key)
