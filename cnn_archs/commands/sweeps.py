"""The command that trains a sweep, or prints what it would cost."""

import argparse
import os
from pathlib import Path

from cnn_archs.commands.shared import (
    Declare,
    declare_changed_data,
    default_workdir,
    emit,
    split_names,
    user_path,
)
from cnn_archs.errors import ConfigError


def declare(command: Declare) -> None:
    c = command(
        sweep,
        config="sweep",
        examples=(
            "cnn-archs sweep --config=degradation --workdir=runs/degradation --dry_run",
            "cnn-archs sweep --config=depth:quick --seeds=3 --config.log_every=50",
            "cnn-archs sweep --config=degradation --workdir=/shared/degradation --part=0/4",
            "cnn-archs sweep --config=depth --workdir=runs/depth --processes=4",
        ),
        notes="An override changes every cell. Cell CELL with seed K is the run DIR/CELL/seedK, "
        "and DIR/CELL/result.json has the results of all its seeds.",
    )
    c.add_argument(
        "--workdir",
        type=user_path,
        metavar="DIR",
        help="directory of the sweep (default: runs/SWEEP)",
    )
    c.add_argument(
        "--cells", default="", metavar="A,B", help="train these cells only, in this order"
    )
    c.add_argument(
        "--seeds",
        type=int,
        default=0,
        metavar="N",
        help="number of seeds of each cell (default: as the sweep says)",
    )
    c.add_argument(
        "--processes",
        type=int,
        default=0,
        metavar="N",
        help="number of processes, each training one cell or several at a time "
        "(default: one per accelerator or CPU core); more than there are GPUs share them and their "
        "memory",
    )
    c.add_argument(
        "--part",
        default="0/1",
        metavar="I/N",
        help="train the share of machine I, from 0, of N machines that share the directory",
    )
    declare_changed_data(c)
    c.add_argument(
        "--retry_failed",
        action="store_true",
        help="try cells again that have failed twice, as if they had not",
    )
    c.add_argument(
        "--dry_run", action="store_true", help="print the cells and their estimated cost only"
    )


def sweep(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Train the missing cells of a sweep, a grid of experiments, several at a time."""
    folder = Path(arguments.workdir or default_workdir(arguments.config))
    if arguments.dry_run:
        return print_sweep_costs(arguments, folder, overrides)

    from cnn_archs.report import text as report
    from cnn_archs.runtime.files import write_errors
    from cnn_archs.sweeps import scheduler

    with write_errors(folder):
        done = scheduler.train_sweep(
            arguments.config,
            folder,
            overrides=overrides,
            only=split_names(arguments.cells),
            seeds=arguments.seeds,
            processes=arguments.processes,
            part=parse_part(arguments.part),
            accept_changed_data=arguments.accept_changed_data,
            retry_failed=arguments.retry_failed,
        )
    emit(arguments, done, report.cells_table(done))


def parse_part(text: str) -> tuple[int, int]:
    """Parse `I/N` -> (I, N). Raises ConfigError unless I is from 0 to N - 1."""
    i, _, n = text.partition("/")
    if not (i.isdigit() and n.isdigit() and int(i) < int(n)):
        raise ConfigError(f"--part={text}: wanted I/N, I from 0 to N - 1")
    return int(i), int(n)


def print_sweep_costs(arguments: argparse.Namespace, folder: Path, overrides: list[str]) -> None:
    """Print the cells of a sweep: their sizes, their estimated time, and how many are done."""
    from cnn_archs.sweeps import scheduler

    device = scheduler.probe().device
    os.environ["JAX_PLATFORMS"] = "cpu"  # sizes are only traced, which needs no accelerator
    from cnn_archs.claims import verdicts
    from cnn_archs.experiment import resolve_settings
    from cnn_archs.planning import sweep_cost
    from cnn_archs.result_files import list_results
    from cnn_archs.sweep_dir import SweepDir
    from cnn_archs.sweeps import grid

    stated = scheduler.load_with_seeds(arguments.config, arguments.seeds)
    found = grid.list_cells(stated, folder, overrides, split_names(arguments.cells))
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
