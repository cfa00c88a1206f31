"""Several runs as one classifier: the mean of the probabilities of all their networks."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cnn_archs.errors import ConfigError
from cnn_archs.evaluate.protocols import report_probabilities
from cnn_archs.experiment import Experiment
from cnn_archs.metrics import stack_by_seed


class Member(NamedTuple):
    """A run's networks under a protocol.

    row: its result. of: split, or its name with averaged weights, -> probabilities f32[seeds, N,
    K]. labels: i32[N]; seen: bool[N], False for an example that could not be read.
    """

    workdir: Path
    row: dict[str, Any]
    of: dict[str, np.ndarray]
    labels: np.ndarray
    seen: np.ndarray


def check_same_examples(
    workdirs: Sequence[Path], experiments: Sequence[Experiment], split: str
) -> None:
    """ConfigError, which names two runs, where not all can be tested on the same examples."""
    twice = [
        w for i, w in enumerate(workdirs) if w.resolve() in {v.resolve() for v in workdirs[:i]}
    ]
    if twice:
        raise ConfigError(f"--workdir names {twice[0]} twice")
    first = example_settings(experiments[0], split)
    for workdir, experiment in zip(workdirs, experiments, strict=True):
        for what, theirs in example_settings(experiment, split).items():
            if theirs != first[what]:
                raise ConfigError(
                    f"an ensemble has one {what}: that of {workdirs[0]} is {first[what]}, of "
                    f"{workdir} {theirs}"
                )


def example_settings(experiment: Experiment, split: str) -> dict[str, Any]:
    """What must be the same for examples and classes to be so."""
    data = experiment.dataset
    folder = data.name == "image_folder"
    return {
        "dataset": f"{data.name} in {Path(data.data_dir).resolve()}" if folder else data.name,
        "number of classes": experiment.classes,
        "data.holdout": data.holdout if split in ("train", "val") else 0,
        "data.examples": data.examples if split == "train" else 0,
    }


def combine_members(members: Sequence[Member], split: str) -> dict[str, Any]:
    """The result of an ensemble.

    `views` is of each image, over all networks. `members` has an entry for each network, in the
    order of the runs and of their seeds, with its own errors; `members_mean` is their mean. With
    averaged weights only where all runs have them.
    """
    first = members[0].row
    of_networks = [entry for member in members for entry in network_entries(member)]
    names = [name for name in members[0].of if all(name in m.of for m in members)]
    return {
        "name": "+".join(m.row["name"] for m in members),
        "dataset": first["dataset"],
        "protocol": first["protocol"],
        "views": sum(entry["views"] for entry in of_networks),
        **{key: first[key] for key in ("precise_stats",) if key in first},
        "networks": len(of_networks),
        **{name: stack_by_seed([report_mean(members, name)]) for name in names},
        "members": of_networks,
        "members_mean": {
            name: {
                key: statistics.fmean(entry[name][key] for entry in of_networks)
                for key in ("top1_error", "top5_error", "loss")
            }
            for name in names
        },
    }


def network_entries(member: Member) -> list[dict[str, Any]]:
    """One for each network of a run."""
    row = member.row
    same: dict[str, Any] = {k: row[k] for k in ("name", "steps", "views", "scales") if k in row}
    same["workdir"] = str(member.workdir)
    return [
        {**same, "seed": seed, **{name: select_row(row[name], i) for name in member.of}}
        for i, seed in enumerate(row["seeds"])
    ]


def select_row(found: dict[str, Any], i: int) -> dict[str, Any]:
    """Row `i` of columns."""
    return {key: v[i] if isinstance(v, list) else v for key, v in found.items()}


def report_mean(members: Sequence[Member], name: str) -> dict[str, float]:
    """The report of the mean over all networks, of the examples that all of them saw."""
    networks = sum(len(m.of[name]) for m in members)
    mean = sum(m.of[name].sum(0) for m in members) / networks
    seen = np.logical_and.reduce([m.seen for m in members])
    assert all((m.labels == members[0].labels)[seen].all() for m in members)
    return report_probabilities(mean, members[0].labels, seen)
