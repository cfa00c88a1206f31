"""Warm starts: initial weights from another run, for fine-tuning too.

VGG's deeper configurations begin with layers of a trained A, and its networks for a larger scale
with the weights of the network for the smaller scale.
"""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from cnn_archs import models
from cnn_archs.data.record import read_record
from cnn_archs.data.transforms.preprocess import Preprocessor
from cnn_archs.distributed import mesh as meshes
from cnn_archs.distributed import multihost
from cnn_archs.errors import ConfigError
from cnn_archs.evaluate.load import read_run
from cnn_archs.experiment import resolve
from cnn_archs.roles import changes_function
from cnn_archs.run_dir import RunDir
from cnn_archs.runtime.console import print_notes, print_status
from cnn_archs.training.trainer import Trainer

Variables = dict[str, Any]  # params and batch_stats
KeyPath = tuple[str, ...]  # to a variable, from its collection on


def warm_start_variables(
    trainer: Trainer, workdir: str, layers: str, new_head: bool
) -> list[Variables]:
    """Return the initial params and batch_stats of each seed, with layers taken from another run.

    workdir: that of the other run; its newest sound checkpoint is read. layers: top-level names of
    layers, separated by commas, each `name` or `name=name in the other network`; empty means all.
    new_head: keep the initial weights of what depends on the number of classes. A member's seed
    number i takes the weights of the other run's seed number i, or of its only seed. Raises
    ConfigError if a layer is missing or has another shape.
    """
    initial = meshes.to_host(trainer.seed_variables())
    found = multihost.only_on_primary(
        lambda: read_variables(trainer, initial, workdir, layers, new_head)
    )
    return multihost.broadcast_tree(found or initial)


def read_variables(
    trainer: Trainer, initial: list[Variables], workdir: str, layers: str, new_head: bool
) -> list[Variables]:
    """Return `initial`, the variables of each seed, with the layers read from `workdir`."""
    net = trainer.net
    head = models.head_paths(net.model, net.image_shape)
    pairs = [parse_layer_pair(name) for name in layers.split(",")] if layers else None
    seed_numbers = [i for s in trainer.seed_slices for i in range(len(trainer.seeds[s]))]
    folder = RunDir(Path(workdir))
    source = resolve(folder.config(), read_record(folder))
    saved, single = read_run(Path(workdir), source), len(source.seeds) == 1
    what = f"warm_start from {workdir} ({source.name})"
    found = []
    for i, variables in zip(seed_numbers, initial, strict=True):
        other = meshes.to_host(saved.seed_variables(0 if single else i))
        if new_head:
            other = with_head_of(variables, other, head)
        try:
            found.append(replace_layers(variables, other, pairs, what))
        except ConfigError as e:
            if new_head or not differ_in_head(variables, other, head):
                raise
            raise ConfigError(
                f"{e}; to keep the new last layer: --config.warm_start.new_head=true"
            ) from e
    print_notes(input_differences(net.inputs, source.inputs, workdir))
    if not pairs and type(net.model) is type(source.model):
        print_notes(field_differences(net.model, source.model, workdir))
    print_status(f"starting from {workdir} at step {saved.step}: {layers or 'all layers'}")
    return found


def with_head_of(variables: Variables, other: Variables, head: set[KeyPath]) -> Variables:
    """Return `other` with the variables at the paths `head` as in `variables`."""
    own = flatten_dict(variables)
    merged = flatten_dict(other) | {path: own[path] for path in head}
    return {kind: unflatten_dict(merged).get(kind, {}) for kind in variables}


def differ_in_head(variables: Variables, other: Variables, head: set[KeyPath]) -> bool:
    """Return whether a variable at one of the paths `head` has another shape in `other`."""
    own, theirs = flatten_dict(variables), flatten_dict(other)
    return any(p in theirs and np.shape(own[p]) != np.shape(theirs[p]) for p in head)


def input_differences(inputs: Preprocessor, others: Preprocessor, workdir: str) -> list[str]:
    """Return a sentence if a run sees its images otherwise than the run that it starts from."""
    keys = ("mean", "std", "pixel_range", "reverse_channels", "standardize")
    ours, theirs = vars(inputs), vars(others)
    differing = [key for key in keys if ours[key] != theirs[key]]
    if not differing:
        return []
    of_other = ", ".join(f"{key}={theirs[key]}" for key in differing)
    return [f"the weights of {workdir} were trained on images normalized otherwise: {of_other}"]


def field_differences(model: models.Network, other: models.Network, workdir: str) -> list[str]:
    """Return a sentence if `other`, whose weights `model` takes, computes something else.

    Fields whose difference shows in a shape have been refused before.
    """
    ours, theirs = vars(model), vars(other)
    differing = [
        f"{key}={theirs[key]}"
        for key in (field.name for field in dataclasses.fields(other))
        if key not in ("parent", "name") and changes_function(key) and ours[key] != theirs[key]
    ]
    if not differing:
        return []
    return [f"the weights of {workdir} were trained in a network with {', '.join(differing)}"]


def parse_layer_pair(text: str) -> tuple[str, str]:
    """Return the names of a layer in this network and in the other one, from `a` or `a=b`."""
    name, _, other = text.strip().partition("=")
    return name, other or name


def replace_layers(
    variables: Variables, other: Variables, pairs: list[tuple[str, str]] | None, what: str
) -> Variables:
    """Return `variables` with the layers of `pairs`, or all for None, taken from `other`.

    what: begins the message of the ConfigError that is raised if a layer is missing or has another
    shape.
    """
    pairs = [(name, name) for name in variables["params"]] if pairs is None else pairs
    new = {kind: dict(variables[kind]) for kind in ("params", "batch_stats")}
    for a, b in pairs:
        for name, tree, owner in ((a, variables, "this network"), (b, other, "that run")):
            if name not in tree["params"]:
                names = ", ".join(tree["params"])
                raise ConfigError(f"{what}: {owner} has no layer {name!r}; it has {names}")
        for kind in new:
            if a in variables[kind]:
                check_same_shapes(variables[kind][a], other[kind].get(b), f"{what}: {a}")
                new[kind][a] = other[kind].get(b)
    return new


def check_same_shapes(layer: Any, other: Any, what: str) -> None:
    """Raise ConfigError unless two layers have leaves of the same names and shapes."""
    shapes, other_shapes = leaf_shapes(layer), leaf_shapes(other)
    for leaf in sorted({*shapes, *other_shapes}):
        here, there = shapes.get(leaf, "missing"), other_shapes.get(leaf, "missing")
        if here != there:
            raise ConfigError(f"{what}{leaf} is {there} in that run and {here} in this network")


def leaf_shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """Return the shape of each leaf by its key path."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): np.shape(leaf) for path, leaf in leaves}
