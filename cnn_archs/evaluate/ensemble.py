"""Evaluate several runs as one classifier: average the probabilities of all their networks."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cnn_archs.errors import ConfigError
from cnn_archs.evaluate.protocols import report_probabilities
from cnn_archs.experiment import Experiment
from cnn_archs.metrics import stack_by_seed
from cnn_archs.run_dir import RunDir


class Member(NamedTuple):
    """One run of an ensemble, evaluated under a test protocol.

    result: the result of the run alone. probabilities: f32[seeds, N, K] for the split, and for
    SPLIT_average if the run has averaged weights. labels: i32[N]. readable: bool[N], False for an
    example that could not be read.
    """

    workdir: Path
    label: str
    result: dict[str, Any]
    probabilities: dict[str, np.ndarray]
    labels: np.ndarray
    readable: np.ndarray


def check_same_examples(
    workdirs: Sequence[Path], experiments: Sequence[Experiment], split: str
) -> None:
    """Raise ConfigError, naming two runs, unless all runs have the same examples and classes."""
    twice = [
        w for i, w in enumerate(workdirs) if w.resolve() in {v.resolve() for v in workdirs[:i]}
    ]
    if twice:
        raise ConfigError(f"--workdir names {twice[0]} twice")
    labels = [RunDir(workdir).label() for workdir in workdirs]
    first = example_settings(experiments[0], split)
    for label, experiment in zip(labels, experiments, strict=True):
        for setting, value in example_settings(experiment, split).items():
            if value != first[setting]:
                raise ConfigError(
                    f"all runs of an ensemble must have the same {setting}: {labels[0]} has "
                    f"{first[setting]}, {label} has {value}"
                )


def example_settings(experiment: Experiment, split: str) -> dict[str, Any]:
    """Return the settings that decide which examples and classes `split` has."""
    data = experiment.dataset
    folder = data.name == "image_folder"
    record = data.recorded.record if data.recorded else None
    chosen = record.splits.get(split) if record and record.chosen else None
    return {
        "dataset": f"{data.name} in {Path(data.data_dir).resolve()}" if folder else data.name,
        "number of classes": experiment.classes,
        "data.holdout": data.holdout if split in ("train", "val") else 0,
        "data.examples": data.examples if split == "train" else 0,
        f"images in {split}": chosen.digest[:12] if chosen else "",
    }


def combine_members(members: Sequence[Member], split: str) -> dict[str, Any]:
    """Return the result of an ensemble.

    `views` counts the views of each image over all networks. `members` has an entry with the
    errors of each network, in the order of the runs and of their seeds; `members_mean` is the mean
    of these errors. Errors with averaged weights are included only if every run has them. Raises
    ConfigError if the members have other labels for the same examples.
    """
    for member in members[1:]:
        if not have_same_labels(members[0], member):
            raise ConfigError(
                f"{members[0].label} and {member.label} have other images in {split}, or their "
                "classes in another order: an ensemble needs the same ones"
            )
    first = members[0].result
    networks = [entry for member in members for entry in network_entries(member)]
    names = [
        name for name in members[0].probabilities if all(name in m.probabilities for m in members)
    ]
    return {
        "name": "+".join(m.result["name"] for m in members),
        "dataset": first["dataset"],
        "protocol": first["protocol"],
        "views": sum(entry["views"] for entry in networks),
        **{key: first[key] for key in ("precise_stats",) if key in first},
        "networks": len(networks),
        **{name: stack_by_seed([report_mean(members, name)]) for name in names},
        "members": networks,
        "members_mean": {
            name: {
                key: statistics.fmean(entry[name][key] for entry in networks)
                for key in ("top1_error", "top5_error", "loss")
            }
            for name in names
        },
    }


def have_same_labels(a: Member, b: Member) -> bool:
    """Return whether two members have the same labels, of all examples that both could read."""
    if len(a.labels) != len(b.labels):
        return False
    both = a.readable & b.readable
    return bool((a.labels == b.labels)[both].all())


def network_entries(member: Member) -> list[dict[str, Any]]:
    """Return one entry of `members` for each network (seed) of a run."""
    result = member.result
    common: dict[str, Any] = {
        key: result[key] for key in ("name", "steps", "views", "scales") if key in result
    }
    common["workdir"] = member.label
    return [
        {
            **common,
            "seed": seed,
            **{name: select_row(result[name], i) for name in member.probabilities},
        }
        for i, seed in enumerate(result["seeds"])
    ]


def select_row(columns: dict[str, Any], i: int) -> dict[str, Any]:
    """Return element `i` of each list in `columns`, and every other value as it is."""
    return {key: v[i] if isinstance(v, list) else v for key, v in columns.items()}


def report_mean(members: Sequence[Member], name: str) -> dict[str, float]:
    """Report the mean probabilities over all networks, for the examples that every run could read.

    name: the split, or SPLIT_average.
    """
    networks = sum(len(m.probabilities[name]) for m in members)
    mean = sum(m.probabilities[name].sum(0) for m in members) / networks
    readable = np.logical_and.reduce([m.readable for m in members])
    return report_probabilities(mean, members[0].labels, readable)
