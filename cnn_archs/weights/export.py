"""The commands `export` and `import`: safetensors files in torch's names."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from cnn_archs import models
from cnn_archs.compiler_options import once
from cnn_archs.environment import environment
from cnn_archs.errors import ConfigError, DataError, first_line, user_errors
from cnn_archs.evaluate.run import load
from cnn_archs.experiment import Outline
from cnn_archs.files import atomic
from cnn_archs.run_dir import RunDir
from cnn_archs.train import steps
from cnn_archs.train.checkpoint import Checkpoints
from cnn_archs.train.run import items_of
from cnn_archs.weights.torch_layout import from_state_dict, tensors, to_state_dict


def export(output: Path, outlined: Outline, workdir: Path | None) -> dict[str, Any]:
    """Writes a network to the file `output`: that of the run in `workdir`, or one at random.

    It is that of the run's first seed; at random, the initial one of the first seed of `outlined`,
    which is the run's own outline where there is a run.
    """
    model, image_shape, step = outlined.model, outlined.image_shape, 0
    with user_errors(f"model {outlined.name}"):
        tensors(model, image_shape)  # before anything is allocated
    if workdir:
        _, variables, _, step = load(workdir)
    else:
        with user_errors(f"model {outlined.name}"):
            key, _ = jax.random.split(jax.random.key(outlined.seeds[0]))  # as a run begins
            init = partial(models.init, model, image_shape=image_shape)
            variables = jax.jit(init, compiler_options=once())(key)
    state = to_state_dict(model, image_shape, jax.device_get(variables), step)
    try:
        with atomic(output) as temporary:
            save_file(state, temporary, metadata={"format": "pt"})
    except SafetensorError as e:  # how it reports what the system refused
        raise DataError(f"cannot write {output}: {first_line(e)}") from e
    return {
        "file": str(output),
        "model": outlined.name,
        "step": step,
        "tensors": len(state),
        "parameters": sum(v.size for v in jax.tree.leaves(variables["params"])),
    }


def import_(path: Path, outlined: Outline, workdir: Path) -> dict[str, Any]:
    """Makes `workdir` a run of `outlined` at step 0, with the weights of the file `path`.

    It can be evaluated, and trained on. ConfigError if they are of another network or `workdir`
    holds a run, DataError for a damaged file.
    """
    if len(outlined.seeds) != 1:
        raise ConfigError(f"a file holds one network, not {len(outlined.seeds)}: --config.seeds=1")
    try:
        state = load_file(path)
    except (SafetensorError, ValueError, KeyError, TypeError, OverflowError) as e:
        raise DataError(f"{path} is not a sound safetensors file: {first_line(e)}") from e
    with user_errors(f"{path} does not fit model {outlined.name}"):
        variables = from_state_dict(outlined.model, outlined.image_shape, state)
    made = outlined.recipe.rules(1.0)  # no first state depends on how long an epoch is
    workdir.mkdir(parents=True, exist_ok=True)
    folder = RunDir(workdir)
    with folder.lock():
        if folder.has_config() or folder.has_checkpoints():
            raise ConfigError(f"{workdir} holds a run already; use another --workdir")
        first = steps.begin(jax.tree.map(jnp.asarray, variables), made.optimizer, made.average)
        one_seed = jax.tree.map(lambda x: x[None], first)
        checkpoints = Checkpoints(folder.checkpoints, keep=outlined.upkeep.keep)
        checkpoints.save(0, items_of(one_seed), {"seconds": 0.0, "settled": True, "parts": []})
        folder.write_environment({**environment(), "imported": str(path)})
        folder.write_config(outlined.config)
    return {
        "workdir": str(workdir),
        "model": outlined.name,
        "tensors": len(state),
        "parameters": sum(np.size(v) for v in jax.tree.leaves(variables["params"])),
    }
