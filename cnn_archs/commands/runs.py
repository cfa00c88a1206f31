"""Commands of runs: to make one, and to ask one."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from cnn_archs.commands.shared import (
    Declare,
    check_output,
    default_workdir,
    emit,
    names_of,
    workdir_of,
    workdirs_of,
)
from cnn_archs.errors import ConfigError


def declare(command: Declare) -> None:
    c = command(train, "config", "workdir")
    c.add_argument(
        "--processes", type=int, default=0, metavar="N", help="train in N processes on this machine"
    )
    c.add_argument(
        "--coordinator", default="", metavar="HOST:PORT", help="of the first of several processes"
    )
    c.add_argument("--num_processes", type=int, default=0, metavar="N", help="how many there are")
    c.add_argument("--process_id", type=int, default=-1, metavar="I", help="of this one, from 0")
    c = command(sweep, "workdir")
    c.add_argument(
        "--config",
        required=True,
        metavar="SWEEP",
        help="experiments/sweeps/x.py[:argument], or the name of an installed one",
    )
    c.add_argument(
        "--cells", default="", metavar="A,B", help="these alone, in this order (default: all)"
    )
    c.add_argument("--seeds", type=int, default=0, help="of each cell (default: the sweep's own)")
    c.add_argument(
        "--processes",
        type=int,
        default=0,
        metavar="N",
        help="cells at once (default: one on each device or core)",
    )
    c.add_argument(
        "--part",
        default="0/1",
        metavar="I/N",
        help="of N machines with one --workdir, this is the Ith, from 0",
    )
    c.add_argument(
        "--dry_run", action="store_true", help="print the cells and what they would cost"
    )
    c = command(evaluate)
    c.add_argument("--workdir", metavar="DIR[,DIR]", help="folder of the run; several: an ensemble")
    c.add_argument(
        "--protocol",
        default="single",
        help="views of each image: single (default), mirror, ten_crop, grid_50, grid_150, "
        "grid_144, dense, multi_scale, dense+grid_150",
    )
    c.add_argument("--split", default="test", help="test, train or val (default: test)")
    c.add_argument(
        "--precise_stats",
        type=int,
        default=0,
        metavar="N",
        help="first recompute batch statistics over N training images",
    )
    c.add_argument(
        "--robustness",
        action="store_true",
        help="instead: error against how far test images are moved; robustness.json",
    )
    c = command(predict, "workdir", forms=("text", "json", "csv"))
    c.add_argument("images", nargs="+", metavar="IMAGE", help="image files, or folders of them")
    c.add_argument("--sheet", metavar="FILE", help="a PNG of the images with their classes")
    c = command(figures, "workdir")
    c.add_argument("--image", metavar="FILE", help="whose feature maps (default: a test image)")


def train(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Trains an experiment, or goes on where it was stopped; ends with a full evaluation."""
    from cnn_archs import config as configs

    config = configs.load_config(arguments.config, overrides)
    workdir = Path(arguments.workdir or default_workdir(arguments.config))
    if arguments.processes:
        sys.exit(in_processes(arguments))

    from cnn_archs.distributed import multihost
    from cnn_archs.experiment import start_experiment
    from cnn_archs.report import text as report
    from cnn_archs.runtime.files import write_errors
    from cnn_archs.runtime.signals import ENDS_WITH_STDIN, end_with_parent, stop_requests
    from cnn_archs.training import loop

    if os.environ.get(ENDS_WITH_STDIN):
        end_with_parent()
    multihost.initialize(arguments.coordinator, arguments.num_processes, arguments.process_id)
    with multihost.exit_on_error(), write_errors(workdir):
        with stop_requests():
            result = loop.train(start_experiment(config), workdir)
        if not multihost.is_primary():
            return
        # matplotlib takes half a second: not before a step.
        from cnn_archs.report import learning_curves

        learning_curves.write_curves_png(workdir)
    emit(arguments, result, report.result_table(result) + "\n\n" + report.files_table(workdir))


def in_processes(arguments: argparse.Namespace) -> int:
    """`train --processes`: this command without that flag, several times -> the exit code."""
    from cnn_archs.launch import local

    if arguments.coordinator or arguments.num_processes or arguments.process_id >= 0:
        raise ConfigError("--processes starts all of them here: no --coordinator or --process_id")
    flags = [a for a in arguments.argv if not a.startswith("--processes=")]
    if len(flags) == len(arguments.argv):
        at = flags.index("--processes")
        del flags[at : at + 2]
    return local.run_processes(flags, arguments.processes)


def sweep(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Trains what is missing of a grid of experiments, several at once; stopped, it goes on."""
    folder = Path(arguments.workdir or default_workdir(arguments.config))
    if arguments.dry_run:
        return dry_run(arguments, folder, overrides)

    from cnn_archs.report import text as report
    from cnn_archs.runtime.files import write_errors
    from cnn_archs.sweeps import scheduler

    with write_errors(folder):
        done = scheduler.train_sweep(
            arguments.config,
            folder,
            overrides=overrides,
            only=names_of(arguments.cells),
            seeds=arguments.seeds,
            processes=arguments.processes,
            part=part_of(arguments.part),
        )
    emit(arguments, done, report.cells_table(done))


def part_of(text: str) -> tuple[int, int]:
    """(i, n) of `i/n`."""
    i, _, n = text.partition("/")
    if not (i.isdigit() and n.isdigit() and int(i) < int(n)):
        raise ConfigError(f"--part={text}: wanted I/N, I from 0 to N - 1")
    return int(i), int(n)


def dry_run(arguments: argparse.Namespace, folder: Path, overrides: list[str]) -> None:
    """Prints a sweep's cells: their sizes, what they would take, what is done of them."""
    from cnn_archs.sweeps import scheduler

    device = scheduler.probe().device
    os.environ["JAX_PLATFORMS"] = "cpu"  # sizes are traced: no accelerator is wanted for that
    from cnn_archs.claims import verdicts
    from cnn_archs.experiment import resolve_settings
    from cnn_archs.planning import sweep_cost
    from cnn_archs.run_dir import list_results
    from cnn_archs.sweep_dir import SweepDir
    from cnn_archs.sweeps import grid

    stated = scheduler.load_with_seeds(arguments.config, arguments.seeds)
    found = grid.list_cells(stated, folder, overrides, names_of(arguments.cells))
    files = [*list_results(verdicts.RESULTS), *SweepDir(folder).result_files()]
    known = sweep_cost.measured_speeds(files, device)
    by_name: dict[str, list[grid.SweepCell]] = {}
    for cell in found:
        by_name.setdefault(cell.name, []).append(cell)
    rows = []
    for name, cells in by_name.items():
        one = resolve_settings(cells[0].load_config())
        cost = sweep_cost.training_cost(
            one.model, one.image_shape, grid.training_steps(cells[0]), one.recipe.batch_size, known
        )
        rows.append((name, len(cells), cost, grid.describe_progress(cells)))
    emit(arguments, sweep_cost.cost_document(rows), sweep_cost.cost_table(rows, device))


def evaluate(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Evaluates the networks of workdirs, alone or as an ensemble, under a named protocol."""
    workdirs = workdirs_of(arguments)
    if arguments.precise_stats < 0:
        raise ConfigError(f"--precise_stats={arguments.precise_stats}: must be at least 1")
    if arguments.robustness:
        return robustness(arguments, workdirs)

    from cnn_archs.evaluate import runs
    from cnn_archs.report import text as report

    result = runs.evaluate_runs(
        workdirs, arguments.protocol, arguments.split, arguments.precise_stats
    )
    emit(arguments, result, report.result_table(result))


def robustness(arguments: argparse.Namespace, workdirs: Sequence[Path]) -> None:
    """`evaluate --robustness`: of one run, under the protocol `single` of its test images."""
    asked = (arguments.protocol, arguments.split, arguments.precise_stats)
    if len(workdirs) > 1 or asked != ("single", "test", 0):
        raise ConfigError(
            "--robustness is of one run and the protocol single: no other --workdir, --protocol, "
            "--split or --precise_stats with it"
        )
    from cnn_archs.evaluate import robustness
    from cnn_archs.report import text as report
    from cnn_archs.run_dir import RunDir
    from cnn_archs.runtime.files import write_errors

    with write_errors(workdirs[0]):
        found = robustness.measure_robustness(workdirs[0])
        RunDir(workdirs[0]).write_evaluation("robustness", found)
    emit(arguments, found, report.robustness_table(found))


def predict(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Prints the most probable classes of image files."""
    missing = [f for f in arguments.images if not Path(f).exists()]
    if missing:
        raise ConfigError(f"there is no file {missing[0]}")
    if arguments.sheet:
        check_output(Path(arguments.sheet), "--sheet")
    from cnn_archs.data.datasets import image_folder
    from cnn_archs.evaluate import predict

    found: list[tuple[str, str]] = []
    for f in arguments.images:
        found += image_folder.unlabeled(f) if Path(f).is_dir() else [(Path(f).stem, f)]
    run = predict.load_predictor(workdir_of(arguments))
    predictions = predict.predict_files(run, [Path(path) for _, path in found])
    if arguments.sheet:
        from cnn_archs.runtime.files import write_errors
        from cnn_archs.visualize import pictures

        sheet = Path(arguments.sheet)
        with write_errors(sheet.parent):
            pictures.write_predictions(run, predictions, sheet)
    if arguments.format == "csv":  # as Kaggle's competitions take it
        rows = zip((name for name, _ in found), predictions, strict=True)
        print("id,label", *(f"{name},{p['top'][0]['label']}" for name, p in rows), sep="\n")
        return
    lines = [
        f"{p['file']}: "
        + ", ".join(f"{t['class']} {100 * t['probability']:.1f} %" for t in p["top"])
        for p in predictions
    ]
    emit(arguments, predictions, "\n".join(lines))


def figures(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Draws a run's filters, confusions, mistakes and feature maps."""
    workdir = workdir_of(arguments)
    if arguments.image and not Path(arguments.image).is_file():
        raise ConfigError(f"there is no file {arguments.image}")

    from cnn_archs.report.table import Table
    from cnn_archs.runtime.files import write_errors
    from cnn_archs.visualize import pictures

    with write_errors(workdir):
        done = pictures.write_figures(workdir, Path(arguments.image) if arguments.image else None)
    emit(arguments, done, Table((), list(done.items()), words=(0, 1)).text())
