"""The part of `submit` that prints the pods of a JobSet, which ask for what `plan` expects."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from cnn_archs.commands.shared import emit, split_names
from cnn_archs.errors import ConfigError, first_line

if TYPE_CHECKING:
    from cnn_archs.launch.job import JobRequest
    from cnn_archs.launch.kubernetes import PodNeeds

REQUIRED = ("image", "volume")  # flags without which there is no JobSet


def print_jobset(
    arguments: argparse.Namespace, overrides: list[str], request: "JobRequest"
) -> None:
    """Print the manifest of a JobSet. Raises ConfigError if a flag that it needs is missing."""
    from cnn_archs.launch import kubernetes

    for flag in REQUIRED:
        if not getattr(arguments, flag):
            raise ConfigError(f"--cluster=kubernetes needs --{flag}; see submit --help")
    if not Path(arguments.workdir or "").is_absolute():
        raise ConfigError(
            "--workdir must be an absolute path inside the pods: --volume is mounted at its parent"
        )
    kubernetes.check_names(request)
    needs = planned_needs(arguments, overrides, request)
    manifest = kubernetes.manifest(request, arguments.image, arguments.volume, needs)
    emit(arguments, manifest, kubernetes.manifest_yaml(manifest))


def planned_needs(
    arguments: argparse.Namespace, overrides: list[str], request: "JobRequest"
) -> "PodNeeds | None":
    """Return what `plan` expects a pod to need: None, with a note on stderr, if it cannot say.

    The pods of a sweep need what its largest network does, once for each process.
    """
    from cnn_archs.planning import devices, pod_needs
    from cnn_archs.runtime.console import print_status

    gpus = request.gpus_per_node
    kind = arguments.kind or ("h200" if gpus else "cpu")
    if kind.lower() != "cpu":
        devices.find_device(kind)
    experiment, changes = arguments.config, tuple(overrides)
    count, processes = request.nodes * max(1, gpus), 1
    if arguments.sweep:
        experiment, changes = largest_cell(arguments, request.workdir, overrides)
        count, processes = 1, arguments.processes or max(1, gpus)
    flags = (f"--kind={kind}", f"--devices={count}")
    try:
        plan = pod_needs.plan_in_own_process(experiment, changes, flags)
    except ConfigError as e:  # the data may be where the pods are, and nowhere here
        print_status(f"note: the pods ask for no CPUs and no memory; plan: {first_line(e)}")
        return None
    return pod_needs.pod_needs(plan, request.nodes, gpus, processes)


def largest_cell(
    arguments: argparse.Namespace, workdir: Path, overrides: list[str]
) -> tuple[str, tuple[str, ...]]:
    """Return the experiment and the overrides of the sweep's cell with the most multiply-adds."""
    os.environ["JAX_PLATFORMS"] = "cpu"  # sizes are only traced, which needs no accelerator
    from cnn_archs.experiment import resolve_settings
    from cnn_archs.planning import sweep_cost
    from cnn_archs.sweeps import grid, scheduler

    def macs(cell: grid.SweepCell) -> int:
        one = resolve_settings(cell.load_config())
        return sweep_cost.training_cost(one.model, one.image_shape, None, 1, ()).macs

    stated = scheduler.load_with_seeds(arguments.sweep, 1)
    found = grid.list_cells(stated, workdir, overrides, split_names(arguments.cells))
    cell = max(found, key=macs)
    return cell.experiment, tuple(cell.overrides)
