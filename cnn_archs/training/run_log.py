"""Write the log lines of a training, one writer per seed, and its line on the screen."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from cnn_archs.config_keys import flatten
from cnn_archs.roles import changes_outcome
from cnn_archs.run_dir import RunDir
from cnn_archs.runtime.progress import ProgressLine
from cnn_archs.training.data_check import MemberRuns
from cnn_archs.training.metric_writers import MetricWriter, RunWriter
from cnn_archs.training.status_lines import mean_over_seeds
from cnn_archs.training.trainer import Trainer


def open_writers(
    trainer: Trainer,
    members: MemberRuns,
    made: Sequence[dict[str, Any]],
    resources: ExitStack,
) -> list[MetricWriter]:
    """Open the metric logs and return that of each seed; `resources` closes them.

    Log lines of steps that the trainer will repeat are removed, as is the result of a shorter run.
    Lines that were there at the checkpoint and are not any more are told on stderr.
    made: the environment of each member, which is written if it is going to train.
    """
    writers: list[MetricWriter] = []
    for (experiment, workdir), of_member, lines in zip(
        members, made, trainer.log_lines, strict=True
    ):
        folder = RunDir(workdir)
        folder.write_config(experiment.config)
        if trainer.step < trainer.total_steps:
            folder.remove_result()
            folder.write_environment(of_member)
        keep = trainer.step if trainer.logged and trainer.step else trainer.step - 1
        config = experiment.config
        settings = {k: v for k, v in flatten(config).items() if changes_outcome(k, config)}
        layers = "diagnose" in trainer.periods
        writer = RunWriter(folder, experiment.seeds, settings, keep, layers, lines)
        resources.callback(writer.close)
        writers += [writer] * len(experiment.seeds)
    return writers


def write_reports(
    trainer: Trainer,
    writers: Sequence[MetricWriter],
    reports: dict[str, list[dict[str, float]]],
) -> None:
    """Write a log line per split and seed; those of `train` have the learning rate as well."""
    rates = trainer.learning_rates()
    for split, of_seeds in reports.items():
        for writer, seed, report, rate in zip(writers, trainer.seeds, of_seeds, rates, strict=True):
            values = {"epoch": trainer.epoch, **report}
            if split == "train":
                values["learning_rate"] = rate
            writer.write(trainer.step, split, seed, values)


def write_layer_stats(trainer: Trainer, writers: Sequence[MetricWriter]) -> None:
    """Log the statistics of the layers per seed, if the run schedules them."""
    if "diagnose" not in trainer.periods:
        return
    for writer, seed, layers in zip(writers, trainer.seeds, trainer.layer_stats(), strict=True):
        writer.write_layers(trainer.step, trainer.epoch, seed, layers)


def show_progress(trainer: Trainer, line: ProgressLine) -> None:
    """Update the progress line with the means over the seeds."""
    reports = trainer.metrics("window")
    loss, error = mean_over_seeds(reports, "loss"), mean_over_seeds(reports, "top1_error")
    rates = trainer.learning_rates()
    line.show(trainer.step, loss, error, sum(rates) / len(rates))
