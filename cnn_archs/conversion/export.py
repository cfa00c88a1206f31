"""The commands `export` and `import`: weights of a network as a file for torch, and back."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cnn_archs import models
from cnn_archs.conversion.torch_layout import from_state_dict, tensors, to_state_dict
from cnn_archs.errors import ConfigError, config_errors
from cnn_archs.evaluate.load import load_run
from cnn_archs.experiment import ExperimentSettings
from cnn_archs.runtime.compiler_options import fast_compile_options
from cnn_archs.training import weights_file


def export(output: Path, settings: ExperimentSettings, workdir: Path | None) -> dict[str, Any]:
    """Write the weights of one network to the file `output`; return what the command prints.

    With `workdir` it is the first seed of that run, whose settings are `settings`. Without one, it
    is the network with which a run of `settings` would begin. Raises ConfigError for a network
    without a torch counterpart, DataError if the file cannot be written.
    """
    model, image_shape, step = settings.model, settings.image_shape, 0
    with config_errors(f"model {settings.name}"):
        tensors(model, image_shape)  # refuses a network before anything is allocated
    if workdir:
        saved = load_run(workdir)
        variables, step = saved.seed_variables(0), saved.step
    else:
        with config_errors(f"model {settings.name}"):
            key, _ = jax.random.split(jax.random.key(settings.seeds[0]))  # as a run begins
            init = partial(models.init, model, image_shape=image_shape)
            variables = jax.jit(init, compiler_options=fast_compile_options())(key)
    state = to_state_dict(model, image_shape, jax.device_get(variables), step)
    weights_file.write_safetensors(output, state)
    return {
        "file": str(output),
        "model": settings.name,
        "step": step,
        "tensors": len(state),
        "parameters": sum(v.size for v in jax.tree.leaves(variables["params"])),
    }


def import_(path: Path, settings: ExperimentSettings, workdir: Path) -> dict[str, Any]:
    """Make `workdir` a run of `settings` at step 0 with the weights of the file `path`.

    The run can be evaluated and trained further. Returns what the command prints. Raises
    ConfigError if the weights belong to another network or `workdir` holds a run, DataError for a
    damaged file.
    """
    if len(settings.seeds) != 1:
        raise ConfigError(f"a file holds one network, not {len(settings.seeds)}: --config.seeds=1")
    state = weights_file.read_safetensors(path)
    with config_errors(f"{path} does not fit model {settings.name}"):
        variables = from_state_dict(settings.model, settings.image_shape, state)
    weights_file.create_run(workdir, settings, variables, source=path)
    return {
        "workdir": str(workdir),
        "model": settings.name,
        "tensors": len(state),
        "parameters": sum(np.size(v) for v in jax.tree.leaves(variables["params"])),
    }
