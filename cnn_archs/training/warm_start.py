"""Starting from another run's weights: VGG's deeper columns from A, a scale from another."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from cnn_archs.distributed import mesh as meshes
from cnn_archs.distributed import multihost
from cnn_archs.errors import ConfigError
from cnn_archs.evaluate.load import restore_run
from cnn_archs.experiment import resolve
from cnn_archs.run_dir import RunDir
from cnn_archs.runtime.console import print_status
from cnn_archs.training.trainer import Run


def variables(run: Run, workdir: str, layers: str) -> list[dict[str, Any]]:
    """The initial params and batch_stats of each seed of `run`, with those of another run in them.

    workdir: of the other run; its newest sound checkpoint is read. layers: names of layers as they
    are at the top of the two networks, `ours` or `ours=theirs`, with commas between; empty: all.
    Seed number i takes the weights of the other run's number i, or of its first if it has but one.
    ConfigError where a layer is missing or of another shape. Of several processes the first reads.
    """
    pairs = [mapped(name) for name in layers.split(",")] if layers else None
    numbers = [i for share in run.shares for i in range(len(run.seeds[share]))]  # in its part
    ours = meshes.on_host(run.variables())
    started: list[dict[str, Any]] = []

    def read() -> None:
        source = resolve(RunDir(Path(workdir)).config())
        saved, one = restore_run(Path(workdir), source), len(source.seeds) == 1
        what = f"warm_start from {workdir} ({source.name})"
        for i, of_seed in zip(numbers, ours, strict=True):
            variables = meshes.on_host(saved.seed_variables(0 if one else i))
            started.append(replaced(of_seed, variables, pairs, what))
        print_status(f"starting from {workdir} at step {saved.step}: {layers or 'all layers'}")

    multihost.on_first(read)
    return multihost.tree_of_first(started or ours)


def mapped(name: str) -> tuple[str, str]:
    """(ours, theirs) of `ours` or `ours=theirs`."""
    ours, _, theirs = name.strip().partition("=")
    return ours, theirs or ours


def replaced(
    ours: dict[str, Any],
    theirs: dict[str, Any],
    pairs: list[tuple[str, str]] | None,
    what: str,
) -> dict[str, Any]:
    """`ours` (params, batch_stats) with the layers of `pairs`, None for all, out of `theirs`."""
    pairs = [(name, name) for name in ours["params"]] if pairs is None else pairs
    new = {kind: dict(ours[kind]) for kind in ("params", "batch_stats")}
    for a, b in pairs:
        for name, tree, whose in ((a, ours, "this network"), (b, theirs, "that run")):
            if name not in tree["params"]:
                there = ", ".join(tree["params"])
                raise ConfigError(f"{what}: {whose} has no layer {name!r}; it has {there}")
        for kind in new:
            if a in ours[kind]:
                new[kind][a] = same_shape(ours[kind][a], theirs[kind].get(b), f"{what}: {a}")
    return new


def same_shape(ours: Any, theirs: Any, what: str) -> Any:
    """`theirs`, if its leaves are those of `ours` in name and shape; ConfigError else."""
    a, b = ({jax.tree_util.keystr(p): np.shape(x) for p, x in leaves(t)} for t in (ours, theirs))
    for leaf in sorted({*a, *b}):
        if a.get(leaf) != b.get(leaf):
            raise ConfigError(
                f"{what}{leaf} is {b.get(leaf, 'missing')} there and {a.get(leaf, 'missing')} here"
            )
    return theirs


def leaves(tree: Any) -> list[tuple[Any, Any]]:
    return jax.tree_util.tree_leaves_with_path(tree)
