"""The command `import`: a run that begins with the weights of a file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cnn_archs import models, published_weights
from cnn_archs.config import Config
from cnn_archs.conversion import caffe_import, file_network, option_a, state_dicts, torch_file
from cnn_archs.conversion.export import initial_variables
from cnn_archs.conversion.torch_layout import from_state_dict, misfits, tensors, to_state_dict
from cnn_archs.errors import ConfigError, DataError, UserError, config_errors
from cnn_archs.experiment import ExperimentSettings, order_notes
from cnn_archs.experiment_inputs import make_dataset
from cnn_archs.runtime.console import print_notes
from cnn_archs.runtime.files import file_sha256, read_errors
from cnn_archs.training import weights_file

State = dict[str, np.ndarray]
PROVENANCE = ("source", "commit", "license", "dataset", "normalization", "stated")


def import_(
    path: Path, settings: ExperimentSettings, workdir: Path, *, strides: str, new_head: bool
) -> dict[str, Any]:
    """Make `workdir` a run of `settings` at step 0 with the weights of the file `path`.

    strides: see `file_network.check_strides`. new_head: whether the last layer keeps its initial
    weights, so that the number of classes may be another one. The run can be evaluated and trained
    further. Says on stderr what was done to the tensors, and returns what the command prints.
    Raises ConfigError if the weights belong to another network or `workdir` holds a run, DataError
    for a damaged file.
    """
    if len(settings.seeds) != 1:
        raise ConfigError(f"a file holds one network, not {len(settings.seeds)}: --config.seeds=1")
    state, notes = read_state(path, settings, strides)
    with read_errors(path):
        digest = file_sha256(path)
    known = published_weights.find(digest)
    notes += published_weights.notes(known, settings.config["data"]) if known else []
    variables = fitting_variables(path, settings, state, new_head)
    imported = {
        "file": path.name,
        "sha256": digest,
        "new_head": new_head,
        **({key: known[key] for key in PROVENANCE} if known else {}),
    }
    weights_file.create_run(workdir, settings, variables, path, imported)
    print_notes(notes)
    return {
        "workdir": str(workdir),
        "model": settings.name,
        "tensors": len(state),
        "parameters": sum(np.size(v) for v in jax.tree.leaves(variables["params"])),
        "imported": imported,
        "notes": notes,
    }


def read_state(path: Path, settings: ExperimentSettings, strides: str) -> tuple[State, list[str]]:
    """Return the tensors of a file in the names and order of the network of `settings`, and notes.

    strides: see `file_network.check_strides`. Raises ConfigError if the file is of another network,
    DataError if it is damaged.
    """
    if caffe_import.is_caffe_file(path):
        return caffe_import.read_caffe(path, settings)
    state, metadata, notes = read_weights(path, settings)
    if file_network.KEY in metadata:
        file_network.check_same_network(metadata, settings.config["model"], path)
    else:
        file_network.check_strides(settings.model, strides, path)
    if option_a.has_akamasters_maps(settings.model):
        state = option_a.from_akamasters(settings.model, state)
        notes.append(
            "the names are those of akamaster's pytorch_resnet_cifar10, so the maps of option A's "
            "shortcuts are put from its order into ours"
        )
    return state, notes


def read_weights(
    path: Path, settings: ExperimentSettings
) -> tuple[State, Mapping[str, str], list[str]]:
    """Return the tensors of a file for the network of `settings`, its metadata, and notes.

    Names have no prefix, and floating point numbers are float32. Raises DataError for a file that
    is damaged or holds something else.
    """
    metadata: Mapping[str, str] = {}
    if torch_file.is_torch_file(path):
        state = state_dicts.find_state(torch_file.read_torch(path), path)
    elif path.suffix.lower() in torch_file.SUFFIXES and not starts_as_safetensors(path):
        raise DataError(f"{path} is neither a file of torch.save nor a safetensors file")
    else:
        state = weights_file.read_safetensors(path)
        metadata = weights_file.read_metadata(path)
    with config_errors(f"model {settings.name}"):
        wanted = {t.name for t in tensors(settings.model, settings.image_shape)}
    state, stripped = state_dicts.without_prefix(state, wanted, path)
    state, converted = state_dicts.as_float32(state, path)
    return state, metadata, stripped + converted


def pool_overrides(path: Path, model: Mapping[str, Any], overrides: Sequence[str]) -> list[str]:
    """Return the override with which a ResNet has the first pool of torchvision's and Keras'.

    model: the section of the config that the file at `path` is imported for. overrides: those that
    the user has stated. There is none for a file of Caffe or of `export`, which say what their
    network computes, nor if the user says which pool it is.
    """
    if model.get("pool1", "padded") == "padded" or caffe_import.is_caffe_file(path):
        return []
    if any(override.startswith("model.pool1=") for override in overrides):
        return []
    if starts_as_safetensors(path) and file_network.KEY in weights_file.read_metadata(path):
        return []
    print_notes(
        [
            f"{path.name} does not say which network it is of; the first pool is padded, as in "
            "torchvision and Keras (--config.model.pool1=overhanging is that of the authors' Caffe)"
        ]
    )
    return ["model.pool1=padded"]


def outputs_notes(config: Config, settings: ExperimentSettings) -> list[str]:
    """Return a line for the user if the network's outputs are not the classes of its dataset.

    settings: those of `config`. There is none if the dataset is not known without its files, and
    they are not there.
    """
    with config_errors(f"model {settings.name}"):
        outputs = settings.model.num_classes
    try:
        dataset = make_dataset(config)
    except UserError:
        return []
    if outputs >= dataset.classes:
        return order_notes(outputs, dataset.classes)
    return [
        f"{outputs} outputs, but {dataset.name} has {dataset.classes} classes: to evaluate "
        "or predict with this run, import it with --config.data.name=image_folder and "
        "--config.data.data_dir=DIR, the folder of images of its classes"
    ]


def starts_as_safetensors(path: Path) -> bool:
    """Return whether the header of a file begins like that of a safetensors file."""
    with read_errors(path), open(path, "rb") as file:
        return file.read(9)[8:] == b"{"


def fitting_variables(
    path: Path, settings: ExperimentSettings, state: State, new_head: bool
) -> dict[str, Any]:
    """Return {"params", "batch_stats"} with the tensors of `state`; a new head has initial values.

    Raises ConfigError, naming the first tensor, if they do not fit the network.
    """
    model, shape = settings.model, settings.image_shape
    paths = models.head_paths(model, shape)
    head = {t.name for t in tensors(model, shape) if t.path in paths}
    if new_head:
        if not head:
            raise ConfigError(f"--new_head: model {settings.name} has a fixed number of classes")
        initial = to_state_dict(model, shape, jax.device_get(initial_variables(settings)), 0)
        state = {**state, **{name: initial[name] for name in head}}
    found = list(misfits(tensors(model, shape), state))
    if found and {misfit.name for misfit in found} <= head:
        raise ConfigError(f"{path}: {found[0].message}; {new_head_hint(state, head)}")
    with config_errors(f"{path} does not fit model {settings.name}"):
        return from_state_dict(model, shape, state)


def new_head_hint(state: State, head: set[str]) -> str:
    """Return what to do about a file whose last layer alone does not fit."""
    classes = {len(state[name]) for name in head if name in state and state[name].ndim}
    keep = f", or --config.model.num_classes={classes.pop()}" if len(classes) == 1 else ""
    return f"--new_head gives the network a new head in place of the file's last layer{keep}"
