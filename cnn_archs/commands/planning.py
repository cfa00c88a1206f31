"""Commands before a run: what it would cost."""

import argparse
from pathlib import Path

from cnn_archs.commands.shared import Declare, emit, run_in
from cnn_archs.errors import ConfigError


def declare(command: Declare) -> None:
    c = command(plan, "config")
    c.add_argument("--devices", type=int, default=1, metavar="N", help="(default: %(default)s)")
    c.add_argument(
        "--kind",
        default="cpu",
        help="of the devices: v100, a100, h100, h200, l4, v4, v5e, v5p, v6e; or cpu: machines like "
        "this one (default)",
    )
    c.add_argument(
        "--cores",
        type=int,
        default=0,
        metavar="N",
        help="of each host, to decode with (default: as many as here)",
    )
    c.add_argument("--workdir", metavar="DIR", help="a finished run, to measure by as well")


def plan(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Prints what a training would cost: steps, bytes, memory, time, and what limits it."""
    for flag in ("devices", "cores"):
        if getattr(arguments, flag) < (flag == "devices"):
            raise ConfigError(f"--{flag}={getattr(arguments, flag)}: must be at least 1")
    workdir = run_in(Path(arguments.workdir)) if arguments.workdir else None

    from cnn_archs.claims import verdicts
    from cnn_archs.planning import devices, plan, plan_text, xla_memory

    xla_memory.simulate_devices(arguments.devices)  # before anything asks jax for a device
    from cnn_archs import config as configs
    from cnn_archs.data.loading.threads import cores
    from cnn_archs.experiment import resolve
    from cnn_archs.run_dir import RunDir, list_results

    experiment = resolve(configs.load_config(arguments.config, overrides))
    kind = devices.find_device(arguments.kind)
    files = list_results(verdicts.RESULTS)
    if workdir and RunDir(workdir).has_result():
        files.insert(0, RunDir(workdir).result_file)
    found = plan.make_plan(experiment, kind, arguments.cores or cores(), files)
    emit(arguments, found, plan_text.format_plan(found))
