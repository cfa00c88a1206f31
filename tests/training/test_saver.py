"""Checkpoints are written in a thread: whole, in order, and with their errors told."""

import shutil
import signal
import threading
import time

import jax
import numpy as np
import pytest

from cnn_archs import cli, config
from cnn_archs.checkpoints import Checkpoints
from cnn_archs.errors import DataError
from cnn_archs.experiment import resolve
from cnn_archs.run_dir import RunDir
from cnn_archs.training.build import Member, build_trainer
from cnn_archs.training.seeds import SeedAxis
from cnn_archs.training.trainer import Trainer
from cnn_archs.training.trainer_checkpoint import Saver, restore_trainer

FEW = ("model.name=mlp", "model.hidden=(3,)", "data.batch_size=100", "eval_batch_size=400")
FLAGS = ("--config.checkpoint_every=0.2", "--config.log_every=3")  # of 14.37 steps: 3, 6, 9, 12, 15
SECONDS = 60.0


def trainer_of(*more, axis=None):
    experiment = resolve(config.load_config("lenet5_digits", [*FEW, *more]))
    return build_trainer(Member(experiment), axis=axis)


def train(workdir, *more):
    keys = [f"--config.{key}" for key in FEW]
    return cli.main(["train", f"--workdir={workdir}", *keys, *FLAGS, "--config.steps=9", *more])


def host(tree):
    return jax.tree.map(np.array, tree)


@pytest.mark.parametrize("vmapped", [False, True])
def test_what_is_saved_is_the_state_at_the_save_though_the_training_goes_on(
    vmapped, tmp_path, monkeypatch
):
    """The save waits for five more steps, whose states take the place of the saved one."""
    run = trainer_of("seeds=2", axis=SeedAxis("vmapped" if vmapped else "in_turn"))
    run.run_steps()
    before = host(run.member_state(slice(None)))
    save, on = Checkpoints.save, threading.Event()

    def late(self, step, items, notes):
        assert on.wait(SECONDS)
        save(self, step, items, notes)

    monkeypatch.setattr(Checkpoints, "save", late)
    with Saver([Checkpoints(tmp_path)]) as saver:
        saver.save(run)
        for _ in range(5):
            run.run_steps()
        on.set()
    again = trainer_of("seeds=2", axis=SeedAxis("vmapped" if vmapped else "in_turn"))
    assert restore_trainer(again, [Checkpoints(tmp_path)]) and (again.step, run.step) == (1, 6)
    after = host(again.member_state(slice(None)))
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        np.testing.assert_array_equal(a, b)


def test_saves_are_in_order_and_the_last_one_is_waited_for(tmp_path, monkeypatch):
    """Each begins after the one before it has ended, and the run ends after all."""
    happened: list[tuple[str, int]] = []
    save = Checkpoints.save

    def slow(self, step, items, notes):
        happened.append(("begin", step))
        time.sleep(0.05)
        save(self, step, items, notes)
        happened.append(("end", step))

    monkeypatch.setattr(Checkpoints, "save", slow)
    assert train(tmp_path) == 0
    assert happened == [(what, step) for step in (3, 6, 9) for what in ("begin", "end")]
    assert RunDir(tmp_path).has_result() and RunDir(tmp_path).newest_step() == 9


def no_room_for_save(number, monkeypatch):
    """Leave no room on the disk when a process makes its save `number`, from 0 on."""
    usage, asked = shutil.disk_usage, []

    def disk_usage(folder):
        asked.append(folder)
        found = usage(folder)
        return found._replace(free=0) if len(asked) == number + 1 else found

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)


@pytest.mark.parametrize("number, step, last", [(0, 3, 6), (2, 9, 9)])
def test_an_error_is_told_at_the_next_save_or_at_the_end(
    number, step, last, tmp_path, monkeypatch, capsys
):
    reached: list[int] = []
    run_steps = Trainer.run_steps

    def noted(self, *arguments):
        run_steps(self, *arguments)
        reached.append(self.step)

    monkeypatch.setattr(Trainer, "run_steps", noted)
    no_room_for_save(number, monkeypatch)
    assert train(tmp_path) == 3
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: cannot save step {step} in {tmp_path}/checkpoints: ")
    assert error.endswith("needed, 0.0 MB free")
    assert reached[-1] == last and not RunDir(tmp_path).has_result()
    assert train(tmp_path) == 0 and RunDir(tmp_path).newest_step() == 9


def test_a_run_that_is_stopped_waits_for_both_saves(tmp_path, monkeypatch, capsys):
    save, run_steps, saving = Checkpoints.save, Trainer.run_steps, threading.Event()

    def slow(self, step, items, notes):
        saving.set()
        time.sleep(0.2)
        save(self, step, items, notes)

    def stopped(self, *arguments):
        if self.step == 3:
            assert saving.wait(SECONDS)
            signal.raise_signal(signal.SIGTERM)
        run_steps(self, *arguments)

    monkeypatch.setattr(Checkpoints, "save", slow)
    monkeypatch.setattr(Trainer, "run_steps", stopped)
    assert train(tmp_path) == 75
    assert "stopped by a signal at step 4 of 9; saved" in capsys.readouterr().err
    steps = sorted(int(p.name) for p in (tmp_path / "checkpoints").iterdir())
    assert steps == [3, 4]


def test_an_error_is_told_where_the_body_has_none(tmp_path, monkeypatch):
    run = trainer_of()
    no_room_for_save(0, monkeypatch)
    with pytest.raises(DataError, match="cannot save step 0"), Saver([Checkpoints(tmp_path)]) as s:
        s.save(run)
