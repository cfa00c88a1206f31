"""Warm starts: initial weights from another run.

VGG's deeper configurations begin with layers of a trained A, and its networks for a larger scale
with the weights of the network for the smaller scale.
"""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from cnn_archs.data.record import read_record
from cnn_archs.distributed import mesh as meshes
from cnn_archs.distributed import multihost
from cnn_archs.errors import ConfigError
from cnn_archs.evaluate.load import restore_run
from cnn_archs.experiment import resolve
from cnn_archs.run_dir import RunDir
from cnn_archs.runtime.console import print_status
from cnn_archs.training.trainer import Trainer

Variables = dict[str, Any]  # params and batch_stats


def warm_start_variables(trainer: Trainer, workdir: str, layers: str) -> list[Variables]:
    """Return the initial params and batch_stats of each seed, with layers taken from another run.

    workdir: that of the other run; its newest sound checkpoint is read. layers: top-level names of
    layers, separated by commas, each `name` or `name=name in the other network`; empty means all.
    A member's seed number i takes the weights of the other run's seed number i, or of its only
    seed. Raises ConfigError if a layer is missing or has another shape.
    """
    initial = meshes.to_host(trainer.seed_variables())
    found = multihost.only_on_primary(lambda: read_variables(trainer, initial, workdir, layers))
    return multihost.broadcast_tree(found or initial)


def read_variables(
    trainer: Trainer, initial: list[Variables], workdir: str, layers: str
) -> list[Variables]:
    """Return `initial`, the variables of each seed, with the layers read from `workdir`."""
    pairs = [parse_layer_pair(name) for name in layers.split(",")] if layers else None
    seed_numbers = [i for s in trainer.seed_slices for i in range(len(trainer.seeds[s]))]
    folder = RunDir(Path(workdir))
    source = resolve(folder.config(), read_record(folder))
    saved, single = restore_run(Path(workdir), source), len(source.seeds) == 1
    what = f"warm_start from {workdir} ({source.name})"
    found = []
    for i, variables in zip(seed_numbers, initial, strict=True):
        other = meshes.to_host(saved.seed_variables(0 if single else i))
        found.append(replace_layers(variables, other, pairs, what))
    print_status(f"starting from {workdir} at step {saved.step}: {layers or 'all layers'}")
    return found


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
