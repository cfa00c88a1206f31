"""The commands `export` and `import`: safetensors files in torch's names."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from cnn_archs import models
from cnn_archs.environment import environment
from cnn_archs.errors import ConfigError, DataError, first_line
from cnn_archs.evaluate.run import load
from cnn_archs.files import atomic
from cnn_archs.run_dir import RunDir
from cnn_archs.setup import described, once, user_errors
from cnn_archs.train import steps
from cnn_archs.train.assemble import rules
from cnn_archs.train.checkpoint import Checkpoints
from cnn_archs.train.run import items_of
from cnn_archs.weights.torch_layout import from_state_dict, tensors, to_state_dict


def export(output: Path, config: ConfigDict | None, workdir: Path | None) -> dict[str, Any]:
    """Writes a run's network (its first seed's), or `config`'s at random, to the file `output`.

    Random are the initial weights of the first seed of `config`.
    """
    if workdir:
        loaded = load(workdir)
        config, model, variables, step = loaded.config, loaded.model, loaded.variables, loaded.step
        _, image_shape = described(config)
    else:
        assert config is not None
        model, image_shape = described(config)
        step = 0
    with user_errors(f"model {config.model.name}"):
        tensors(model, image_shape)  # before anything is allocated
        if not workdir:
            key, _ = jax.random.split(jax.random.key(config.seed))  # as a run begins
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
        "model": config.model.name,
        "step": step,
        "tensors": len(state),
        "parameters": sum(v.size for v in jax.tree.leaves(variables["params"])),
    }


def import_(path: Path, config: ConfigDict, workdir: Path) -> dict[str, Any]:
    """Makes `workdir` a run of `config` at step 0, with the weights of the file `path`.

    It can be evaluated, and trained on. ConfigError if they are of another network or `workdir`
    holds a run, DataError for a damaged file.
    """
    if config.seeds != 1:
        raise ConfigError(f"a file holds one network, not {config.seeds}: --config.seeds=1")
    model, image_shape = described(config)
    try:
        state = load_file(path)
    except (SafetensorError, ValueError, KeyError, TypeError, OverflowError) as e:
        raise DataError(f"{path} is not a sound safetensors file: {first_line(e)}") from e
    with user_errors(f"{path} does not fit model {config.model.name}"):
        variables = from_state_dict(model, image_shape, state)
    _, _, optimizer, average = rules(config, steps_per_epoch=1.0)
    workdir.mkdir(parents=True, exist_ok=True)
    folder = RunDir(workdir)
    with folder.lock():
        if folder.has_config() or folder.has_checkpoints():
            raise ConfigError(f"{workdir} holds a run already; use another --workdir")
        first = steps.begin(jax.tree.map(jnp.asarray, variables), optimizer, average)
        one_seed = jax.tree.map(lambda x: x[None], first)
        checkpoints = Checkpoints(folder.checkpoints, keep=config.keep)
        checkpoints.save(0, items_of(one_seed), {"seconds": 0.0, "settled": True, "parts": []})
        folder.write_environment({**environment(), "imported": str(path)})
        folder.write_config(config)
    return {
        "workdir": str(workdir),
        "model": config.model.name,
        "tensors": len(state),
        "parameters": sum(np.size(v) for v in jax.tree.leaves(variables["params"])),
    }
