"""Evaluation counts every example once: for any batch size, on any number of devices.

Run as a script, this file is the process with eight simulated devices that the test starts.
"""

import json
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from cnn_archs.data.datasets.splits import Split
from cnn_archs.data.loading.in_memory import Resident
from cnn_archs.distributed import mesh as meshes
from cnn_archs.evaluate import evaluator
from cnn_archs.evaluate.evaluator import sum_metrics
from cnn_archs.evaluate.step import compile_eval, make_eval_step
from cnn_archs.metrics import MetricSums

EXAMPLES = 10_000  # as many as MNIST tests; a multiple of none but the last of these
BATCH_SIZES = (7, 128, 999, 2_000)
SEVERAL = ((8, 7), (8, 999), (8, 2_000), (2, 128))  # (devices, batch size): 7 are fewer than 8


def split():
    """Return ten classes of two-pixel images, whose pixels are the example's number in base 100."""
    number = np.arange(EXAMPLES)
    pixels = np.stack([number // 100, number % 100], -1).astype(np.uint8)
    labels = np.random.default_rng(0).integers(0, 10, EXAMPLES).astype(np.int32)
    return Split(pixels.reshape(-1, 1, 2, 1), labels, tuple("0123456789"))


def scores(number):
    """Return logits of a made-up network, whose prediction for example n is class (7 n) mod 10."""
    return -jnp.abs(jnp.arange(10)[None, :] - (7 * number % 10)[:, None])


class Fake:
    """A network with the one method that `make_eval_step` calls."""

    def apply(self, variables, image, *, method):
        assert method == "every_head"
        pixels = image.reshape(len(image), 2)
        return {"logits": scores(pixels[:, 0] * 100 + pixels[:, 1]) + variables["bias"]}


def quarters(logits, label):
    """Return a loss in whole quarters, so that float32 sums are exact in any order."""
    return 0.25 * label


def evaluation_step(mesh):
    """Compile the evaluation of `Fake` with the loss `quarters`."""
    network: Any = Fake()
    step = make_eval_step(network, quarters, lambda key, x: x.astype(jnp.float32))
    return compile_eval(step, mesh, resident=True)


def tally(variables, images, labels, mask):
    """Count how often each example was evaluated."""
    pixels = images.reshape(len(mask), 2).astype(jnp.int32)
    number = pixels[:, 0] * 100 + pixels[:, 1]
    return jnp.zeros(EXAMPLES, jnp.int32).at[number].add(mask)


def expected():
    label = split().labels
    rank = np.argsort(-np.asarray(scores(np.arange(EXAMPLES))), axis=1, kind="stable")
    return {
        "loss": float((0.25 * label).sum() / EXAMPLES),
        "top1_error": 1 - float((rank[:, 0] == label).sum()) / EXAMPLES,
        "top5_error": 1 - float((rank[:, :5] == label[:, None]).sum()) / EXAMPLES,
        "examples": EXAMPLES,
    }


def measure(devices, batch_size):
    """Return ({times counted: examples}, report) on the first `devices` devices."""
    auto = (AxisType.Auto, AxisType.Auto)
    mesh = jax.make_mesh(
        (devices, 1), ("data", "model"), axis_types=auto, devices=jax.devices()[:devices]
    )
    data = Resident(split(), mesh)
    variables = {"bias": jnp.zeros((1, 10))}
    once = compile_eval(tally, mesh, resident=True)
    times = np.asarray(sum_metrics(once, variables, data, batch_size, mesh))
    report = sum_metrics(evaluation_step(mesh), variables, data, batch_size, mesh).report()
    values, how_many = np.unique(times, return_counts=True)
    return dict(zip(values.tolist(), how_many.tolist(), strict=True)), report


@pytest.mark.parametrize("batch_size", BATCH_SIZES)
def test_every_example_counts_once(batch_size):
    times, report = measure(1, batch_size)
    assert times == {1: EXAMPLES}
    assert report == pytest.approx(expected(), abs=1e-12)


@pytest.mark.parametrize("batch_size", BATCH_SIZES)
def test_on_an_accelerator_all_batches_are_one_call(batch_size, monkeypatch):
    monkeypatch.setattr(meshes, "is_cpu", lambda mesh: False)
    calls: list[int] = []
    monkeypatch.setattr(evaluator.InFlight, "add", lambda self, total: calls.append(1))
    times, report = measure(1, batch_size)
    assert times == {1: EXAMPLES} and len(calls) == 2  # one for each of both
    assert report == pytest.approx(expected(), abs=1e-12)


@pytest.mark.slow
def test_every_example_counts_once_on_several_devices(simulated):
    out = subprocess.run(
        [sys.executable, __file__], env=simulated(8), capture_output=True, text=True, timeout=600
    )
    assert out.returncode == 0, out.stderr[-2_000:]
    found = json.loads(out.stdout)
    assert len(found) == len(SEVERAL) + 1
    for row in found:
        assert row["times"] == {"1": EXAMPLES}, row
        assert row["report"] == pytest.approx(expected(), abs=1e-12), row


def test_a_signal_is_looked_for_before_each_batch():
    seen: list[int] = []

    def poll():
        seen.append(len(seen))
        if len(seen) == 3:
            raise KeyboardInterrupt

    mesh = jax.make_mesh((1, 1), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    once = compile_eval(tally, mesh, resident=True)
    with pytest.raises(KeyboardInterrupt):
        sum_metrics(once, {"bias": jnp.zeros((1, 10))}, Resident(split(), mesh), 128, mesh, poll)
    assert seen == [0, 1, 2]


def test_a_network_that_gives_no_numbers_is_wrong_everywhere():
    mesh = jax.make_mesh((1, 1), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    nan = {"bias": jnp.full((1, 10), jnp.nan)}
    counts = sum_metrics(evaluation_step(mesh), nan, Resident(split(), mesh), 999, mesh)
    assert isinstance(counts, MetricSums)
    assert counts.report()["top1_error"] == counts.report()["top5_error"] == 1.0


if __name__ == "__main__":
    assert jax.device_count() == 8
    rows = []
    for devices, batch_size in SEVERAL:
        times, report = measure(devices, batch_size)
        rows.append(dict(devices=devices, batch_size=batch_size, times=times, report=report))
    meshes.is_cpu = lambda mesh: False  # as on accelerators, all batches in one call
    times, report = measure(8, 999)
    rows.append(dict(devices=8, batch_size=999, times=times, report=report))
    print(json.dumps(rows))
