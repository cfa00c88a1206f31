"""Each family trains equally on 8 devices of one process, on 4 each of two, and moved between them.

The networks are narrow and their images small. The JPEGs are drawn (`odd_photographs`), or those of
$CNN_ARCHS_PHOTOS, a folder of train/<class>/ and val/<class>/.
"""

import json
import os
from pathlib import Path

import numpy as np
import odd_photographs
import pytest

STEPS = 4
# Relative tolerance of losses between layouts. The variances of Inception-v3's narrow maps over 16
# images are so close to 0 that another order of summation changes the fifth digit.
TOLERANCE = {"inception_v3": 2e-4}
# At the recipes' learning rates, rounding errors grow tenfold in each step of a network with batch
# normalization. At this rate the losses still change by a hundred times the tolerance.
RATES = dict.fromkeys(("vgg", "googlenet", "resnet", "inception_v3"), 1e-4)
FAMILIES = {
    "lenet": ("lenet5_mnist", "data.image_shape=(32,32,3)", "crop.name=inception"),
    "alexnet": ("alexnet_imagenet", "data.image_shape=(67,67,3)", "crop.side=76"),
    "zfnet": ("zfnet_imagenet", "data.image_shape=(64,64,3)", "crop.side=76"),
    "vgg": ("vgg_imagenet:A_bn", "data.image_shape=(64,64,3)"),
    "googlenet": ("googlenet_imagenet", "data.image_shape=(224,224,3)"),
    "resnet": ("resnet_imagenet:18", "data.image_shape=(64,64,3)", "model.bn_group=4"),
    "inception_v3": ("inception_v3_imagenet", "data.image_shape=(299,299,3)", "model.bn_group=0"),
}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    given = os.environ.get("CNN_ARCHS_PHOTOS")
    return Path(given) if given else odd_photographs.draw(tmp_path_factory.mktemp("photographs"))


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_moves_between_devices_and_processes(
    family, photographs, launch, simulated, tmp_path
):
    experiment, *overrides = FAMILIES[family]
    overrides += ["data.name=image_folder", f"data.data_dir={photographs}", "data.batch_size=16"]
    overrides += [
        "schedule.name=constant",
        f"schedule.learning_rate={RATES.get(family, 0.01)}",
        "log_every=1",
    ]
    overrides += ["eval_batch_size=16", "warmup.name=none", "data.holdout=0"]
    overrides += [] if family == "lenet" else ["model.width=0.0625"]

    def train(name, devices, steps, *flags):
        """Return the losses of the run in the folder `name` after `steps` steps."""
        settings = [f"--config.{key}" for key in (*overrides, f"steps={steps}")]
        workdir = tmp_path / name
        process = launch(
            *("train", f"--config={experiment}", f"--workdir={workdir}", *settings, *flags),
            **simulated(devices),
        )
        _, err = process.communicate(timeout=1_200)
        assert process.returncode == 0, err[-3_000:]
        lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
        return {(line["step"], line["split"]): line["loss"] for line in lines}

    def same(found, expected):
        assert found.keys() == expected.keys()
        np.testing.assert_allclose(
            [found[key] for key in expected],
            [*expected.values()],
            rtol=TOLERANCE.get(family, 1e-5),
        )

    one = train("one", 1, STEPS)
    assert {split for _, split in one} >= {"train", "test"}
    assert abs(one[STEPS, "train"] / one[1, "train"] - 1) > 5e-4
    same(train("eight", 8, STEPS), one)
    same(train("two", 4, STEPS, "--processes=2"), one)
    train("moved", 4, 1, "--processes=2")
    train("moved", 8, 3)
    moved = train("moved", 4, STEPS, "--processes=2")
    trained = {key: loss for key, loss in one.items() if key[1] == "train"}
    same({key: loss for key, loss in moved.items() if key in trained}, trained)
