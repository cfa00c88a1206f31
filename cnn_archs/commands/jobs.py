"""The command of clusters: to hand a run or a sweep to a scheduler."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnn_archs.commands.shared import Declare, default_workdir, emit, names_of
from cnn_archs.errors import ConfigError

if TYPE_CHECKING:
    from cnn_archs.launch.job import JobRequest

CLUSTERS = {"slurm": ("hours", "dry_run", "slurm"), "kubernetes": ("image", "volume")}


def declare(command: Declare) -> None:
    c = command(submit, "named_config", "workdir")
    c.add_argument("--sweep", metavar="SWEEP", help="instead of an experiment, as sweep --config")
    c.add_argument("--cells", default="", metavar="A,B", help="of a sweep, as sweep --cells")
    c.add_argument("--seeds", type=int, default=0, help="of a sweep's cells, as sweep --seeds")
    c.add_argument(
        "--jobs",
        type=int,
        default=1,
        metavar="N",
        help="of a sweep: an array of so many, each a --part of it (default: %(default)s)",
    )
    c.add_argument("--nodes", type=int, default=1, metavar="N", help="of an experiment")
    c.add_argument("--gpus_per_node", type=int, default=0, metavar="N", help="(default: none)")
    c.add_argument(
        "--cluster",
        choices=CLUSTERS,
        default="slurm",
        help="kubernetes: print a JobSet, for kubectl apply -f - (default: %(default)s)",
    )
    c.add_argument(
        "--hours",
        type=float,
        help="SLURM: limit of each start of a job, which saves before and goes on (default: 24)",
    )
    c.add_argument("--dry_run", action="store_true", help="SLURM: print the script for sbatch")
    c.add_argument("--image", metavar="IMAGE", help="Kubernetes: with cnn-archs in it")
    c.add_argument("--volume", metavar="CLAIM", help="Kubernetes: mounted at the workdir's parent")
    c.set_defaults(slurm=[], compiles=False)  # a node keeps its programs, by its own processor
    c.epilog = (
        f"any option of sbatch is a flag too:  --slurm.partition=gpu --slurm.exclusive\n{c.epilog}"
    )


def submit(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Hands a run, or a sweep as an array of jobs, to a scheduler; stopped, they go on again."""
    for cluster, flags in CLUSTERS.items():
        given = [flag for flag in flags if getattr(arguments, flag)]
        if given and cluster != arguments.cluster:
            raise ConfigError(f"--{given[0]} is for --cluster={cluster}")
    request = request_of(arguments, overrides)
    if arguments.cluster == "kubernetes":
        return to_kubernetes(arguments, request)

    from cnn_archs.launch import slurm

    options = options_of(arguments)
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
    emit(arguments, document, text_of(document))


def to_kubernetes(arguments: argparse.Namespace, request: "JobRequest") -> None:
    """`submit --cluster=kubernetes`: the manifest, on stdout."""
    from cnn_archs.launch import kubernetes

    for flag in CLUSTERS["kubernetes"]:
        if not getattr(arguments, flag):
            raise ConfigError(f"--cluster=kubernetes needs --{flag}; see submit --help")
    if not Path(arguments.workdir or "").is_absolute():
        raise ConfigError("--workdir: as a pod sees it, absolute: --volume is mounted above it")
    manifest = kubernetes.manifest(request, arguments.image, arguments.volume)
    emit(arguments, manifest, kubernetes.manifest_yaml(manifest))


def text_of(document: dict[str, Any]) -> str:
    """Of submitted jobs, for a person."""
    several = f", {len(document['jobs'])} jobs" * (len(document["jobs"]) > 1)
    rows = {
        "job": document["job"] + several,
        "command": " ".join(document["command"]),
        "log": document["jobs"][0]["stderr"],
        "watch": document["watch"],
        "cancel": document["cancel"],
    }
    return "\n".join(f"{key:8} {value}" for key, value in rows.items())


def request_of(arguments: argparse.Namespace, overrides: list[str]) -> "JobRequest":
    """What a command line asks for, with its config checked."""
    from cnn_archs.launch.job import JobRequest

    if bool(arguments.config) == bool(arguments.sweep):
        raise ConfigError("submit: what? --config=EXPERIMENT, or --sweep=SWEEP")
    for flag, least in {"jobs": 1, "nodes": 1, "gpus_per_node": 0, "seeds": 0}.items():
        if getattr(arguments, flag) < least:
            raise ConfigError(f"--{flag}={getattr(arguments, flag)}: must be at least {least}")
    hours = 24.0 if arguments.hours is None else arguments.hours
    if not 2 / 60 <= hours < 8784:
        raise ConfigError(f"--hours={hours}: from two minutes, to save in, to a year")
    what = arguments.sweep or arguments.config
    workdir = Path(arguments.workdir or default_workdir(what)).absolute()
    checked = check_sweep if arguments.sweep else check_experiment
    checked(arguments, workdir, overrides)
    command = ["sweep" if arguments.sweep else "train", f"--config={what}", f"--workdir={workdir}"]
    command += [f"--cells={arguments.cells}"] * bool(arguments.cells)
    command += [f"--seeds={arguments.seeds}"] * bool(arguments.seeds)
    return JobRequest(
        name=workdir.name,
        command=(*command, *(f"--config.{o}" for o in overrides)),
        workdir=workdir,
        parts=arguments.jobs,
        nodes=arguments.nodes,
        gpus_per_node=arguments.gpus_per_node,
        hours=hours,
    )


def check_experiment(arguments: argparse.Namespace, workdir: Path, overrides: list[str]) -> None:
    """What would be wrong with a run."""
    from cnn_archs import config as configs
    from cnn_archs.run_dir import RunDir

    for flag, none in (("jobs", 1), ("cells", ""), ("seeds", 0)):
        if getattr(arguments, flag) != none:
            raise ConfigError(f"--{flag} is of a sweep: --sweep=SWEEP instead of --config")
    config = configs.load_config(arguments.config, overrides)
    folder = RunDir(workdir)
    if folder.has_checkpoints():
        from cnn_archs.training import loop

        loop.check_config(folder, configs.to_plain_dict(config))


def check_sweep(arguments: argparse.Namespace, workdir: Path, overrides: list[str]) -> None:
    """What would be wrong with a sweep."""
    from cnn_archs.sweeps import grid, scheduler

    if arguments.nodes != 1:
        raise ConfigError("--nodes: each job of a sweep has one; more of them are --jobs=N")
    stated = scheduler.load_with_seeds(arguments.sweep, arguments.seeds)
    found = grid.list_cells(stated, workdir, overrides, names_of(arguments.cells))
    if all([cell.is_done() for cell in found]):  # each of them is asked: it may be another's
        raise ConfigError(f"{workdir}: all {len(found)} cells are trained")
    if arguments.jobs > len(found):
        raise ConfigError(f"--jobs={arguments.jobs}: the sweep has {len(found)} cells")


def options_of(arguments: argparse.Namespace) -> dict[str, str | bool]:
    """{key: value} of --slurm.key=value; True without a value."""
    pairs = (option.partition("=") for option in arguments.slurm)
    return {key.replace("_", "-"): value if equals else True for key, equals, value in pairs}
