"""Does a training fit into the memory of a device, and if not, in which parts would it?"""

from math import prod

from cnn_archs.data.loading.streaming import AHEAD
from cnn_archs.errors import ConfigError
from cnn_archs.experiment import Experiment
from cnn_archs.optim.recipe import check_batch_sizes
from cnn_archs.planning import xla_memory
from cnn_archs.planning.input_rate import Intake
from cnn_archs.planning.xla_memory import Program
from cnn_archs.training.placement import PlacedModel
from cnn_archs.training.seeds import SeedAxis

BETWEEN_STEPS = ("parameters", "optimizer", "statistics", "dataset")


class Memory:
    """Bytes of one device, by what they are for. axis: the form in which seeds are trained."""

    def __init__(self, experiment: Experiment, on: PlacedModel, taken: Intake, axis: SeedAxis):
        self.experiment, self.on, self.net, self.taken = experiment, on, on.net, taken
        recipe = experiment.recipe
        self.rules = recipe.make_rules(float(recipe.steps_per_epoch(taken.images)))
        self.batch, self.shared_by = recipe.batch_size, on.mesh.shape["data"]
        self.seeds = len(experiment.seeds)
        self.at_a_time = self.seeds if axis.vmapped else 1
        self.programs: dict[int, Program] = {}

    def program(self, at_once: int) -> Program:
        """That of a step whose gradients are computed `at_once` images at a time."""
        if at_once not in self.programs:
            made = xla_memory.training(self.experiment, self.on, self.rules, at_once)
            self.programs[at_once] = made
        return self.programs[at_once]

    def training(self, at_once: int) -> dict[str, int]:
        """During a step. All seeds' states are there, whether they are stepped together or not."""
        of, seeds, parts = self.program(at_once), self.seeds, self.batch // at_once
        # In parts, there are the sums of gradients besides, and the whole batch as the network
        # sees it: 7 and 9 % more than XLA finds for the whole loop over four parts of VGG-A and
        # AlexNet. The loop itself is not compiled, since on a CPU it is unrolled.
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
        """While `size` images are evaluated."""
        step = self.training(max(self.programs))
        activations = xla_memory.evaluating(self.experiment, self.on, self.rules, size)
        return {name: step[name] for name in BETWEEN_STEPS} | {
            "activations": self.at_a_time * activations,
            "batch": self.delivered(size),
        }

    def delivered(self, images: int) -> int:
        """Of a batch's images and labels: gathered on the device, or sent there ahead of need."""
        each = prod(xla_memory.delivered(self.experiment)) + 4
        batches = 1 if self.taken.resident else AHEAD + 1
        return batches * each * -(-images // self.shared_by)

    def fitting_part(self, usable: int, now: int) -> int | None:
        """The most images at once, of less than `now`, with which a step takes no more than
        `usable` bytes.

        What a step holds is as good as linear in the images at once: from the whole and from the
        smallest part it is guessed which will do, and the first that does is it.
        """
        sizes = [m for m in range(now - 1, 0, -1) if self.divides(m)]
        if not sizes:
            return None
        small, large = (sum(self.training(m).values()) for m in (sizes[-1], now))
        slope = (large - small) / (now - sizes[-1])
        likely = [m for m in sizes if small + slope * (m - sizes[-1]) <= 1.02 * usable]
        return next((m for m in likely if sum(self.training(m).values()) <= usable), None)

    def divides(self, at_once: int) -> bool:
        """Can the batch be computed so many images at a time?"""
        try:
            check_batch_sizes(self.batch, at_once, bn_group=self.experiment.model.bn_group)
        except ConfigError:
            return False
        return at_once % self.shared_by == 0
