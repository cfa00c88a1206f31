"""Train the cells of a sweep in processes, as many at once as there are devices or cores.

The processes run `worker.py`. This process waits for them and never uses a device.
"""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cnn_archs.arithmetic import ceil_div
from cnn_archs.errors import CellsFailed, Stopped
from cnn_archs.launch.device_probe import probe
from cnn_archs.run_dir import RunDir
from cnn_archs.runtime.console import counted, print_status
from cnn_archs.runtime.files import lock
from cnn_archs.runtime.own_process import process_command
from cnn_archs.runtime.signals import ENDS_WITH_STDIN, StopRequest, stop_requests
from cnn_archs.sweep_dir import SweepDir
from cnn_archs.sweeps import grid
from cnn_archs.sweeps.grid import SweepCell
from cnn_archs.sweeps.slots import Slot, make_slots
from cnn_archs.sweeps.sweep_file import load_sweep

SECONDS_PER_REPORT = 10.0  # between two reports of progress
STOP_SECONDS = 600.0  # time for processes to save after they are told to stop
WORKER = process_command("cnn_archs.sweeps.worker:run_worker")


@dataclasses.dataclass
class Process:
    """A process that trains cells. output: the file of its stdout and stderr."""

    cells: list[SweepCell]
    slot: Slot
    popen: subprocess.Popen[str]
    output: Path

    def wait(self) -> int:
        """Wait until the process has ended, and return its exit code."""
        with self.popen as popen:  # closes its standard input
            return popen.wait()


def train_sweep(
    file: str,
    folder: Path,
    *,
    overrides: Sequence[str] = (),
    only: Sequence[str] = (),
    seeds: int = 0,
    processes: int = 0,
    part: tuple[int, int] = (0, 1),
    accept_changed_data: bool = False,
    retry_failed: bool = False,
) -> dict[str, dict[str, Any]]:
    """Train the unfinished cells of the sweep `file` in `folder`; return {cell: merged result}.

    only: the names of the cells to train, in this order; empty: all. seeds: the number of seeds
    per cell; 0: the number in the file. processes: how many to run at once; 0: one per device, or
    one per core on a CPU. part: (i, n) selects every nth group of cells from the ith on, for n
    machines that share one folder. accept_changed_data: see `training.loop.train`.
    retry_failed: try cells again that have failed before, as if they had not. Raises ConfigError,
    DataError if images are missing, Stopped after a signal, and CellsFailed.
    """
    stated = load_with_seeds(file, seeds)
    found = grid.list_cells(stated, folder, overrides, only)
    folder.mkdir(parents=True, exist_ok=True)
    files = SweepDir(folder)
    with stop_requests() as stop, files.lock(*part):
        check_parts(files, part[1])
        files.write_spec(grid.sweep_record(stated, overrides, found, files))
        untried = [cell for cell in found if retry_failed or not cell.has_failed()]
        left = [cell for cell in untried if not cell.is_done()]
        missing = {str(cell) for cell in left}
        each = (
            f"{counted(len({cell.name for cell in found}), 'cell')} with "
            f"{counted(len({cell.seed for cell in found}), 'seed')} each"
        )
        print_status(f"{stated['title']}: {each}; {counted(len(missing), 'network')} to train")
        grid.check_data(left)
        if missing:
            machine = probe()
            slots = make_slots(machine, processes)
            # An accelerator trains seeds and learning rates together; a core is busy with one.
            on_cpu = machine.backend == "cpu"
            units = (
                [[c] for c in found]
                if on_cpu
                else grid.group_by_program(found, cells_per_group(found, part[1]))
            )
            ours = [c for unit in units[part[0] :: part[1]] for c in unit if str(c) in missing]
            for cell in ours if retry_failed else ():
                cell.run.remove_failure()
            groups = [[c] for c in ours]
            if not on_cpu:
                most = cells_per_group(ours, len(slots))
                groups = [
                    g
                    for level in grid.group_by_step(ours)
                    for g in grid.group_by_program(level, most)
                ]
            Scheduler(groups, slots, stop, accept_changed_data).run()
        done = grid.write_merged_results(files, found)
    failed = [cell for cell in found if cell.has_failed() and not cell.is_done()]
    if failed:
        errors = "; ".join(f"{cell}: {failure_message(cell.run)}" for cell in failed)
        raise CellsFailed(
            f"{counted(len(failed), 'network')} failed twice; add --retry_failed to try again: "
            f"{errors}"
        )
    return done


def cells_per_group(cells: Sequence[SweepCell], count: int) -> int:
    """Return the number of cells per group if `count` groups share them, rounded up."""
    return max(1, ceil_div(len(cells), count))


def check_parts(files: SweepDir, count: int) -> None:
    """Raise ConfigError if a process trains this sweep in a number of parts other than `count`."""
    for path in files.other_locks(count):
        with lock(path):
            pass


def load_with_seeds(file: str, seeds: int) -> dict[str, Any]:
    """Load a sweep file, with `seeds` in place of its number of seeds unless that is 0."""
    stated = load_sweep(file)
    return {**stated, "seeds": seeds} if seeds else stated


class Scheduler:
    """Runs the processes of a sweep.

    groups: the cells that each process trains together. accept_changed_data: see `train_sweep`.
    """

    def __init__(
        self,
        groups: list[list[SweepCell]],
        slots: Sequence[Slot],
        stop: StopRequest,
        accept_changed_data: bool = False,
    ):
        self.accept_changed_data = accept_changed_data
        self.groups, self.free = groups, list(slots)
        self.total = sum(map(len, groups))
        self.stop = stop
        self.running: list[Process] = []
        self.ended = 0
        self.last_report = time.monotonic()
        self.reported: dict[str, str] = {}

    def run(self) -> None:
        """Train all groups. Raises Stopped after a signal, once the processes have saved."""
        with self.kill_on_exit():
            while self.groups or self.running:
                while self.groups and self.free and not self.stop:
                    self.start(self.groups.pop(0), self.free.pop(0))
                self.collect()
                if self.stop:
                    self.stop_all()
                    raise Stopped(
                        f"stopped by a signal, {self.ended} of {self.total} networks trained; "
                        "saved: run the same command again to resume"
                    )
                self.report()
                time.sleep(0.2)

    @contextmanager
    def kill_on_exit(self) -> Iterator[None]:
        """Kill the processes that still run at the end of the body, also after an error."""
        try:
            yield
        finally:
            for process in self.running:
                process.popen.kill()
                process.wait()

    def start(self, cells: list[SweepCell], slot: Slot) -> None:
        output = cells[0].run.output
        output.parent.mkdir(parents=True, exist_ok=True)
        with open(output, "a", encoding="utf-8") as written:
            popen = subprocess.Popen(
                WORKER,
                stdin=subprocess.PIPE,
                stdout=written,
                stderr=written,
                encoding="utf-8",
                start_new_session=True,  # ^C in a terminal reaches only this process
                env={**os.environ, **dict(slot.environment), ENDS_WITH_STDIN: "1"},
            )
        keys = ("experiment", "overrides", "after")
        order = {
            "command": sys.argv,
            "cpus": slot.cpus,
            "accept_changed_data": self.accept_changed_data,
            "cells": [
                {**{k: getattr(c, k) for k in keys}, "workdir": str(c.run.path)} for c in cells
            ],
        }
        assert popen.stdin
        with suppress(BrokenPipeError):  # it has ended already, which `collect` handles
            popen.stdin.write(json.dumps(order) + "\n")
            popen.stdin.flush()
        self.running.append(Process(cells, slot, popen, output))
        print_status(
            f"{', '.join(map(str, cells))}: begun" + (" again" if cells[0].failed_tries() else "")
        )

    def collect(self) -> None:
        """Free the slots of processes that have ended, and queue failed cells to be tried again."""
        for process in [p for p in self.running if p.popen.poll() is not None]:
            self.running.remove(process)
            self.free.append(process.slot)
            code = process.wait()
            if code == Stopped.code:  # somebody stopped it: stop all of them
                self.stop.signal = self.stop.signal or signal.SIGTERM
                continue
            for cell in process.cells:
                if cell.is_done():
                    self.ended += 1
                    cell.run.remove_failure()
                    print_status(f"{cell}: {describe_result(cell)} ({self.ended} of {self.total})")
                    continue
                by_signal = f"ended by signal {-code}, after: " if code < 0 else ""
                cell.record_failure(by_signal + last_output_line(process.output), code)
                print_status(f"{cell}: failed: {failure_message(cell.run)}")
                if not cell.has_failed():
                    self.groups.append([cell])

    def stop_all(self) -> None:
        """Tell all processes to save and stop; kill those that take more than STOP_SECONDS."""
        for process in self.running:
            process.popen.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in self.running:
            try:
                process.popen.wait(max(deadline - time.monotonic(), 0))
            except subprocess.TimeoutExpired:
                process.popen.kill()

    def report(self) -> None:
        """Print the progress of each process, at most every SECONDS_PER_REPORT.

        A line that says what the last one of the same process said is left out.
        """
        if time.monotonic() - self.last_report >= SECONDS_PER_REPORT:
            self.last_report = time.monotonic()
            for process in self.running:
                cell, line = str(process.cells[0]), last_output_line(process.output)
                if self.reported.get(cell) != line:
                    self.reported[cell] = line
                    print_status(f"{cell}: {line}")


def describe_result(cell: SweepCell) -> str:
    """Return the test error, steps and seconds of a finished cell, for a line of progress."""
    result = cell.run.result()
    error = 100 * result["test"]["top1_error"][0]
    return f"test error {error:.2f} %, {result['steps']:,} steps in {result['seconds']:.0f} s"


def failure_message(run: RunDir) -> str:
    """Return the error of the last try; "" if it did not fail."""
    failure = run.failure()
    return failure["error"] if failure else ""


def last_output_line(output: Path) -> str:
    """Return the last line that a process has printed."""
    with open(output, "rb") as f:
        f.seek(max(os.path.getsize(output) - 2000, 0))
        lines = f.read().decode(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("error: ") if lines else "no output yet"
