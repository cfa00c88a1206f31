"""Run one process of a sweep, which trains cells together and ends when the scheduler ends.

The scheduler writes one line of JSON to its standard input and keeps that open: {command, cpus (to
run on; []: all), accept_changed_data, cells: [{experiment, overrides, workdir, after}]}.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cnn_archs import config as configs
from cnn_archs.errors import NotFinite, UserError
from cnn_archs.run_dir import RunDir
from cnn_archs.runtime.console import print_status
from cnn_archs.runtime.files import write_errors
from cnn_archs.runtime.signals import end_with_parent, stop_requests


def run_worker() -> int:
    """Train the cells that standard input lists, and return an exit code as `train` does."""
    order = json.loads(sys.stdin.readline())
    end_with_parent()
    sys.argv = order["command"]  # for environment.json
    if order["cpus"] and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, order["cpus"])
    try:
        with write_errors(Path(order["cells"][0]["workdir"])):
            train_cells(order["cells"], order["accept_changed_data"])
    except UserError as e:
        print_status(f"error: {e}")
        return e.code
    return 0


def train_cells(cells: list[Mapping[str, Any]], accept_changed_data: bool = False) -> None:
    """Train the cells together, and run the evaluations that each asks for.

    accept_changed_data: see `training.loop.train`. A loss that is not finite ends only its own
    cell; the others resume from their checkpoints. Raises NotFinite at the end if
    there was such a cell.
    """
    from cnn_archs.experiment import start_experiment
    from cnn_archs.report import learning_curves
    from cnn_archs.training import data_check, loop
    from cnn_archs.visualize import pictures

    broken: NotFinite | None = None
    with stop_requests():
        left = []
        for c in cells:
            config = configs.load_config(c["experiment"], c["overrides"])
            recorded = data_check.record_to_resume(Path(c["workdir"]), config)
            experiment = start_experiment(config, recorded, source=c["experiment"])
            left.append((experiment, Path(c["workdir"])))
        while left:
            try:
                with stop_requests() as stop:  # again: jax's start may have replaced the handlers
                    loop.train_together(left, stop=stop, accept_changed_data=accept_changed_data)
                break
            except NotFinite as e:
                broken = e.with_traceback(None)  # the traceback holds the run and its arrays
                left = [part for i, part in enumerate(left) if i not in e.parts]
    trained = {workdir for _, workdir in left}
    for cell in cells:
        if Path(cell["workdir"]) in trained:
            workdir = Path(cell["workdir"])
            if not RunDir(workdir).has_curves_of_result():
                learning_curves.write_curves_png(workdir)
            pictures.write_filters(workdir)
            for name in cell["after"]:
                RunDir(workdir).write_evaluation(name, find_evaluation(name)(workdir))
    if broken:
        raise broken


def find_evaluation(name: str) -> Callable[[Path], dict[str, Any]]:
    """Return one of `sweep_file.EVALUATIONS`, a function from a workdir to its findings."""
    from cnn_archs.evaluate import robustness

    return {"robustness": robustness.measure_robustness}[name]
