"""Find out whether a training fits into the memory of a device, and which micro batch would fit."""

from math import prod

from cnn_archs.arithmetic import ceil_div
from cnn_archs.distributed.in_flight import MOST_IN_FLIGHT
from cnn_archs.errors import ConfigError
from cnn_archs.experiment import Experiment
from cnn_archs.optim.recipe import check_batch_sizes
from cnn_archs.planning import xla_memory
from cnn_archs.planning.input_rate import InputVolume
from cnn_archs.planning.xla_memory import StepBytes
from cnn_archs.training.placement import PlacedModel
from cnn_archs.training.seeds import SeedAxis

BETWEEN_STEPS = ("parameters", "optimizer", "statistics", "dataset")


class DeviceMemory:
    """Counts the bytes of one device by purpose. axis: how the seeds are trained."""

    def __init__(self, experiment: Experiment, on: PlacedModel, taken: InputVolume, axis: SeedAxis):
        self.experiment, self.on, self.net, self.taken = experiment, on, on.net, taken
        recipe = experiment.recipe
        self.rules = recipe.make_rules(float(recipe.steps_per_epoch(taken.images)))
        self.batch, self.shared_by = recipe.batch_size, on.mesh.shape["data"]
        self.seeds = len(experiment.seeds)
        self.at_a_time = self.seeds if axis.together else 1
        self.programs: dict[int, StepBytes] = {}

    def program(self, at_once: int) -> StepBytes:
        """Analyze the step that computes gradients for `at_once` images at a time."""
        if at_once not in self.programs:
            made = xla_memory.training_bytes(self.experiment, self.on, self.rules, at_once)
            self.programs[at_once] = made
        return self.programs[at_once]

    def training(self, at_once: int) -> dict[str, int]:
        """Count the bytes held during a training step.

        The states of all seeds count, whether the seeds are trained together or in turn.
        """
        of, seeds, parts = self.program(at_once), self.seeds, self.batch // at_once
        # A step in parts also holds the sums of gradients and the whole preprocessed batch. For
        # VGG-A and AlexNet in four parts this is 7 and 9 % more than XLA finds for the whole loop,
        # which is not compiled here because XLA unrolls it on a CPU.
        gradients = of.gradients + (of.params if parts > 1 else 0)
        seen = 4 * prod(self.net.image_shape) * self.batch // self.shared_by if parts > 1 else 0
        return {
            "parameters": seeds * of.params,
            "optimizer": seeds * of.optimizer,
            "statistics": seeds * of.rest,
            "gradients": self.at_a_time * gradients,
            "activations": self.at_a_time * (of.activations + seen),
            "batch": self.at_a_time * self.delivered(self.batch),
            "dataset": self.taken.held,
        }

    def evaluation(self, size: int) -> dict[str, int]:
        """Count the bytes held while `size` images are evaluated."""
        step = self.training(max(self.programs))
        activations = xla_memory.evaluation_bytes(self.experiment, self.on, self.rules, size)
        return {name: step[name] for name in BETWEEN_STEPS} | {
            "activations": self.at_a_time * activations,
            "batch": self.delivered(size),
        }

    def delivered(self, images: int) -> int:
        """Count the bytes of a batch, or of those of all steps in flight if images are streamed."""
        each = prod(xla_memory.delivered_shape(self.experiment)) + 4
        batches = 1 if self.taken.resident else MOST_IN_FLIGHT
        return batches * each * ceil_div(images, self.shared_by)

    def fitting_part(self, usable: int, now: int) -> int | None:
        """Return the most images at once, fewer than `now`, whose step fits into `usable` bytes.

        The bytes grow nearly linearly with the images at once. A line through the whole batch and
        the smallest part predicts which sizes fit; the largest of these that does fit is returned,
        or None.
        """
        sizes = [m for m in range(now - 1, 0, -1) if self.divides(m)]
        if not sizes:
            return None
        small, large = (sum(self.training(m).values()) for m in (sizes[-1], now))
        slope = (large - small) / (now - sizes[-1])
        likely = [m for m in sizes if small + slope * (m - sizes[-1]) <= 1.02 * usable]
        return next((m for m in likely if sum(self.training(m).values()) <= usable), None)

    def divides(self, at_once: int) -> bool:
        """Return whether the batch can be computed in parts of this size."""
        try:
            check_batch_sizes(self.batch, at_once, bn_group=self.experiment.model.bn_group)
        except ConfigError:
            return False
        return at_once % self.shared_by == 0
