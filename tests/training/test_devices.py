"""Training is equal on 1, 2 (slow) and 8 devices, over which the batch is split.

Run as a script, this file is the process that the tests start for each number of devices.
"""

import json
import subprocess
import sys
from functools import cache
from typing import Any

import numpy as np
import pytest

DEVICES = (1, 8, pytest.param(2, marks=pytest.mark.slow))  # 8 devices cover what 2 do
SEVERAL = DEVICES[1:]
STEPS = 20


@pytest.fixture(scope="module")
def run(simulated):
    """Return run(devices), the output of a process with that many devices."""

    @cache
    def found(devices):
        done = subprocess.run(
            [sys.executable, __file__],
            env=simulated(devices),
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr[-2_000:]
        return json.loads(done.stdout.splitlines()[-1])

    return found


@pytest.mark.parametrize("devices", DEVICES)
def test_each_process_had_its_devices(run, devices):
    assert run(devices)["devices"] == devices
    assert run(devices)["parts_of_the_batch"] == devices


def test_the_network_learns(run):
    """Equal losses would prove little if they did not fall."""
    losses = run(1)["losses"]
    assert len(losses) == STEPS
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("devices", SEVERAL)
def test_losses_and_weights_are_those_of_one_device(run, devices):
    np.testing.assert_allclose(run(devices)["losses"], run(1)["losses"], rtol=1e-5)
    assert run(devices)["errors"] == run(1)["errors"]
    np.testing.assert_allclose(run(devices)["weights"], run(1)["weights"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("devices", SEVERAL)
def test_each_device_computes_its_part_and_no_more(run, devices):
    """The operations are divided, also in micro-batches, which are split over all devices."""
    for kind in ("flops", "flops_in_parts"):
        assert run(devices)[kind] < 1.3 * run(1)[kind] / devices


@pytest.mark.parametrize("devices", DEVICES)
def test_seeds_are_trained_together_on_gpus(run, devices):
    """Written out: XLA does not split vmapped convolutions over several devices."""
    assert run(devices)["form"] == "unrolled"


def compiled_step(*more):
    """Return the trainer of lenet5 on the digits in batches of 32, and its compiled step."""
    from cnn_archs import config
    from cnn_archs.experiment import resolve
    from cnn_archs.training.build import Member, build_trainer
    from cnn_archs.training.seeds import SeedAxis

    overrides = ["log_every=1", f"steps={STEPS}", "seed=3", *more]
    run = build_trainer(
        Member(resolve(config.load_config("lenet5_digits", overrides))),
        axis=SeedAxis("in_turn"),
    )
    data: Any = run.data["train"]
    train_step: Any = run.train_step
    index = np.zeros(32, np.int32)
    step = train_step.lower(run.states[0], run.keys[0], data.images, data.labels, index)
    return run, step.compile()


def chosen_form():
    """Return the form of two seeds on a GPU, as which the CPU is disguised."""
    import jax

    from cnn_archs import config
    from cnn_archs.experiment import resolve
    from cnn_archs.training.build import Member, build_trainer

    jax.default_backend = lambda: "gpu"
    trainer = build_trainer(Member(resolve(config.load_config("lenet5_digits", ["seeds=2"]))))
    return trainer.axis.form


def train():
    """Train lenet5 on the digits for 20 steps of 32 images on all devices of this process."""
    import jax

    run, compiled = compiled_step()
    run.train_step = compiled
    losses, errors = [], []
    for _ in range(STEPS):
        run.run_steps()
        (report,) = run.metrics("window")
        losses.append(report["loss"])
        errors.append(report["top1_error"])
        run.reset_window()
    _, in_parts = compiled_step("data.micro_batch=16")
    kernel = run.states[0].params["C5"]["kernel"]
    batch = compiled.input_shardings[0][-1]
    return {
        "devices": jax.device_count(),
        "parts_of_the_batch": 32 // batch.shard_shape((32,))[0],
        "losses": losses,
        "errors": errors,
        "flops": compiled.cost_analysis()["flops"],
        "flops_in_parts": in_parts.cost_analysis()["flops"],
        "form": chosen_form(),
        "weights": np.asarray(kernel).reshape(-1)[:100].tolist(),
    }


if __name__ == "__main__":
    print(json.dumps(train()))
