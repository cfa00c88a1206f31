"""Runs that are trained side by side end as if each were alone, and are saved separately."""

import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import pytest
from run_logs import log_lines

from cnn_archs import config
from cnn_archs.checkpoints import Checkpoints
from cnn_archs.errors import ConfigError, NotFinite
from cnn_archs.experiment import resolve
from cnn_archs.sweeps import worker
from cnn_archs.training import loop
from cnn_archs.training.build import Member, build_trainer
from cnn_archs.training.seeds import SeedAxis
from cnn_archs.training.trainer_checkpoint import Saver, restore_trainer

MLP = ("model.name=mlp", "model.hidden=(8,)", "eval_every=0.5", "log_every=4", "steps=24")
SCHEDULES = {  # of which each run has its own numbers
    "exponential": ("schedule.name=exponential", "schedule.every=0.1"),
    "piecewise after a warm-up": (
        *("schedule.name=piecewise", "schedule.boundaries=(0.4,)"),
        *("warmup.name=error", "warmup.window=5", "warmup.error=0.95"),
    ),
    "plateau": (
        *("schedule.name=plateau", "data.holdout=100", "schedule.patience=1"),
        "schedule.improvement=1.0",
    ),
}
PARTS = {"a": ("seed=3",), "b": ("seed=3", "schedule.learning_rate=0.2"), "c": ("seeds=2",)}


def configured(*more):
    return resolve(config.load_config("lenet5_digits", [*MLP, *more]))


def digests(workdir):
    newest = max((workdir / "checkpoints").glob("*"), key=lambda p: int(p.name))
    return json.loads((newest / "notes" / "metadata").read_text())["digests"]


@pytest.mark.parametrize(
    "schedule",
    ["plateau", *(pytest.param(s, marks=pytest.mark.slow) for s in SCHEDULES if s != "plateau")],
)
def test_each_run_ends_as_it_would_alone(schedule, tmp_path):
    parts = [
        (configured(*SCHEDULES[schedule], *own), tmp_path / name) for name, own in PARTS.items()
    ]
    results = loop.train_together(parts)
    for (c, workdir), result in zip(parts, results, strict=True):
        alone = loop.train(c, tmp_path / "alone" / workdir.name)
        assert log_lines(workdir) == log_lines(tmp_path / "alone" / workdir.name)
        assert digests(workdir) == digests(tmp_path / "alone" / workdir.name)
        for key in ("seeds", "test", "train", "train_eval", "steps", "epochs", "params"):
            assert result[key] == alone[key], key
        assert (result["together"], alone["together"]) == (4, len(alone["seeds"]))
        assert result["made"]["config"]["seed"] == c.seeds[0]
    a, b = (log_lines(tmp_path / name)[-1] for name in "ab")
    assert a != b  # the rates do differ


@pytest.mark.slow
def test_a_run_can_resume_alone_and_the_others_without_it(tmp_path):
    parts = [(configured("steps=12", *own), tmp_path / name) for name, own in PARTS.items()]
    loop.train_together(parts)
    longer = [(configured(*own), tmp_path / name) for name, own in PARTS.items()]
    with pytest.raises(ConfigError, match="new has no checkpoint, and other runs .* have one"):
        loop.train_together([longer[0], (longer[1][0], tmp_path / "new")])
    with pytest.raises(ConfigError, match="at different steps, .12, 24.: train each alone"):
        loop.train(*longer[0])
        loop.train_together(longer)
    loop.train_together(longer[1:])
    for c, workdir in longer:
        loop.train(c, tmp_path / "alone" / workdir.name)
        assert digests(workdir) == digests(tmp_path / "alone" / workdir.name)


@pytest.mark.slow
def test_vmapped_runs_train_like_single_ones(tmp_path):
    """Each has its own rate, and is saved as if it were alone."""
    parts = [Member(configured(*own)) for own in PARTS.values()]
    losses = []
    for together in (False, True):
        run = build_trainer(*parts, axis=SeedAxis("vmapped" if together else "in_turn"))
        while run.step < 24:
            run.run_steps()
        losses.append([report["loss"] for report in run.metrics("epoch")])
        folders = [Checkpoints(tmp_path / f"{together}{i}") for i in range(3)]
        with Saver(folders) as saver:
            saver.save(run)
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
    again = build_trainer(*parts, axis=SeedAxis("vmapped"))
    assert restore_trainer(again, [Checkpoints(tmp_path / f"False{i}") for i in range(3)])
    rates = again.states[0].opt_state.memory
    np.testing.assert_allclose(rates[:, 0], [0.05, 0.2, 0.05, 0.05], rtol=1e-6)
    target = jax.tree.leaves(again.member_state(slice(2, 4)))
    assert all(leaf.shape[0] == 2 for leaf in target)


def test_they_differ_in_seed_and_rate_alone():
    with pytest.raises(ConfigError, match="cannot be trained together: they differ in data.batch"):
        build_trainer(Member(configured()), Member(configured("data.batch_size=16")))


def test_a_loss_that_is_not_finite_ends_its_own_run_alone(tmp_path, monkeypatch):
    broken = ("schedule.learning_rate=1e30",)
    names = {"good": (), "broken": broken, "other": ("seed=1",)}
    parts = [(configured(*own), tmp_path / name) for name, own in names.items()]
    with pytest.raises(NotFinite) as e:
        loop.train_together(parts)
    assert e.value.parts == (1,)
    cells: list[Mapping[str, Any]] = [
        {
            "experiment": "lenet5_digits",
            "overrides": [*MLP, *own],
            "workdir": str(tmp_path / name),
            "after": [],
        }
        for name, own in names.items()
    ]
    with pytest.raises(NotFinite, match="not finite at step"):
        worker.train_cells(cells)
    assert (tmp_path / "good" / "result.json").exists() and (tmp_path / "good/curves.png").exists()
    assert (tmp_path / "other" / "result.json").exists()
    assert not (tmp_path / "broken" / "result.json").exists()
