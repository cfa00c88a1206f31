"""Evaluations and checkpoints that come too soon are left out; those of the end never."""

import pytest
from run_logs import log_lines

from cnn_archs import config
from cnn_archs.errors import ConfigError
from cnn_archs.experiment import resolve, resolve_settings
from cnn_archs.training import loop
from cnn_archs.training.pace import Pace

FEW = ("model.name=mlp", "model.hidden=(3,)", "data.batch_size=100", "eval_batch_size=400")


def test_the_wait_begins_anew_with_each_event_of_a_kind():
    now = [100.0]
    pace = Pace({"evaluate": 0.0, "checkpoint": 10.0}, lambda: now[0])
    seen = []
    for now[0] in (101.0, 109.9, 110.0, 119.9, 125.0, 134.9, 135.0):
        assert pace.allows("evaluate")
        seen.append(pace.allows("checkpoint"))
    assert seen == [False, False, True, False, True, False, True]


def test_a_run_leaves_out_what_comes_too_soon_and_never_its_end(tmp_path, monkeypatch):
    saved: list[int] = []
    save = loop.save_checkpoint

    def noted(trainer, *more):
        saved.append(trainer.step)
        save(trainer, *more)

    monkeypatch.setattr(loop, "save_checkpoint", noted)
    often = ("eval_every=0.2", "checkpoint_every=0.2", "log_every=100", "steps=8")
    for name, seconds in (("all", 0), ("few", 1000)):
        keys = (f"eval_seconds={seconds}", f"checkpoint_seconds={seconds}")
        loop.train(
            resolve(config.load_config("lenet5_digits", [*FEW, *often, *keys])), tmp_path / name
        )
    assert saved == [3, 6, 8, 8]
    tested = [
        [line["step"] for line in log_lines(tmp_path / name) if line["split"] == "test"]
        for name in ("all", "few")
    ]
    assert tested == [[3, 6, 8], [8]]


def test_a_rate_does_not_depend_on_the_speed():
    keys = ("schedule.name=plateau", "data.holdout=100", "eval_seconds=5")
    with pytest.raises(ConfigError, match="eval_seconds=5: schedule plateau counts evaluations"):
        resolve_settings(config.load_config("lenet5_digits", list(keys)))
