"""The command that hands a run or a sweep to the scheduler of a cluster."""

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnn_archs.commands.shared import (
    Declare,
    check_at_least,
    declare_changed_data,
    default_workdir,
    emit,
    split_names,
    user_path,
)
from cnn_archs.errors import ConfigError, escaped

if TYPE_CHECKING:
    from cnn_archs.launch.job import JobRequest

CLUSTERS = {"slurm": ("hours", "dry_run", "slurm"), "kubernetes": ("image", "volume", "kind")}
HOURS = 24.0  # time limit of a SLURM job
SAVING_HOURS = 2 / 60  # the shortest limit that leaves time to save
YEAR_HOURS = 8784.0


def declare(command: Declare) -> None:
    c = command(
        submit,
        config="named",
        examples=(
            "cnn-archs submit --config=resnet_imagenet:50 --gpus_per_node=8 --nodes=2 "
            "--slurm.partition=gpu",
            "cnn-archs submit --sweep=degradation --jobs=16 --gpus_per_node=1 --dry_run",
            "cnn-archs submit --config=resnet_imagenet:50 --workdir=/runs/resnet50 "
            "--cluster=kubernetes --image=IMAGE --volume=CLAIM",
        ),
        notes="Any option of sbatch is a flag too: --slurm.OPTION=VALUE, or --slurm.OPTION for one "
        "without a value, as in --slurm.partition=gpu --slurm.exclusive.",
    )
    c.add_argument(
        "--workdir",
        type=user_path,
        metavar="DIR",
        help="directory of the run or sweep (default: runs/EXPERIMENT or runs/SWEEP)",
    )
    c.add_argument(
        "--gpus_per_node",
        type=int,
        default=0,
        metavar="N",
        help="GPUs of each node (default: none)",
    )
    c.add_argument(
        "--nodes", type=int, default=1, metavar="N", help="number of nodes (experiments only)"
    )
    c.add_argument(
        "--cluster",
        choices=CLUSTERS,
        default="slurm",
        help="slurm: submit with sbatch (default); kubernetes: print a JobSet for "
        "'kubectl apply -f -'",
    )
    declare_changed_data(c)
    declare_sweep_flags(c)
    slurm = c.add_argument_group("SLURM")
    slurm.add_argument(
        "--hours",
        type=float,
        help="time limit of each job, which saves a checkpoint before it ends and requeues itself "
        f"(default: {HOURS:g})",
    )
    slurm.add_argument(
        "--dry_run", action="store_true", help="print the script for sbatch, and submit nothing"
    )
    kubernetes = c.add_argument_group("Kubernetes")
    kubernetes.add_argument(
        "--image",
        metavar="IMAGE",
        help="container image with cnn-archs in it, which is the code that the pods run",
    )
    kubernetes.add_argument(
        "--volume",
        metavar="CLAIM",
        help="persistent volume claim, mounted at the parent of --workdir",
    )
    kubernetes.add_argument(
        "--kind",
        default="",
        help="device type, as in plan --kind, for the CPUs and the memory that the pods ask for "
        "(default: h200 with GPUs, cpu without)",
    )
    c.set_defaults(slurm=[], compiles=False)  # each node caches programs for its own processor


def declare_sweep_flags(parser: argparse.ArgumentParser) -> None:
    sweeps = parser.add_argument_group("sweeps")
    sweeps.add_argument(
        "--sweep",
        metavar="SWEEP",
        help="submit this sweep (as in sweep --config), not an experiment",
    )
    sweeps.add_argument(
        "--cells", default="", metavar="A,B", help="cells to train (as in sweep --cells)"
    )
    sweeps.add_argument(
        "--seeds", type=int, default=0, metavar="N", help="seeds per cell (as in sweep --seeds)"
    )
    sweeps.add_argument(
        "--jobs",
        type=int,
        default=1,
        metavar="N",
        help="split the sweep into a job array of N parts (default: %(default)s)",
    )
    sweeps.add_argument(
        "--processes",
        type=int,
        default=0,
        metavar="N",
        help="processes of each job at a time (as in sweep --processes)",
    )


def submit(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Submit a run, or a sweep as an array of jobs, to SLURM or Kubernetes."""
    for cluster, flags in CLUSTERS.items():
        given = [flag for flag in flags if getattr(arguments, flag)]
        if given and cluster != arguments.cluster:
            raise ConfigError(f"--{given[0]} is for --cluster={cluster}")
    request = build_request(arguments, overrides)
    if arguments.cluster == "kubernetes":
        from cnn_archs.commands import pods

        return pods.print_jobset(arguments, overrides, request)

    from cnn_archs.launch import slurm

    options = parse_slurm_options(arguments)
    if arguments.dry_run:
        script = slurm.batch_script(request, options)
        return emit(arguments, {"script": script}, script)

    from cnn_archs.runtime.files import write_errors

    with write_errors(request.workdir):
        jobs = slurm.submit_jobs(request, options, arguments.main)
    number = jobs[0]["id"].partition("_")[0]
    document = {
        "job": number,
        "command": ["cnn-archs", *request.command],
        "workdir": str(request.workdir),
        "jobs": jobs,
        "watch": f"squeue --jobs={number}",
        "cancel": f"scancel {number}",
    }
    emit(arguments, document, format_submission(document))


def format_submission(document: dict[str, Any]) -> str:
    """Format a submission for a terminal: the job, its log, and how to watch and cancel it."""
    number, jobs = document["job"], len(document["jobs"])
    rows = {
        "job": f"{number}, {jobs} jobs" if jobs > 1 else number,
        "command": " ".join(document["command"]),
        "log": document["jobs"][0]["stderr"],
        "watch": document["watch"],
        "cancel": document["cancel"],
    }
    return "\n".join(f"{key:8} {escaped(value)}" for key, value in rows.items())


def build_request(arguments: argparse.Namespace, overrides: list[str]) -> "JobRequest":
    """Build the request for a scheduler. Raises ConfigError if it or its config is wrong."""
    from cnn_archs.launch.job import JobRequest

    if bool(arguments.config) == bool(arguments.sweep):
        raise ConfigError("submit needs either --config=EXPERIMENT or --sweep=SWEEP")
    check_at_least(1, jobs=arguments.jobs, nodes=arguments.nodes)
    check_at_least(
        0,
        gpus_per_node=arguments.gpus_per_node,
        seeds=arguments.seeds,
        processes=arguments.processes,
    )
    hours = HOURS if arguments.hours is None else arguments.hours
    if not SAVING_HOURS <= hours < YEAR_HOURS:
        raise ConfigError(
            f"--hours={hours}: must be between two minutes, which saving takes, and a year"
        )
    what = arguments.sweep or arguments.config
    workdir = Path(arguments.workdir or default_workdir(what)).absolute()
    check_words(arguments, workdir, overrides)
    if arguments.sweep:
        check_sweep(arguments, workdir, overrides)
        command = ["sweep"]
    else:
        check_experiment(arguments, workdir, overrides)
        command = ["train"]
    command += [f"--config={what}", f"--workdir={workdir}"]
    if arguments.cells:
        command.append(f"--cells={arguments.cells}")
    if arguments.seeds:
        command.append(f"--seeds={arguments.seeds}")
    if arguments.processes:
        command.append(f"--processes={arguments.processes}")
    if arguments.accept_changed_data:
        command.append("--accept_changed_data")
    return JobRequest(
        name=workdir.name,
        command=(*command, *(f"--config.{override}" for override in overrides)),
        workdir=workdir,
        parts=arguments.jobs,
        nodes=arguments.nodes,
        gpus_per_node=arguments.gpus_per_node,
        hours=hours,
    )


def check_words(arguments: argparse.Namespace, workdir: Path, overrides: list[str]) -> None:
    """Raise ConfigError for a word of the command with a character that would end its line.

    In a job's script what follows it would be a command of its own.
    """
    flags = {flag: getattr(arguments, flag) for flag in ("config", "sweep", "cells")}
    words = {f"--{flag}={value}": value for flag, value in flags.items() if value}
    words |= {f"--workdir={workdir}": str(workdir)}
    words |= {f"--config.{override}": override for override in overrides}
    words |= {f"--slurm.{option}": option for option in arguments.slurm}
    words |= {
        f"--{flag}={value}": value
        for flag in CLUSTERS["kubernetes"]
        if (value := getattr(arguments, flag))
    }
    if arguments.cluster == "slurm" and "%" in str(workdir):
        raise ConfigError(
            f"--workdir={workdir}: SLURM takes % in the names of its logs for a pattern; use a "
            "folder without %"
        )
    for word, value in words.items():
        if escaped(value) != value:
            raise ConfigError(f"submit: {word} contains a character that cannot be printed")


def check_experiment(arguments: argparse.Namespace, workdir: Path, overrides: list[str]) -> None:
    """Raise ConfigError if the run of an experiment could not start or resume in `workdir`."""
    from cnn_archs import config as configs
    from cnn_archs.run_dir import RunDir

    for flag, default in (("jobs", 1), ("cells", ""), ("seeds", 0), ("processes", 0)):
        if getattr(arguments, flag) != default:
            raise ConfigError(f"--{flag} is for a sweep: give --sweep=SWEEP instead of --config")
    config = configs.load_config(arguments.config, overrides)
    folder = RunDir(workdir)
    if folder.has_checkpoints():
        from cnn_archs.training import run_start

        run_start.check_config(folder, configs.to_plain_dict(config))


def check_sweep(arguments: argparse.Namespace, workdir: Path, overrides: list[str]) -> None:
    """Raise ConfigError if the sweep could not start in `workdir`, or has nothing left to train."""
    from cnn_archs.sweeps import grid, scheduler

    if arguments.nodes != 1:
        raise ConfigError("--nodes: each job of a sweep runs on one node; use --jobs=N for more")
    stated = scheduler.load_with_seeds(arguments.sweep, arguments.seeds)
    found = grid.list_cells(stated, workdir, overrides, split_names(arguments.cells))
    finished = [cell.is_done() for cell in found]  # raises if a cell holds another config's run
    if all(finished):
        raise ConfigError(f"{workdir}: all {len(found)} cells are trained")
    if arguments.jobs > len(found):
        raise ConfigError(f"--jobs={arguments.jobs}: the sweep has {len(found)} cells")


def parse_slurm_options(arguments: argparse.Namespace) -> dict[str, str | bool]:
    """Parse --slurm.OPTION=VALUE -> {option of sbatch: value, or True for one without}."""
    options: dict[str, str | bool] = {}
    for option in arguments.slurm:
        key, equals, value = option.partition("=")
        key = key.replace("_", "-")
        if not re.fullmatch("[a-z][a-z0-9-]*", key):
            raise ConfigError(
                f"--slurm.{option}: write --slurm.OPTION=VALUE, OPTION as in sbatch --OPTION"
            )
        options[key] = value if equals else True
    return options
