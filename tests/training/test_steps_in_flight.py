"""A streamed training never lets the devices wait for the host, nor sends them batches too early.

The device is a CPU whose steps end late: the number of each step comes out of a long computation.
"""

from collections import Counter
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from cnn_archs import config
from cnn_archs.data.loading.streaming import Streamed, StreamedFeed
from cnn_archs.distributed import mesh as meshes
from cnn_archs.distributed.in_flight import MOST_IN_FLIGHT, InFlight
from cnn_archs.experiment import resolve
from cnn_archs.runtime import progress
from cnn_archs.training import build, loop

STEPS, LOGGED, BATCH = 9, 5, 4
SETTINGS = (
    "data.name=image_folder",
    "data.image_shape=(8,8,3)",
    f"data.batch_size={BATCH}",
    "data.holdout=0",
    "data.mean=none",
    "data.threads=2",
    "crop.name=inception",
    "crop.evaluate=9",
    "model.name=mlp",
    "model.hidden=(3,)",
    "model.num_classes=2",
    f"steps={STEPS}",
    f"log_every={LOGGED}",
    "eval_every=1000",
    "checkpoint_every=1000",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder of 8 training and 2 test images."""
    where, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for part, count in (("train", 4), ("test", 1)):
        for i in range(2 * count):
            path = where / part / "ab"[i % 2] / f"{i}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (12, 10, 3)).astype(np.uint8)).save(path)
    return where


@jax.jit
def late(step):
    """Return `step` i32[] after about a tenth of a second."""
    x = jnp.full((128, 128), 1e-3) + step
    x = jax.lax.fori_loop(0, 100, lambda i, v: jnp.tanh(v @ v), x)
    return step + (0 * x[0, 0]).astype(jnp.int32)


class SlowDevice:
    """Runs the training steps late, and notes how many had not ended when the host did something.

    unready: for each step, whether the one before it had not ended when it was dispatched. sent:
    for each step, how many had not ended when its batch was sent. read: for each step, how many
    steps had ended when the last image of its batch had been read.
    """

    def __init__(self) -> None:
        self.ends: list[Any] = []
        self.unready: list[bool] = []
        self.sent: list[int] = []
        self.read: dict[int, int] = {}
        self.rows: Counter[int] = Counter()

    def ended(self) -> int:
        return sum(end.is_ready() for end in self.ends)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Take the place of the device in each training that begins from now on."""
        make_steps, fill, feed = build.make_steps, Streamed.fill, StreamedFeed.__init__

        def made(*arguments: Any):
            train_step, evaluation = make_steps(*arguments)

            def dispatch(state, *others):
                self.unready.append(not state.step.is_ready())
                state = train_step(state, *others)
                state = state.replace(step=late(state.step))
                self.ends.append(jnp.copy(state.step))
                return state

            return dispatch, evaluation

        def filled(stream, batch, start, stop):
            fill(stream, batch, start, stop)
            if batch.seed is not None:
                step = int(batch.positions[0]) // BATCH
                self.rows[step] += stop - start
                if self.rows[step] == BATCH:
                    self.read[step] = self.ended()

        def fed(self_, data, seed, size, total, put, rows):
            def sent(batch):
                self.sent.append(len(self.ends) - self.ended())
                return put(batch)

            feed(self_, data, seed, size, total, sent, rows)

        monkeypatch.setattr(build, "make_steps", made)
        monkeypatch.setattr(Streamed, "fill", filled)
        monkeypatch.setattr(StreamedFeed, "__init__", fed)


def train(folder, workdir, *more):
    settings = [*SETTINGS, f"data.data_dir={folder}", *more]
    return loop.train(resolve(config.load_config("lenet5_digits", settings)), workdir)


def test_the_next_batch_is_read_and_its_step_dispatched_while_a_step_runs(
    folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(progress, "SECONDS_PER_LINE", 1e9)  # each line needs the figures of a step
    device = SlowDevice()
    device.install(monkeypatch)
    train(folder, tmp_path)
    # The host waits for the step that compiles and for those before a line of the log. Every other
    # step is dispatched before its predecessor has ended: the device is never idle between them.
    waited = [step for step, unready in enumerate(device.unready) if not unready]
    assert waited == [0, 1, LOGGED] and len(device.unready) == STEPS
    # The steps that have not ended, and the one whose batch is sent, are MOST_IN_FLIGHT at most.
    assert max(device.sent) == MOST_IN_FLIGHT - 1
    for step in range(STEPS - 2):
        assert device.read[step + 2] <= step, f"batch {step + 2} was read after step {step} ended"


@pytest.mark.parametrize(
    "cpu, devices, chained, most",
    [(False, 8, False, 2), (False, 1, True, 2), (True, 1, True, 2), (True, 1, False, 1)]
    + [(True, 8, True, 1)],
)
def test_a_call_waits_until_few_enough_have_not_ended(cpu, devices, chained, most, monkeypatch):
    monkeypatch.setattr(meshes, "is_cpu", lambda mesh: cpu)
    mesh: Any = SimpleNamespace(size=devices)
    in_flight, results = InFlight(mesh, chained=chained), [jax.block_until_ready(jnp.int32(0))]
    for _ in range(3):
        results.append(late(results[-1]))
        in_flight.add(results[-1])
        assert sum(not result.is_ready() for result in results) < most
