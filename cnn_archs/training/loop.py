"""The loop: it schedules, and every verb it calls lives elsewhere."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax

from cnn_archs import config as configs
from cnn_archs import roles
from cnn_archs.checkpoints import Checkpoints
from cnn_archs.distributed import multihost
from cnn_archs.distributed.multihost import Agreed, on_first
from cnn_archs.errors import Stopped
from cnn_archs.experiment import Experiment
from cnn_archs.metrics import stack_by_seed
from cnn_archs.models.summary import summarize, totals
from cnn_archs.run_dir import RunDir
from cnn_archs.runtime.console import ProgressLine
from cnn_archs.runtime.environment import describe_environment, provenance
from cnn_archs.runtime.signals import stop_requests
from cnn_archs.training import history, warm_start
from cnn_archs.training.build import Part, assemble
from cnn_archs.training.metric_writers import Log, MetricsLog, Nowhere
from cnn_archs.training.profiler import Trace
from cnn_archs.training.trainer import Run


def train(experiment: Experiment, workdir: Path) -> dict[str, Any]:
    """Trains `experiment` in `workdir`, from its last checkpoint on -> its result.json.

    Raises ConfigError, DataError, NotFinite, and Stopped after a signal, with the run saved.
    """
    return train_together([(experiment, workdir)])[0]


def train_together(parts: Sequence[tuple[Experiment, Path]]) -> list[dict[str, Any]]:
    """Trains `parts` step by step beside each other; what `train` says holds for each of them.

    Their configs differ in seeds and learning rates alone, and they are at the same step.
    """
    (experiment, workdir), *_ = parts
    with stop_requests() as request, ExitStack() as open_:
        stop = Agreed(request)
        made = describe_environment()
        saved: list[Checkpoints] = []
        multihost.check_same("settings or packages", (settings(experiment), made["packages"]))
        on_first(lambda: hold(parts, made, open_, saved))
        run = assemble(*(Part(*part) for part in parts))
        counts = {name: data.examples for name, data in run.data.items()}
        multihost.check_same("numbers of images", counts)
        if not run.restore(*saved) and experiment.warm_start.workdir:
            run.start_from(warm_start.variables(run, *experiment.warm_start))
        if run.step < run.total:
            new = history.part_of(made, run.step)
            run.history = on_first(lambda: history.gone_on(run.history, new))
        logs: list[Log] = []
        on_first(lambda: open_logs(run, parts, open_, logs))
        logs = logs or [Nowhere()] * len(run.seeds)
        try:
            traced = run.traced if multihost.first() else range(0)
            with Trace(traced, RunDir(workdir).profile) as trace:
                go_on(run, saved, logs, stop, trace)
            results = finish(run, parts, made, stop)
        except Interrupted:
            save(run, saved, logs)
            raise Stopped(
                f"stopped by a signal at step {run.step} of {run.total}; saved: run the same "
                "command again to go on"
            ) from None
        if multihost.first():
            for (_, workdir), result in zip(parts, results, strict=True):
                RunDir(workdir).write_result(result)
        return results


def hold(
    parts: Sequence[tuple[Experiment, Path]],
    made: dict[str, Any],
    open_: ExitStack,
    saved: list[Checkpoints],
) -> None:
    """Locks and claims the folder of each part, until `open_` ends; what is saved in it."""
    for experiment, workdir in parts:
        workdir.mkdir(parents=True, exist_ok=True)
        folder = RunDir(workdir)
        open_.enter_context(folder.lock())
        claim(folder, experiment.config, made)
        saved.append(Checkpoints(folder.checkpoints, keep=experiment.intervals.keep))


def open_logs(
    run: Run, parts: Sequence[tuple[Experiment, Path]], open_: ExitStack, logs: list[Log]
) -> None:
    """One for each seed, from where `run` is, until `open_` ends."""
    for experiment, workdir in parts:
        folder = RunDir(workdir)
        folder.write_config(experiment.config)
        if run.step < run.total:
            folder.remove_result()  # of a shorter run
        keep = run.step if run.settled and run.step else run.step - 1
        log = MetricsLog(folder, keep, diagnostics="diagnose" in run.periods)
        open_.callback(log.close)
        logs += [log] * len(experiment.seeds)


def settings(experiment: Experiment) -> dict[str, Any]:
    """What all processes of a run have alike: all but where, and by how many threads, they read."""
    tree = experiment.config
    return {**tree, "data": {**tree["data"], "data_dir": "", "threads": 0}}


class Interrupted(Exception):
    """A signal came; `train_together` saves and stops."""


def save(run: Run, saved: Sequence[Checkpoints], logs: Sequence[Log]) -> None:
    """The state as it is now, once all lines of the logs until then are on the disk."""
    for log in logs:
        log.sync()
    run.save(*saved)


def go_on(
    run: Run, saved: Sequence[Checkpoints], logs: Sequence[Log], stop: Agreed, trace: Trace
) -> None:
    """From where `run` is to its last step. logs: one for each seed."""
    if run.step == 0:
        diagnose(run, logs)
    images = run.batch_size * len(run.seeds)
    with ProgressLine(run.total, images, run.step, silent=not multihost.first()) as line:
        if trace.misses(run.step, run.total):
            steps = f"steps {run.step} to {run.total - 1}"
            line.print_line(f"profile: nothing is traced, since this run makes {steps}")
        while True:
            if stop:
                raise Interrupted
            if not run.settled:
                settle(run, logs, line, stop)
                if run.due("checkpoint"):
                    save(run, saved, logs)
            if run.step == run.total:
                return
            with trace.step(run.step):
                started = time.monotonic()
                run.advance()
                run.seconds += time.monotonic() - started
            line.tick(run.step)
            if run.settled and line.is_due():
                show(run, line)


def settle(run: Run, logs: Sequence[Log], line: ProgressLine, stop: Agreed) -> None:
    """What is due at this step: all or, if a signal comes in between, nothing of it."""
    run.check_finite()
    epoch = float(run.step / run.periods["epoch"])
    reports = {"train": run.counts("window")}
    if run.due("evaluate"):
        for split in run.splits("val", "test"):
            reports[split] = run.evaluate(split, lambda: interrupt_if(stop))
        line.print_line(f"epoch {epoch:g}: " + summary({"train": run.counts("epoch"), **reports}))
    else:
        show(run, line)
    for split, of_seeds in reports.items():
        each = zip(logs, run.seeds, of_seeds, run.learning_rates(), strict=True)
        for log, seed, report, rate in each:
            values = {"epoch": epoch, **report}
            if split == "train":
                values["learning_rate"] = rate
            log.write(run.step, split, seed, values)
    if run.due("diagnose"):
        diagnose(run, logs)
    if "val" in reports and run.falls("evaluate"):  # not at an end that a longer run does not have
        run.observe(reports["val"])
    run.end_window()
    run.settled = True


def diagnose(run: Run, logs: Sequence[Log]) -> None:
    """Logs what the layers are like, in a run that is to say so."""
    if "diagnose" in run.periods:
        epoch = float(run.step / run.periods["epoch"])
        for log, seed, layers in zip(logs, run.seeds, run.diagnose(), strict=True):
            log.write_layers(run.step, epoch, seed, layers)


def interrupt_if(stop: Agreed) -> None:
    if stop:
        raise Interrupted


def show(run: Run, line: ProgressLine) -> None:
    """The progress line, with the mean of the seeds."""
    reports = run.counts("window")
    loss, error = mean(reports, "loss"), mean(reports, "top1_error")
    rates = run.learning_rates()
    line.show(run.step, loss, error, sum(rates) / len(rates))


def summary(reports: dict[str, list[dict[str, float]]]) -> str:
    """`train loss 0.1 error 2.00 %, test ...`, the mean of the seeds."""
    return ", ".join(
        f"{split} loss {mean(r, 'loss'):.4f} error {100 * mean(r, 'top1_error'):.2f} %"
        for split, r in reports.items()
    )


def mean(reports: list[dict[str, float]], key: str) -> float:
    return sum(r[key] for r in reports) / len(reports)


def finish(
    run: Run, parts: Sequence[tuple[Experiment, Path]], made: dict[str, Any], stop: Agreed
) -> list[dict[str, Any]]:
    """The full evaluation at the end: the result.json of each part."""
    final = {s: run.evaluate(s, lambda: interrupt_if(stop)) for s in run.splits(*run.data)}
    final["train_eval"], final["train"] = final["train"], run.counts("epoch")
    images = run.step * run.batch_size * len(run.seeds)
    size = totals(summarize(run.net.model, run.net.image_shape))
    damaged = sum(data.damaged for data in run.data.values())
    return [
        {
            "name": experiment.name,
            "dataset": experiment.dataset.name,
            "protocol": "single",
            "seeds": list(run.seeds[share]),
            **{split: stack_by_seed(reports[share]) for split, reports in final.items()},
            "damaged": damaged,
            "steps": run.step,
            "epochs": float(run.step / run.periods["epoch"]),
            "seconds": run.seconds_of(share),
            "images_per_second": images / run.seconds,
            "params": size["params"],
            "macs": size["macs"],
            "matmul_precision": experiment.matmul_precision,
            "deterministic": experiment.deterministic,
            "device": f"{run.mesh.size} x {jax.devices()[0].device_kind}",
            "together": len(run.seeds),
            "made": {**provenance(made, experiment.config), "parts": made_by},
        }
        for (experiment, _), share, made_by in zip(parts, run.shares, run.history, strict=True)
    ]


def claim(folder: RunDir, config: dict[str, Any], made: dict[str, Any]) -> None:
    """Writes the environment; ConfigError if a run with another config lives in this folder."""
    if folder.has_checkpoints():
        check_config(folder, config)
    else:
        folder.statistics.unlink(missing_ok=True)  # of a run that was never saved
    folder.write_environment(made)


def check_config(folder: RunDir, config: dict[str, Any]) -> None:
    """Raises a ConfigError if the run that was saved in this folder has another config."""
    if folder.has_config():
        roles.check_resumable(folder.path, configs.to_plain_dict(folder.config()), config)
