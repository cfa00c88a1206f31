"""Runs of older versions, whose configs have other names for some keys, are read and resumed.

`older/` has the config.json and the result.json of a run that commit b66d5cc made.
"""

import json
import shutil
from pathlib import Path

import pytest

import cnn_archs.config as configs
from cnn_archs import cli, config_keys
from cnn_archs.errors import DataError
from cnn_archs.planning import throughput
from cnn_archs.report.read_runs import read_collections
from cnn_archs.result_files import read_result
from cnn_archs.run_dir import RunDir
from cnn_archs.sweep_dir import SweepDir

OLDER = Path(__file__).resolve().parent / "older"
KEYS = ("color.name=jitter", "data.downsample=2", "data.on_corrupt=skip")
MORE = ("model.name=mlp", "model.hidden=(4,)", "steps=4", "data.batch_size=50")
NEWER = {  # keys that came after that commit, with the values that change nothing
    "seeds_form": "default",
    "cuda_graph": True,
    "eval_seconds": 0.0,
    "checkpoint_seconds": 0.0,
    "eval_examples": 0,
    "frozen": "",
    "data.channel_order": "rgb",
    "data.std": [],
    "schedule.bias_factors": [],
    "warm_start.new_head": False,
}
SAME = ("--config=lenet5_digits", *(f"--config.{key}" for key in (*MORE, *KEYS)))


def test_the_files_are_of_the_older_commit():
    config = json.loads((OLDER / "config.json").read_text())
    assert config["colour"]["name"] == "jitter" and "color" not in config
    assert (config["data"]["shrink"], config["data"]["damaged"]) == (2, "skip")
    made = json.loads((OLDER / "result.json").read_text())["made"]
    assert made["config"] == config and made["git_commit"].startswith("b66d5cc")


def test_its_config_is_that_of_the_same_experiment_today():
    expected = configs.load_config("lenet5_digits", [*MORE, *KEYS])
    assert RunDir(OLDER).config().to_json(sort_keys=True) == expected.to_json(sort_keys=True)
    saved = [RunDir(OLDER).saved_config(), read_result(OLDER / "result.json")["made"]["config"]]
    today = config_keys.flatten(json.loads(expected.to_json()))
    for config in saved:
        then = config_keys.flatten(config)
        assert {key: today[key] for key in then} == then
        assert {key: today[key] for key in today.keys() - then.keys()} == NEWER


def test_a_resnet_whose_config_does_not_say_its_first_pool_has_the_padded_one():
    """In its version the experiment had the padded pool; today's has the authors' pool."""
    saved = json.loads(configs.load_config("resnet_imagenet:50", []).to_json())
    assert saved["model"].pop("pool1") == "overhanging"
    assert configs.parse_config(saved, Path("config.json")).model.pool1 == "padded"
    for form in ("50_v1_5", "50_v2"):
        assert configs.load_config(f"resnet_imagenet:{form}", []).model.pool1 == "padded"


def test_its_result_is_of_the_same_training_for_plan():
    asked = json.loads(configs.load_config("lenet5_digits", [*MORE, *KEYS]).to_json())
    assert throughput.is_same_work(read_result(OLDER / "result.json"), asked)
    other = json.loads(configs.load_config("lenet5_digits", [*MORE, *KEYS[1:]]).to_json())
    assert not throughput.is_same_work(read_result(OLDER / "result.json"), other)


def test_a_report_names_its_keys_as_they_are_today(tmp_path):
    for name in ("config.json", "result.json"):
        shutil.copy(OLDER / name, tmp_path)
    for path in (tmp_path, tmp_path / "result.json"):
        ((cell,),) = [collection.cells for collection in read_collections([path])]
        assert cell.config["color"]["name"] == "jitter"
        assert set(KEYS) < set(cell.overrides)


def test_a_sweep_of_an_older_commit_names_its_keys_as_they_are_today(tmp_path):
    older = ["lenet5_digits", "colour.name=pca", "colour.sigma=0.2", "data.shrink=2", "steps=4"]
    stated = {"title": "t", "seeds": 1, "cells": {"a": older}, "overrides": ["data.damaged=skip"]}
    (tmp_path / "sweep.json").write_text(json.dumps(stated))
    found = SweepDir(tmp_path).spec()
    today = ["lenet5_digits", "color.name=pca", "color.sigma=0.2", "data.downsample=2", "steps=4"]
    assert found["cells"] == {"a": today} and found["overrides"] == ["data.on_corrupt=skip"]


def test_an_older_run_is_resumed_and_evaluated(tmp_path, capsys):
    """The newer keys are those of the config.json alone: checkpoints have none."""
    assert cli.main(["train", *SAME, f"--workdir={tmp_path}"]) == 0
    shutil.copy(OLDER / "config.json", tmp_path)
    assert cli.main(["evaluate", f"--workdir={tmp_path}"]) == 0
    assert cli.main(["train", *SAME, f"--workdir={tmp_path}", "--config.steps=6"]) == 0
    assert '"shrink"' not in (tmp_path / "config.json").read_text()
    shutil.copy(OLDER / "config.json", tmp_path)
    other = ("--config.color.name=none", f"--workdir={tmp_path}")
    capsys.readouterr()
    assert cli.main(["train", *SAME, *other]) == 2
    assert "another config (color.brightness, " in capsys.readouterr().err


def test_a_value_that_is_out_of_its_range_today_is_read_as_it_was(tmp_path):
    saved = json.loads((OLDER / "config.json").read_text())
    saved["optimizer"]["momentum"], saved["model"]["hidden"] = -5.0, []
    (tmp_path / "config.json").write_text(json.dumps(saved))
    found = RunDir(tmp_path).config()
    assert found.optimizer.momentum == -5.0 and tuple(found.model.hidden) == ()
    saved["optimizer"]["momentum"] = "0.9"
    (tmp_path / "config.json").write_text(json.dumps(saved))
    with pytest.raises(DataError, match="is damaged: .*momentum"):
        RunDir(tmp_path).config()


@pytest.mark.parametrize(
    "old, new",
    [
        ("colour.name=pca", "color.name=pca"),
        ("data.damaged=skip", "data.on_corrupt=skip"),
        ("data.shrink=2", "data.downsample=2"),
    ],
)
def test_an_old_key_on_the_command_line_is_the_new_one_and_a_note_says_so(old, new, capsys):
    assert cli.parse(["train", f"--config.{old}"])[1] == [new]
    assert capsys.readouterr().err == f"note: --config.{old} is --config.{new} now\n"


def test_only_whole_keys_are_renamed():
    assert config_keys.rename_old_override("colours.name=pca") == "colours.name=pca"
    assert config_keys.rename_old_override("data.shrinkage=2") == "data.shrinkage=2"
    assert config_keys.rename_old_override("data.damaged") == "data.on_corrupt"
    assert config_keys.rename_old_keys({"model": {"name": "mlp", "colour": 1}, "name": "old"}) == {
        "model": {"name": "mlp", "colour": 1}
    }
