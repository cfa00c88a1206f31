"""Our side of `train_step.py`: train an experiment on random images, as `cnn-archs train` does.

`sides.Side` runs `python our_step.py FOLDER SETTINGS`. SETTINGS is a JSON object with experiment,
overrides, image (H, W, C), classes and examples. Images, labels, the order of the examples and the
initial weights are written to FOLDER for the other side.
"""

import json
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import sides

from cnn_archs import config as configs
from cnn_archs.conversion import torch_layout
from cnn_archs.data.datasets import sources
from cnn_archs.data.datasets.splits import Split
from cnn_archs.data.loading import sampler
from cnn_archs.experiment import start_experiment
from cnn_archs.runtime import compilation_cache
from cnn_archs.training.build import Member, build_trainer
from cnn_archs.training.trainer import Trainer


def random_images(image: tuple[int, int, int], classes: int, examples: int) -> Split:
    """Return a split of images with uniformly random pixels, whose contents no time depends on."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (examples, *image), dtype=np.uint8)
    labels = random.integers(0, classes, examples, dtype=np.int32)
    return Split(images, labels, tuple(map(str, range(classes))))


def assemble_run(experiment: str, overrides: list[str], split: Split) -> Trainer:
    """Assemble the run of an experiment at step 0, with `split` in place of its dataset."""
    resolved = start_experiment(configs.load_config(experiment, overrides))
    few = split.take(np.arange(min(len(split), len(split.classes))))

    def load_split(name: str, part: str, data_dir: str) -> Split:
        return split if part == "train" else few

    with mock.patch.object(sources, "load_split", load_split):
        return build_trainer(Member(resolved))


def weights_for_torch(run: Trainer) -> dict[str, np.ndarray]:
    """Return the current weights in PyTorch's names and axes."""
    (variables,) = run.seed_variables()
    if type(run.net.model).__name__ != "LeNet5":  # torch_layout has no names for LeNet-5
        return torch_layout.to_state_dict(run.net.model, run.net.image_shape, variables, 0)
    weights = {}
    for layer, params in variables["params"].items():
        kernel = np.asarray(params["kernel"])
        axes = (3, 2, 0, 1) if kernel.ndim == 4 else (1, 0)  # HWIO -> OIHW, IO -> OI
        weights[f"{layer}.weight"] = kernel.transpose(axes)
        weights[f"{layer}.bias"] = np.asarray(params["bias"])
    return weights


def write_inputs(folder: Path, run: Trainer, split: Split) -> None:
    """Write the images, labels, order and weights with which the other side trains the same."""
    steps = len(split) // run.batch_size
    np.save(folder / "images.npy", split.images)
    np.save(folder / "labels.npy", split.labels)
    np.save(
        folder / "index.npy",
        sampler.batch_indices(len(split), run.seeds[0], 0, steps, run.batch_size),
    )
    weights: Any = weights_for_torch(run)
    np.savez(folder / "weights.npz", **weights)


def main() -> None:
    import jax

    folder, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
    image: Any = tuple(settings["image"])
    split = random_images(image, settings["classes"], settings["examples"])
    run = assemble_run(settings["experiment"], settings["overrides"], split)
    write_inputs(folder, run, split)

    def train(steps: int) -> float:
        run.reset_window()
        run.run_steps()
        first = run.metrics("window")[0]["loss"]
        for _ in range(steps - 1):
            run.run_steps()
        run.check_finite()
        return first

    params = sum(leaf.size for leaf in jax.tree.leaves(run.states[0].params))
    sides.serve({"params": params, "devices": [d.device_kind for d in jax.devices()]}, train)


if __name__ == "__main__":
    compilation_cache.enable_cache()  # before jax is used, as in cli.main
    main()
