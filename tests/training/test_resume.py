"""A run that was stopped anywhere, and resumed, ends with the bits of an uninterrupted one."""

import json
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from run_logs import log_lines

from cnn_archs import cli, config
from cnn_archs.checkpoints import Checkpoints
from cnn_archs.data.loading import sampler
from cnn_archs.errors import ConfigError
from cnn_archs.experiment import resolve
from cnn_archs.training import loop, trainer
from cnn_archs.training.build import Member, build_trainer
from cnn_archs.training.seeds import SeedAxis
from cnn_archs.training.trainer_checkpoint import Saver, restore_trainer
from soak.subjects import FEEDBACK

Launch = Callable[..., subprocess.Popen[str]]

STEPS = 60  # an epoch of the digits is 44.9 steps
SETTINGS = (
    f"--config.steps={STEPS}",
    "--config.log_every=7",
    "--config.checkpoint_every=0.2",  # of an epoch: steps 9, 18, 27, ...
    "--config.eval_every=0.3",  # steps 14, 27, 41, 54
)
# Settings per network: this file's own, and others whose optimizer or schedule has other state.
NETWORKS = {
    "lenet5": ("--config.eval_batch_size=360",),
    "mlp": (
        "--config.model.name=mlp",
        "--config.model.hidden=(16,)",
        "--config.optimizer.name=adam",
        "--config.schedule.learning_rate=0.003",
        "--config.eval_batch_size=2",  # so that an evaluation takes long enough to be stopped
    ),
    "lenet5_1998": (
        "--config.model.name=lenet5_1998",
        "--config.loss.name=rbf_map",
        "--config.optimizer.name=sdlm",  # its curvature is renewed at each epoch's start
        "--config.optimizer.samples=20",
        "--config.schedule.name=constant",
        "--config.eval_batch_size=360",
    ),
    "feedback": FEEDBACK,  # its rate drops at steps 25, 37 and 49
}


def flags(network: str) -> list[str]:
    return [*SETTINGS, *NETWORKS[network]]


def train(workdir: Path, network: str, *more: str) -> int:
    """Train in this process, and return the exit code."""
    return cli.main(["train", f"--workdir={workdir}", *flags(network), *more])


def configured(*more: str) -> Any:
    """Return the experiment of the run of the network mlp."""
    overrides = [f.removeprefix("--config.") for f in flags("mlp")]
    return resolve(config.load_config("lenet5_digits", [*overrides, *more]))


def saved_steps(workdir: Path) -> list[int]:
    return sorted(int(p.name) for p in workdir.glob("checkpoints/*") if p.name.isdigit())


def digests(workdir: Path, step: int = STEPS) -> dict[str, Any]:
    """Return the SHA-256, shape and dtype of each leaf saved at `step`."""
    notes = json.loads((workdir / "checkpoints" / str(step) / "notes" / "metadata").read_text())
    return notes["digests"]


def result(workdir: Path) -> dict[str, Any]:
    """Return result.json without the measured times."""
    everything = json.loads((workdir / "result.json").read_text())
    del everything["made"]["command"]
    return {k: v for k, v in everything.items() if "second" not in k}


def check_same(workdir: Path, reference: Path) -> None:
    """Check that two runs ended with equal states, logs and results, bit for bit."""
    a, b = digests(workdir), digests(reference)
    for item in b:
        for leaf in a[item].keys() | b[item].keys():
            # Sums since the last line of the log are zero, or `settled` is false.
            assert leaf.startswith("['window']") or a[item][leaf] == b[item][leaf], leaf
    assert log_lines(workdir) == log_lines(reference)
    assert result(workdir) == result(reference)


@pytest.fixture(scope="module")
def references(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], Path]:
    """Return reference(network), the workdir of an uninterrupted run, trained once."""
    made: dict[str, Path] = {}

    def reference(network: str) -> Path:
        if network not in made:
            made[network] = tmp_path_factory.mktemp(network)
            assert train(made[network], network) == 0
        return made[network]

    return reference


# Killed from outside, in processes of their own.


def wait_for(process: subprocess.Popen[str], happened: Callable[[], bool]) -> bool:
    """Wait until `happened()`; return False if the process ends before."""
    deadline = time.monotonic() + 300
    while not happened():
        if process.poll() is not None:
            return False
        assert time.monotonic() < deadline, "the run hangs"
        time.sleep(0.002)
    return True


def reached(workdir: Path, step: int) -> Callable[[], bool]:
    """Return whether the run has saved `step` or a later one."""
    return lambda: max(saved_steps(workdir), default=-1) >= step


def end_of(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for the process to end, and return (exit code, stderr)."""
    _, stderr = process.communicate(timeout=300)
    return process.returncode, stderr


def two_kills(launch: Launch, workdir: Path, network: str = "lenet5") -> None:
    """Kill a run twice, and resume it to its end."""
    dice = random.Random(0)
    for step in (9, 36):
        process = launch("train", f"--workdir={workdir}", *flags(network))
        assert wait_for(process, reached(workdir, step))
        time.sleep(dice.uniform(0, 0.2))
        process.kill()
        assert end_of(process)[0] == -signal.SIGKILL
    code, stderr = end_of(launch("train", f"--workdir={workdir}", *flags(network)))
    assert code == 0, stderr
    assert all(p.name.isdigit() for p in (workdir / "checkpoints").iterdir())


def three_signals(launch: Launch, workdir: Path) -> None:
    """Stop a run at its start, by two signals at once, and in its last evaluation."""

    def start() -> subprocess.Popen[str]:
        return launch("train", f"--workdir={workdir}", *flags("mlp"))

    process = start()  # it still compiles when the signal comes
    assert wait_for(process, (workdir / "environment.json").exists)
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # by nohup, also in the process
    process.send_signal(signal.SIGTERM if ignored else signal.SIGHUP)
    code, stderr = end_of(process)
    *_, last = stderr.splitlines()  # before it, if it compiles for long, what it waits for
    assert code == 75 and last.startswith("error: stopped by a signal at step 0 of 60; saved")
    assert saved_steps(workdir) == [0]

    process = start()  # the second of two signals ends it without saving
    assert wait_for(process, reached(workdir, 9))
    for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, signal.SIGCONT):
        process.send_signal(number)
    assert end_of(process)[0] in (128 + signal.SIGTERM, 128 + signal.SIGINT)

    process = start()
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch 1.34"):  # the last evaluation before the full one
            break
    process.terminate()
    code, stderr = end_of(process)
    assert code == 75 and "at step 60 of 60; saved" in stderr
    assert not (workdir / "result.json").exists()

    assert end_of(start())[0] == 0


def two_kills_with_feedback(launch: Launch, workdir: Path) -> None:
    """Kill a run in its warm-up, and between two drops of its rate."""
    two_kills(launch, workdir, "feedback")


CHAINS = {
    two_kills: "lenet5",
    three_signals: "mlp",
    two_kills_with_feedback: "feedback",
}


@pytest.fixture(scope="module", autouse=True)
def chains(
    request: pytest.FixtureRequest, launch: Launch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Callable[..., None], tuple[Path, Future[None]]]]:
    """Start the CHAINS that are to be tested; they run beside the other tests of this file."""
    with ThreadPoolExecutor(1) as pool:
        started: dict[Callable[..., None], tuple[Path, Future[None]]] = {}
        for item in request.session.items:
            name = "test_signals_from_outside_change_no_bit"
            if isinstance(item, pytest.Function) and item.originalname == name:
                chain: Any = item.callspec.params["chain"]
                workdir = tmp_path_factory.mktemp(chain.__name__)
                started[chain] = workdir, pool.submit(chain, launch, workdir)
        yield started


# Stopped at an exact place, by a real signal that is raised in this process.


# Each place where a run can be stopped: (owner, function, whether before it rather than after it).
FUNCTIONS: dict[str, tuple[Any, str, bool]] = {
    "restore": (loop, "restore_trainer", False),
    "steps": (trainer.Trainer, "run_steps", False),
    "evaluate": (trainer.Trainer, "evaluate", True),
    "save": (loop, "save_checkpoint", True),
    "finish": (loop, "final_results", True),
}


def stop_at(monkeypatch: pytest.MonkeyPatch, place: str, step: int) -> None:
    """Raise SIGTERM in this process at `step` of the next run, at a place of FUNCTIONS."""
    owner, name, before = FUNCTIONS[place]
    original = getattr(owner, name)

    def wrapped(self: trainer.Trainer, *args: Any) -> Any:
        if before and self.step == step:
            signal.raise_signal(signal.SIGTERM)
        value = original(self, *args)
        if not before and self.step == step:
            signal.raise_signal(signal.SIGTERM)
        return value

    monkeypatch.setattr(owner, name, wrapped)


PLACES = [("restore", 0), ("steps", 1), ("evaluate", 14), ("save", 18), ("steps", 44)]
PLACES += [("steps", 45), ("steps", 46), ("evaluate", 54), ("steps", 59), ("steps", 60)]
PLACES += [("evaluate", 60), ("finish", 60)]
# Before all, at a save, an epoch's first step, and the last evaluation.
QUICK = [PLACES[i] for i in (0, 3, 5, 10)]
# In the warm-up's window; in the evaluation before each drop, and right after one.
WITH_FEEDBACK = [("steps", 10), ("save", 17), ("steps", 20), ("evaluate", 25), ("steps", 26)]
WITH_FEEDBACK += [("steps", 36), ("evaluate", 37), ("evaluate", 49), ("evaluate", 60)]


@pytest.mark.parametrize(
    "network, places",
    [
        ("mlp", QUICK),
        pytest.param("mlp", PLACES, marks=pytest.mark.slow),
        pytest.param("feedback", WITH_FEEDBACK, marks=pytest.mark.slow),
        pytest.param("lenet5_1998", PLACES, marks=pytest.mark.slow),
        pytest.param("lenet5", PLACES, marks=pytest.mark.slow),
    ],
)
def test_a_run_stopped_in_many_places_ends_as_one_that_was_not(
    network, places, references, tmp_path, monkeypatch, capsys
):
    for place, step in places:
        with monkeypatch.context() as patch:
            stop_at(patch, place, step)
            assert train(tmp_path, network) == 75, (place, step)
        last = capsys.readouterr().err.splitlines()[-1]
        stopped = step + (place == "save")  # the next poll is after the next step
        assert last.startswith(f"error: stopped by a signal at step {stopped} of 60; saved"), place
        assert saved_steps(tmp_path)[-1] == stopped
    assert train(tmp_path, network) == 0
    check_same(tmp_path, references(network))


def test_the_run_with_feedback_warms_up_and_drops(references):
    rate = {}
    for line in log_lines(references("feedback")):
        if line["split"] == "train":
            rate[line["step"]] = line["learning_rate"]
    assert rate[13] == rate[14] == pytest.approx(0.01)  # warming up: the window is 20 steps
    after = {step: r for step, r in rate.items() if r != rate[14]}
    expected = {step: 0.1 ** (1 + sum(step > drop for drop in (25, 37, 49))) for step in after}
    assert after == pytest.approx(expected) and len(set(after.values())) >= 3
    test, average = (result(references("feedback"))[k] for k in ("test", "test_average"))
    assert test["examples"] == average["examples"] == 360
    assert test["loss"] != average["loss"]


def test_a_finished_run_is_only_evaluated_again(references, tmp_path, monkeypatch):
    reference = references("mlp")
    before = {p: p.stat().st_mtime_ns for p in (reference / "checkpoints").rglob("*")}
    log, final = (reference / "metrics.jsonl").read_text(), result(reference)
    (reference / "result.json").unlink()
    monkeypatch.setattr(trainer.Trainer, "run_steps", None)  # no step may be made
    assert train(reference, "mlp") == 0
    assert {p: p.stat().st_mtime_ns for p in (reference / "checkpoints").rglob("*")} == before
    assert (reference / "metrics.jsonl").read_text() == log and result(reference) == final


@pytest.mark.slow
def test_a_longer_run_goes_on_from_a_shorter_one(references, tmp_path):
    def go_on(workdir: Path, end: int) -> None:  # batch size 1: many steps in one dispatch
        more = (
            *("data.batch_size=1", "log_every=1000", "eval_every=9", "checkpoint_every=9"),
            "eval_batch_size=360",
        )
        loop.train(configured(*more, f"steps={end}"), workdir)

    ends = [1, 1437, 1470]  # an epoch is 1,437 steps
    for end in ends:
        go_on(tmp_path / "parts", end)
    go_on(tmp_path / "whole", ends[-1])
    parts, whole = (digests(tmp_path / p, ends[-1]) for p in ("parts", "whole"))
    assert parts["variables"] == whole["variables"]
    of_log = "['window']"  # counts since the last line of the log, and there is one at each end
    for leaf in parts["training"]:
        assert leaf.startswith(of_log) or parts["training"][leaf] == whole["training"][leaf]


def test_a_run_cannot_end_before_the_step_it_is_at(references, capsys):
    reference = references("mlp")
    assert train(reference, "mlp", "--config.steps=50") == 2
    assert f"the run in {reference} is at step 60 already" in capsys.readouterr().err
    assert saved_steps(reference)[-1] == STEPS
    assert json.loads((reference / "config.json").read_text())["steps"] == STEPS


def test_no_split_is_evaluated_twice_at_a_step(tmp_path, monkeypatch):
    counted = []

    def count(step, variables, data, *more):
        counted.append(data.examples)
        return original(step, variables, data, *more)

    original = trainer.sum_metrics
    monkeypatch.setattr(trainer, "sum_metrics", count)
    loop.train(configured("steps=3", "eval_batch_size=360"), tmp_path)
    assert sorted(counted) == [360, 1437]  # test images, for log and result; training images


@pytest.mark.slow
def test_new_curvature_at_the_start_of_an_epoch_is_the_same_after_a_stop(tmp_path):
    more = [f.removeprefix("--config.") for f in NETWORKS["lenet5_1998"]]
    few = ("data.batch_size=360", "steps=9", "optimizer.samples=5")  # an epoch is 3.99 steps
    r = build_trainer(Member(resolve(config.load_config("lenet5_digits", [*more, *few]))))
    while r.step < 6:
        if r.step in (3, 4, 5):
            with Saver([Checkpoints(tmp_path / str(r.step))]) as saver:
                saver.save(r)
        r.run_steps()
    whole = host(r.member_state(slice(None)))
    for step in (3, 4, 5):
        assert restore_trainer(r, [Checkpoints(tmp_path / str(step))]) and r.step == step
        while r.step < 6:
            r.run_steps()
        check_equal(r.member_state(slice(None)), whole)


@pytest.mark.slow
def test_a_residual_net_goes_on_from_a_checkpoint_with_the_same_bits(tmp_path):
    """Its step, which uses the forms for one CPU, resumes in the same program and in another."""
    more = ("model.name=resnet20", "model.width=0.25", "model.blocks=(1,1,1)")
    options = [*more, "model.bn_group=16", "steps=6"]

    def assembled() -> trainer.Trainer:
        return build_trainer(Member(resolve(config.load_config("lenet5_digits", options))))

    first, second = assembled(), assembled()
    while first.step < 6:
        if first.step == 3:
            with Saver([Checkpoints(tmp_path)]) as saver:
                saver.save(first)
        first.run_steps()
    whole = host(first.member_state(slice(None)))
    for again in (first, second):
        assert restore_trainer(again, [Checkpoints(tmp_path)]) and again.step == 3
        while again.step < 6:
            again.run_steps()
        check_equal(again.member_state(slice(None)), whole)


# Several seeds.


def host(tree: Any) -> list[np.ndarray]:
    """Return the leaves of `tree` as arrays, random keys as their data."""
    is_key = lambda x: jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)  # noqa: E731
    leaves = jax.tree.leaves(tree)
    return [np.asarray(jax.random.key_data(x) if is_key(x) else x) for x in leaves]


def check_equal(a: Any, b: Any) -> None:
    for x, y in zip(host(a), host(b), strict=True):
        assert x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()


FORMS = (SeedAxis("in_turn"), SeedAxis("vmapped"), SeedAxis("unrolled"))


@pytest.mark.parametrize(
    "form", [pytest.param(f, marks=() if f.vmapped else pytest.mark.slow) for f in FORMS]
)
def test_a_checkpoint_has_a_leading_axis_of_seeds_and_fits_all_forms(form, tmp_path):
    first = build_trainer(Member(configured("seeds=2")), axis=form)
    while first.step < 5:
        first.run_steps()
    folder = tmp_path / "checkpoints"
    with Saver([Checkpoints(folder)]) as saver:
        saver.save(first)
    shapes = [entry["shape"] for item in digests(tmp_path, 5).values() for entry in item.values()]
    assert all(shape[0] == 2 for shape in shapes)
    for axis in FORMS:
        other = build_trainer(Member(configured("seeds=2")), axis=axis)
        assert restore_trainer(other, [Checkpoints(folder, read_only=True)])
        assert other.step == 5 and len(other.states) == (1 if axis.vmapped else 2)
        check_equal(other.member_state(slice(None)), first.member_state(slice(None)))
        other.run_steps()  # it can train on
    with pytest.raises(ConfigError, match=r"saved as \w+\[2.*needed as \w+\[3"):
        three = build_trainer(Member(configured("seeds=3")))
        restore_trainer(three, [Checkpoints(folder, read_only=True)])


@pytest.mark.parametrize("together", [False, True])
def test_a_seed_begins_the_same_whatever_other_seeds_there_are(together):
    alone = build_trainer(Member(configured("seed=1")), axis=SeedAxis("in_turn"))
    among = build_trainer(
        Member(configured("seeds=2")), axis=SeedAxis("vmapped" if together else "in_turn")
    )
    second = among.member_state(slice(None)) if together else among.states[1]
    key = among.keys[0] if together else among.keys[1]
    if together:
        second, key = jax.tree.map(lambda x: x[1], (second, key))
    check_equal((second, key), (alone.states[0], alone.keys[0]))


@pytest.mark.parametrize("together", [False, True])
def test_seeds_begin_with_weights_and_random_keys_of_their_own(together):
    trainer = build_trainer(
        Member(configured("seeds=3")), axis=SeedAxis("vmapped" if together else "in_turn")
    )
    for per_seed in (trainer.seed_variables(), trainer.axis.unstack(trainer.keys)):
        assert len({b"".join(x.tobytes() for x in host(tree)) for tree in per_seed}) == 3


@pytest.mark.slow
def test_a_seed_trains_the_same_whatever_other_seeds_there_are(tmp_path):
    loop.train(configured("steps=8", "seeds=2"), tmp_path / "two")
    loop.train(configured("steps=8", "seed=1"), tmp_path / "one")
    of_second = [line for line in log_lines(tmp_path / "two") if line["seed"] == 1]
    assert of_second == log_lines(tmp_path / "one")


def test_seeds_have_orders_of_their_own():
    batches = [sampler.batch_indices(1437, seed, 3, 2, 32) for seed in (0, 1, 0)]
    assert (batches[0] == batches[2]).all() and (batches[0] != batches[1]).any()


def test_seeds_together_train_like_single_ones():
    losses = []
    for axis in FORMS:
        c = configured("seeds=2", "log_every=1000", "eval_every=100")
        r = build_trainer(Member(c), axis=axis)
        while r.step < 50:
            r.run_steps()
        losses.append([report["loss"] for report in r.metrics("window")])
    for others in losses[1:]:
        np.testing.assert_allclose(losses[0], others, rtol=1e-4)
    assert losses[0][0] != losses[0][1]


# The chains ran during the tests above.


@pytest.mark.parametrize(  # the two kills with feedback are those two with a larger state
    "chain", [pytest.param(c, marks=pytest.mark.slow) if c is two_kills else c for c in CHAINS]
)
def test_signals_from_outside_change_no_bit(chain, chains, references):
    workdir, future = chains[chain]
    future.result()
    check_same(workdir, references(CHAINS[chain]))


@pytest.mark.slow
def test_twenty_kills_at_random_times_change_no_bit(references, launch, tmp_path):
    dice, kills, runs = random.Random(1), 0, 0
    started = time.monotonic()
    assert end_of(launch("train", f"--workdir={tmp_path / '0'}", *flags("lenet5")))[0] == 0
    whole = time.monotonic() - started
    while kills < 20:
        workdir = tmp_path / str(runs + 1)
        process = launch("train", f"--workdir={workdir}", *flags("lenet5"))
        try:
            process.wait(dice.uniform(0, 1.1 * whole))
        except subprocess.TimeoutExpired:
            process.kill()
            kills += 1
        code, stderr = end_of(process)
        assert code in (0, -signal.SIGKILL), stderr
        if code == 0:
            check_same(workdir, references("lenet5"))
            runs += 1
    code, stderr = end_of(launch("train", f"--workdir={workdir}", *flags("lenet5")))
    assert code == 0, stderr
    check_same(workdir, references("lenet5"))
