"""`cnn_archs.train` in a process that belongs to somebody else, with the bits of the command."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import as_a_user

import cnn_archs
from cnn_archs import cli
from cnn_archs import config as configs
from cnn_archs.run_dir import RunDir

TINY = {"model.name": "mlp", "model.hidden": (4,), "steps": 2}
FLAGS = [f"--config.{key}={value}" for key, value in TINY.items()]


def digests(workdir):
    return json.loads((workdir / "checkpoints/2/notes/metadata").read_text())["digests"]


@pytest.fixture(scope="module")
def by_command(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("command")
    assert cli.main(["train", f"--workdir={workdir}", *FLAGS]) == 0
    return workdir


@pytest.mark.slow
def test_a_notebook_that_imported_all_before_keeps_what_is_its_own(by_command, tmp_path, error_of):
    program = Path(__file__).with_name("notebook.py")
    done = subprocess.run(
        [sys.executable, program, tmp_path], capture_output=True, text=True, env=as_a_user()
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr
    found = json.loads(done.stdout)
    assert found["changed"] == [] and found["wakeup"]
    assert digests(tmp_path / "main") == digests(tmp_path / "thread") == digests(by_command)
    assert (tmp_path / "main" / "curves.png").read_bytes()[:4] == b"\x89PNG"
    made = RunDir(by_command).result()["made"]["recipe"]
    assert made["experiment"] == "lenet5_digits" and made["changed"]["epochs"] == 20.0
    assert RunDir(tmp_path / "main").result()["made"]["recipe"] == made
    assert found["command"][:2] == ["cnn_archs.train", "--config=lenet5_digits"]
    assert len(found["labels"]) == 360
    assert found["errors"] == {
        "experiment": error_of(2, "train", "--config=lenet5_digit"),
        "value": error_of(2, "train", "--config=lenet5_digits", "--config.epochs=many"),
        "run": error_of(2, "evaluate", "--workdir=none"),
    }


def test_a_finished_run_is_not_trained_again_and_a_longer_one_goes_on(by_command, capsys):
    result = cnn_archs.train("lenet5_digits", by_command, TINY)
    assert result == RunDir(by_command).result() and result["steps"] == 2
    assert cnn_archs.train("lenet5_digits", str(by_command), TINY | {"steps": 3})["steps"] == 3
    assert capsys.readouterr().err == ""


def test_progress_is_printed_where_it_is_asked_for_and_logged_otherwise(tmp_path, capsys, caplog):
    cnn_archs.train("lenet5_digits", tmp_path / "a", TINY, progress=True)
    assert "epoch 0.04" in capsys.readouterr().err
    with caplog.at_level(logging.INFO, "cnn_archs"):
        cnn_archs.train("lenet5_digits", tmp_path / "b", TINY)
    assert "epoch 0.04" in caplog.text and capsys.readouterr().err == ""


def test_a_config_and_a_file_are_taken_like_a_name(tmp_path):
    text = (Path(configs.EXPERIMENTS) / "lenet5_digits.py").read_text()
    (tmp_path / "mine.py").write_text(text)
    by_file = cnn_archs.train(tmp_path / "mine.py", tmp_path / "file", TINY)
    made = RunDir(tmp_path / "file").config()
    by_config = cnn_archs.train(made, tmp_path / "config")
    assert by_file["test"] == by_config["test"]
    assert digests(tmp_path / "file") == digests(tmp_path / "config")
    assert made == RunDir(tmp_path / "config").config()
    assert by_file["made"]["recipe"]["experiment"] == "mine.py"
    assert by_file["made"]["recipe"]["changed"]["model.name"] == "lenet5"
    assert "recipe" not in by_config["made"]


@pytest.mark.parametrize(
    "overrides, flag",
    [
        ({"epoch": 3}, "--config.epoch=3"),
        ({"data.batch_size": 0}, "--config.data.batch_size=0"),
        ({"optimizer.name": "momentun"}, "--config.optimizer.name=momentun"),
        ({"model.num_classes": 9}, "--config.model.num_classes=9"),
        ({"model": 3}, "--config.model=3"),
        ({"data.image_shape": "(1,"}, "--config.data.image_shape=(1,"),
        ({"deterministic": "perhaps"}, "--config.deterministic=perhaps"),
    ],
)
def test_an_error_is_an_exception_with_the_text_of_the_command(
    overrides, flag, tmp_path, monkeypatch, error_of
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(cnn_archs.errors.ConfigError) as e:
        cnn_archs.train("lenet5_digits", "run", overrides)
    assert str(e.value) == error_of(2, "train", "--workdir=run", flag)


def test_numbers_of_numpy_and_paths_are_values(tmp_path):
    import numpy as np

    cnn_archs.train("lenet5_digits", tmp_path / "a", TINY | {"steps": np.int64(2)})
    more = {"warm_start.workdir": tmp_path / "a", "schedule.learning_rate": np.float64(0.01)}
    cnn_archs.train("lenet5_digits", tmp_path / "b", TINY | more)
    config = RunDir(tmp_path / "b").config()
    assert config.warm_start.workdir == str(tmp_path / "a") and config.steps == 2
    assert config.schedule.learning_rate == 0.01


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(cnn_archs.errors.ConfigError, match=f"cannot write {tmp_path}/file"):
        cnn_archs.train("lenet5_digits", tmp_path / "file" / "run", TINY)
