"""The training loop: decides when to log, evaluate and save. The trainer does the work."""

import dataclasses
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from cnn_archs.checkpoints import Checkpoints
from cnn_archs.distributed import multihost
from cnn_archs.distributed.multihost import AnyProcess
from cnn_archs.errors import Stopped
from cnn_archs.experiment import Experiment
from cnn_archs.roles import recipe_record
from cnn_archs.run_dir import RunDir
from cnn_archs.runtime.compiler_options import cuda_graph_options
from cnn_archs.runtime.console import print_notes, print_status, status_if_slow
from cnn_archs.runtime.environment import describe_environment
from cnn_archs.runtime.progress import ProgressLine
from cnn_archs.runtime.work_clock import WorkClock
from cnn_archs.training import data_check, history, warm_start
from cnn_archs.training.build import Member, build_trainer
from cnn_archs.training.data_check import MemberRuns
from cnn_archs.training.metric_writers import MetricWriter, NullWriter
from cnn_archs.training.pace import Pace
from cnn_archs.training.profiler import StepTrace
from cnn_archs.training.results import final_results
from cnn_archs.training.run_log import (
    open_writers,
    show_progress,
    write_layer_stats,
    write_reports,
)
from cnn_archs.training.run_start import finished_results, open_checkpoints
from cnn_archs.training.status_lines import format_epoch, header, summary_line
from cnn_archs.training.trainer import Trainer
from cnn_archs.training.trainer_checkpoint import Saver, restore_trainer


def train(
    experiment: Experiment,
    workdir: Path,
    *,
    stop: object = False,
    accept_changed_data: bool = False,
    command: Sequence[str] = (),
) -> dict[str, Any]:
    """Train `experiment` in `workdir`, from its newest checkpoint if there is one.

    stop: becomes true when the run should be saved and stopped, as `signals.stop_requests` does.
    accept_changed_data: whether the images may be others than the run began with; see
    `data_check.py`. command: see `describe_environment`. Returns the contents of result.json.
    Raises ConfigError, DataError, NotFinite, and Stopped once a run that should stop is saved.
    """
    (result,) = train_together(
        [(experiment, workdir)],
        stop=stop,
        accept_changed_data=accept_changed_data,
        command=command,
    )
    return result


def train_together(
    members: MemberRuns,
    *,
    stop: object = False,
    accept_changed_data: bool = False,
    command: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Train several experiments side by side, each as `train` does, and return their results.

    Their configs differ in seeds and learning rates only, and their runs are at the same step.
    """
    experiment, workdir = members[0]
    with ExitStack() as resources:
        asked = AnyProcess(stop)
        finished = multihost.on_primary(lambda: finished_results(members))
        if finished:
            if multihost.is_primary():
                print_notes(f"{workdir} is finished: nothing was trained" for _, workdir in members)
            return finished
        made = describe_environment(command)
        made["compiler_options"] = cuda_graph_options(experiment.cuda_graph)
        multihost.check_equal(
            "settings or packages", (shared_settings(experiment), made["packages"])
        )
        made_of_each = [{**made, **recipe_record(e.source, e.config)} for e, _ in members]
        opened = multihost.only_on_primary(lambda: open_checkpoints(members, resources))
        checkpoints = opened or []
        members = data_check.with_records(members, accept_changed_data)
        experiment = members[0][0]
        with status_if_slow(f"reading {experiment.dataset.place()}"):
            splits = experiment.dataset.splits(experiment.inputs.crop)
            checked = data_check.check_images(members, splits, accept_changed_data)
        splits = experiment.dataset.limit_tests(splits)
        trainer = build_trainer(*(Member(*member) for member in members), splits=splits)
        restore_or_warm_start(trainer, checkpoints, experiment)
        if multihost.is_primary():
            print_status(header(trainer, members))
        folders = [RunDir(workdir) for _, workdir in members]
        trained_by = [m | f.origin() for m, f in zip(made_of_each, folders, strict=True)]
        if trainer.step < trainer.total_steps:
            new = history.make_segment(made, trainer.device, trainer.step)
            changes = [one.record.changes for one in checked]
            trainer.history = multihost.on_primary(
                lambda: history.extend_histories(trainer.history, new, changes)
            )
        elif multihost.is_primary():  # only its result is missing
            trained_by = [m | f.environment() for m, f in zip(trained_by, folders, strict=True)]
        multihost.on_primary(lambda: data_check.write_records(checked))
        writers = multihost.only_on_primary(
            lambda: open_writers(trainer, members, trained_by, resources)
        )
        writers = writers or [NullWriter()] * len(trainer.seeds)
        saver = resources.enter_context(Saver(checkpoints))
        try:
            profiled = trainer.profiled_steps if multihost.is_primary() else range(0)
            with StepTrace(profiled, RunDir(workdir).profile) as trace, WorkClock() as clock:
                pace = Pace(experiment.intervals.least_seconds(), clock.now)
                run_to_end(trainer, saver, writers, asked, trace, clock, pace)
            poll = partial(raise_if_stopped, asked.anew())
            results = final_results(trainer, members, trained_by, poll)
            saver.finish()
        except Interrupted:
            save_checkpoint(trainer, saver, writers)
            saver.finish()
            raise Stopped(
                f"stopped by a signal at step {trainer.step} of {trainer.total_steps}; saved: run "
                "the same command again to resume"
            ) from None
        if multihost.is_primary():
            for one, result in zip(checked, results, strict=True):
                result["made"]["data"] = one.record.summary()
                one.folder.write_result(result)
        return results


def shared_settings(experiment: Experiment) -> dict[str, Any]:
    """Return the settings that must be equal on all processes.

    These are all but the folder of the data and the number of threads that read it.
    """
    tree = experiment.config
    return {**tree, "data": {**tree["data"], "data_dir": "", "threads": 0}}


def restore_or_warm_start(
    trainer: Trainer, checkpoints: Sequence[Checkpoints], experiment: Experiment
) -> None:
    """Restore the newest checkpoint; if there is none, load the weights of a warm start, if any."""
    if not restore_trainer(trainer, checkpoints) and experiment.warm_start.workdir:
        trainer.set_variables(warm_start.warm_start_variables(trainer, *experiment.warm_start))


class Interrupted(Exception):
    """A signal asked the run to stop; `train_together` saves it and raises Stopped."""


def raise_if_stopped(stop: AnyProcess) -> None:
    """Raise Interrupted if a signal has come to any process."""
    if stop:
        raise Interrupted


def save_checkpoint(trainer: Trainer, saver: Saver, writers: Sequence[MetricWriter]) -> None:
    """Begin to save the present state, after all log lines so far are on the disk."""
    of_members = [writers[seeds.start] for seeds in trainer.seed_slices]
    for writer in of_members:
        writer.flush()
    if trainer.step:  # a run that is resumed at step 0 writes its lines again
        trainer.log_lines = [writer.line_counts() for writer in of_members]
    saver.save(trainer, first=[writer.sync for writer in of_members])


def run_to_end(
    trainer: Trainer,
    saver: Saver,
    writers: Sequence[MetricWriter],
    stop: AnyProcess,
    trace: StepTrace,
    clock: WorkClock,
    pace: Pace,
) -> None:
    """Train from the present step to the last one. Raises Interrupted when `stop` becomes true.

    writers: one per seed.
    """
    if trainer.step == 0:
        write_layer_stats(trainer, writers)
    images, silent = trainer.batch_size * len(trainer.seeds), not multihost.is_primary()
    with ProgressLine(trainer.total_steps, images, trainer.step, silent, clock.now) as line:
        if trace.misses_all(trainer.step, trainer.total_steps):
            steps = f"steps {trainer.step} to {trainer.total_steps - 1}"
            line.print_line(f"profile: no step is traced, since this run makes only {steps}")
        if trainer.step < trainer.total_steps and not line.bar:
            line.print_line("compiling the training step")
        while True:
            if stop:
                trainer.finish_steps(clock.now)
                raise Interrupted
            if not trainer.logged:
                run_due_events(trainer, writers, line, stop, pace)
                if is_time(trainer, pace, "checkpoint"):
                    save_checkpoint(trainer, saver, writers)
            if trainer.step == trainer.total_steps:
                return
            times = dataclasses.replace(trainer.times)
            with trace.step(trainer.step):
                trainer.run_steps(clock.now)
            line.tick(
                trainer.step,
                trainer.times.compile_steps - times.compile_steps,
                trainer.times.compile_seconds - times.compile_seconds,
            )
            if trainer.logged and line.is_due():
                show_progress(trainer, line)


def is_time(trainer: Trainer, pace: Pace, event: str) -> bool:
    """Return whether `event` is due and not too soon; at the last step it never is too soon."""
    at_end = trainer.step == trainer.total_steps
    return trainer.is_due(event) and (at_end or pace.allows(event))


def run_due_events(
    trainer: Trainer,
    writers: Sequence[MetricWriter],
    line: ProgressLine,
    stop: AnyProcess,
    pace: Pace,
) -> None:
    """Log, evaluate and diagnose as scheduled for this step, as far as `pace` allows.

    Raises Interrupted, before anything is logged, if a signal comes during the evaluation.
    """
    trainer.check_finite()
    reports = {"train": trainer.metrics("window")}
    trainer.check_reports("train", reports["train"])
    if is_time(trainer, pace, "evaluate"):
        poll = partial(raise_if_stopped, stop.anew())
        for split in trainer.available_splits("val", "test"):
            reports[split] = trainer.evaluate(split, poll)
        shown = {"train": trainer.metrics("epoch"), **reports}
        line.print_line(f"epoch {format_epoch(trainer.epoch)}: {summary_line(shown)}")
    else:
        show_progress(trainer, line)
    write_reports(trainer, writers, reports)
    if trainer.is_due("diagnose"):
        write_layer_stats(trainer, writers)
    # A longer run would not make the unscheduled evaluation at the end of this one.
    if "val" in reports and trainer.is_scheduled("evaluate"):
        trainer.report_validation(reports["val"])
    trainer.reset_window()
    trainer.logged = True
