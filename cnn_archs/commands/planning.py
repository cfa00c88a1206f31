"""The command that estimates the cost of a run before it is made."""

import argparse
from pathlib import Path

from cnn_archs.commands.shared import Declare, check_at_least, emit, require_run, user_path
from cnn_archs.errors import ConfigError


def declare(command: Declare) -> None:
    c = command(
        plan,
        config="default",
        examples=(
            "cnn-archs plan --config=lenet5_mnist",
            "cnn-archs plan --config=vgg_imagenet:E --devices=8 --kind=h100 --cores=96",
            "cnn-archs plan --config=resnet_cifar10:56 --kind=h200 --results=runs",
        ),
    )
    c.add_argument(
        "--devices",
        type=int,
        default=1,
        metavar="N",
        help="number of devices (default: %(default)s)",
    )
    c.add_argument(
        "--kind",
        default="cpu",
        help="device type: v100, a100, h100, h200, l4, v4, v5e, v5p, v6e, or cpu for machines like "
        "this one (default: %(default)s)",
    )
    c.add_argument(
        "--cores",
        type=int,
        default=0,
        metavar="N",
        help="CPU cores per host for decoding (default: those of this machine)",
    )
    c.add_argument(
        "--workdir",
        type=user_path,
        metavar="DIR",
        help="finished run whose measured speed is used as well",
    )
    c.add_argument(
        "--results",
        type=user_path,
        metavar="DIR",
        help="folder of finished runs, or of copies of their results, whose speeds are used "
        "as well",
    )


def plan(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Estimate a training run's steps, memory, data volume and time, and what limits its speed."""
    check_at_least(1, devices=arguments.devices)
    check_at_least(0, cores=arguments.cores)
    workdir = require_run(Path(arguments.workdir)) if arguments.workdir else None
    if arguments.results and not Path(arguments.results).is_dir():
        raise ConfigError(f"--results={arguments.results}: there is no such folder")

    from cnn_archs.claims import verdicts
    from cnn_archs.planning import devices, plan, plan_text, xla_memory

    xla_memory.simulate_devices(arguments.devices)  # must come before jax makes its devices
    from cnn_archs import config as configs
    from cnn_archs.data.loading.threads import cores
    from cnn_archs.experiment import resolve
    from cnn_archs.result_files import list_results
    from cnn_archs.run_dir import RunDir
    from cnn_archs.runtime.console import print_notes

    experiment = resolve(configs.load_config(arguments.config, overrides))
    print_notes(experiment.dataset.notes())
    kind = devices.find_device(arguments.kind)
    files = list_results(verdicts.RESULTS)
    if arguments.results:
        files = [*list_results(Path(arguments.results)), *files]
    if workdir and RunDir(workdir).has_result():
        files.insert(0, RunDir(workdir).result_file)
    found = plan.make_plan(experiment, kind, arguments.cores or cores(), files)
    emit(arguments, found, plan_text.format_plan(found))
