"""Estimate the time of a training on one device from the cost of its step, as `plan` does."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from cnn_archs.experiment import Experiment
from cnn_archs.planning import throughput
from cnn_archs.planning.devices import DeviceSpec
from cnn_archs.planning.input_rate import count_images
from cnn_archs.planning.step_cost import StepCost
from cnn_archs.planning.throughput import SpeedEstimate


class DeviceTime(NamedTuple):
    """The seconds that all steps of all seeds take on one device, and the source of the estimate.

    source: `measured`, `near` or `roofline`, see SpeedEstimate. The input is assumed to keep up.
    """

    seconds: float
    source: str


def device_time(
    experiment: Experiment, cost: StepCost, kind: DeviceSpec, files: Iterable[Path]
) -> DeviceTime:
    """Return the device time of `experiment` by the best estimate that `plan` has.

    files: result files; those made on one such device are used.
    """
    recipe = experiment.recipe
    bounds = throughput.roofline_seconds(
        kind, cost.flops, cost.traffic, experiment.model.dtype, experiment.matmul_precision
    )
    roof = SpeedEstimate("roofline", cost.batch / max(bounds), "peaks of the kind")
    known = throughput.measured_runs(files, experiment.config, cost.macs, kind)
    best = throughput.speed_estimates(known, cost.macs, kind, roof)[0]
    images, _ = count_images(experiment.dataset)
    steps = recipe.total_steps(images) * len(experiment.seeds)
    return DeviceTime(steps * cost.batch / best.images_per_second, best.source)
