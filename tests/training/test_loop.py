"""A resumed run keeps some files of its workdir and removes others."""

import shutil

import numpy as np
import pytest

from cnn_archs import config as configs
from cnn_archs.errors import ConfigError
from cnn_archs.experiment import resolve
from cnn_archs.run_dir import RunDir
from cnn_archs.training import loop


def experiment(*more):
    few = ["data.batch_size=100", "steps=1", "eval_batch_size=400", "model.hidden=(3,)"]
    return resolve(configs.load_config("lenet5_digits", ["model.name=mlp", *few, *more]))


@pytest.fixture(scope="module")
def plateau(tmp_path_factory):
    """Return the workdir of a run of two steps whose rate follows the error on held-out images."""
    workdir = tmp_path_factory.mktemp("plateau")
    loop.train(experiment(*PLATEAU, "steps=2"), workdir)
    return workdir


PLATEAU = ("schedule.name=plateau", "data.holdout=37")


def mean_in(workdir):
    with np.load(RunDir(workdir).statistics) as arrays:
        return arrays["mean"]


@pytest.mark.slow
def test_statistics_of_a_run_that_was_never_saved_are_not_anothers(tmp_path):
    """A run that ended before its first checkpoint may start again with another config."""
    loop.train(experiment("data.mean=pixel"), tmp_path)
    assert mean_in(tmp_path).shape == (32, 32, 1)
    for step in (tmp_path / "checkpoints").iterdir():
        step.rename(tmp_path / step.name)  # as if none had been saved
    loop.train(experiment("data.mean=channel", "data.holdout=100"), tmp_path)
    assert mean_in(tmp_path).shape == (1, 1, 1)


def contents(folder):
    """Return the content and the time of each file in `folder`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_a_finished_run_that_is_started_again_is_not_touched(plateau, monkeypatch):
    before = contents(plateau)
    elsewhere = {**loop.describe_environment(), "backend": "tpu", "host": "another"}
    monkeypatch.setattr(loop, "describe_environment", lambda _: elsewhere)
    monkeypatch.setattr(loop, "build_trainer", None)  # nothing may be built
    result = loop.train(experiment(*PLATEAU, "steps=2", "log_every=3"), plateau)
    assert result == RunDir(plateau).result() and result["steps"] == 2
    assert contents(plateau) == before
    with pytest.raises(ConfigError, match="another config"):
        loop.train(experiment(*PLATEAU, "steps=2", "mirror=true"), plateau)
    assert contents(plateau) == before


def test_a_result_that_is_missing_says_what_trained_the_run(plateau, tmp_path, monkeypatch):
    copy = shutil.copytree(plateau, tmp_path / "copy")
    first, made = RunDir(copy).result(), RunDir(copy).environment()
    RunDir(copy).remove_result()
    elsewhere = {**loop.describe_environment(), "backend": "tpu", "processor": "another"}
    monkeypatch.setattr(loop, "describe_environment", lambda _: elsewhere)
    again = loop.train(experiment(*PLATEAU, "steps=2"), copy)
    assert again["made"] == first["made"] and again["device"] == first["device"] == "1 x cpu"
    assert RunDir(copy).environment() == made and made["compiler_options"] == {}  # on a CPU


def test_the_result_of_a_shorter_run_is_removed(plateau, tmp_path, monkeypatch):
    copy = shutil.copytree(plateau, tmp_path / "copy")

    def stopped(*_):
        raise ConfigError("here")

    monkeypatch.setattr(loop, "run_to_end", stopped)
    with pytest.raises(ConfigError, match="here"):
        loop.train(experiment(*PLATEAU, "steps=3"), copy)
    assert not RunDir(copy).has_result()


def test_when_to_evaluate_is_fixed_where_the_rate_depends_on_it(plateau, tmp_path):
    with pytest.raises(ConfigError, match=r"another config \(eval_every\)"):
        loop.train(experiment(*PLATEAU, "steps=4", "eval_every=0.5"), plateau)
    loop.train(experiment(), tmp_path)
    loop.train(experiment("steps=2", "eval_every=0.5", "data.threads=3"), tmp_path)


def test_a_plateau_needs_held_out_images(tmp_path):
    with pytest.raises(ConfigError, match="set --config.data.holdout"):
        loop.train(experiment("schedule.name=plateau"), tmp_path / "run")


@pytest.mark.parametrize(
    "overrides, epochs, steps",
    [
        (["epochs=1"], 1.0, 0),
        (["steps=7"], 0.0, 7),
        ([], 0.0, 64_000),
        (["steps=0", "epochs=2"], 2.0, 0),
    ],
)
def test_how_long_is_said_in_epochs_or_in_steps(overrides, epochs, steps):
    c = configs.load_config("resnet_cifar10:20", overrides)
    assert (c.epochs, c.steps) == (epochs, steps)


def test_but_not_in_both():
    with pytest.raises(ConfigError, match="one of them must be 0"):
        configs.load_config("lenet5_digits", ["epochs=1", "steps=1"])
