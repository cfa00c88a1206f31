"""Tell the cost of a training step without compiling it, where it was recorded.

The traffic between a device and its memory is known only from the compiled step, which takes up to
minutes. For the experiments that the papers' statements name, it was compiled once, and stands in
results/step_costs.json: `python benchmarks/step_costs.py` adds what is missing there. It does not
depend on the kind of the device.
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cnn_archs.experiment import Classifier, Experiment
from cnn_archs.models.summary import summarize, totals
from cnn_archs.optim.recipe import Recipe
from cnn_archs.planning import input_rate
from cnn_archs.planning.memory import DeviceMemory
from cnn_archs.runtime.json_files import read_json
from cnn_archs.shipped import shipped_folder
from cnn_archs.training.placement import place_model
from cnn_archs.training.seeds import choose_axis

RECORD = shipped_folder("results") / "step_costs.json"


class StepCost(NamedTuple):
    """The cost of one training step of one network, on one device.

    batch: images. macs: multiply-adds of the network for an image. flops: of the step. traffic:
    bytes between the device and its memory, by XLA's analysis; 0 if the step has a loop, whose body
    XLA counts only once.
    """

    batch: int
    macs: int
    flops: int
    traffic: int


def step_flops(net: Classifier, recipe: Recipe) -> int:
    """Return the additions and multiplications of a training step.

    Each pass makes an addition and a multiplication: forward, the gradients of maps and of weights,
    and with `remat` forward again.
    """
    passes = 8 if net.model.remat else 6
    trained = totals(summarize(net.model, net.image_shape, train=True))
    return passes * trained["macs"] * recipe.batch_size


def step_traffic(held: DeviceMemory) -> int:
    """Return the bytes that a step moves between one device and its memory; it is compiled."""
    parts = held.batch // held.experiment.recipe.micro_batch_size
    return parts * (held.program(held.batch // parts).traffic or 0)


def measure_cost(experiment: Experiment) -> StepCost:
    """Compile a step of `experiment` for one device, and return its cost."""
    on, taken = place_model(experiment), input_rate.input_volume(experiment)
    axis = choose_axis("default", in_memory=taken.resident, devices=1, platform="cpu")
    size = totals(summarize(on.net.model, on.net.image_shape))
    return StepCost(
        batch=experiment.recipe.batch_size,
        macs=size["macs"],
        flops=step_flops(on.net, experiment.recipe),
        traffic=step_traffic(DeviceMemory(experiment, on, taken, axis)),
    )


def record_key(words: Sequence[str]) -> str:
    """Return the key of an experiment and its overrides; those of the schedule change no step."""
    return " ".join(word for word in words if not word.startswith("schedule."))


@functools.cache
def recorded_costs(path: Path = RECORD) -> dict[str, StepCost]:
    """Read {key: cost} from the record."""
    shape = {...: dict.fromkeys(StepCost._fields, int)}
    return {name: StepCost(**cost) for name, cost in read_json(path, shape).items()}
