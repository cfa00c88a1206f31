"""`list`, `train --print_config`, `--version` and `python -m cnn_archs`."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from cnn_archs import cli, models
from cnn_archs import config as configs
from cnn_archs.config_files import EXPERIMENTS, list_names
from cnn_archs.evaluate import views
from cnn_archs.run_dir import RunDir

ROOT = Path(__file__).resolve().parents[2]


def test_everything_that_a_flag_can_name_is_listed(document_of, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    for folder in ("mnist/3.0.1", "mine/1.0.0", "some/config/1.0.0"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "dataset_info.json").write_text("{}")
    (tmp_path / "half" / "1.0.0").mkdir(parents=True)
    found = document_of("list")
    names = {what: [row["name"] for row in rows] for what, rows in found.items()}
    assert names["networks"] == list(models.MODELS) and names["protocols"] == list(views.PROTOCOLS)
    assert names["experiments"] == list_names(EXPERIMENTS) and "base" not in names["experiments"]
    assert "degradation" in names["sweeps"] and names["datasets"][-2:] == ["mine", "some"]
    files = {row["name"]: row["files"] for row in found["datasets"]}
    assert files["mnist"] == "prepared" and files["digits"] == "needs none"
    assert files["cifar10"] == "cnn-archs prepare cifar10" and "half" not in files
    assert all(row["is"] for what in ("networks", "experiments", "sweeps") for row in found[what])
    assert files["image_folder"].endswith("--config.data.data_dir=DIR")
    networks = {row["name"]: row for row in found["networks"]}
    told = {(r["layers"], r["paper"], r["settings"], r["is"]) for r in found["networks"]}
    assert len(told) == len(networks)  # no two are described alike
    assert networks["resnet110_v2"]["layers"] == "110" and networks["vgg_d"]["layers"] == "16"
    assert networks["resnet110_v2"]["paper"] == "He et al. 2016"
    assert "shortcut=C" in networks["resnet50_c"]["settings"]
    resnet = next(row for row in found["experiments"] if row["name"] == "resnet_cifar10")
    assert {"20", "plain56", "20_quick"} <= set(resnet["arguments"])


@pytest.mark.parametrize("what", ["networks", "experiments", "sweeps", "datasets", "protocols"])
def test_one_list_is_a_table(what, document_of, capsys):
    rows = document_of("list", what)
    assert cli.main(["list", what]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.startswith("name")
    assert {row["name"] for row in rows} <= {line.split(" ")[0] for line in lines}


def test_an_unknown_list_has_the_nearest(error_of):
    assert error_of(2, "list", "netwroks") == "list: no list 'netwroks'; did you mean 'networks'?"


EXAMPLES = ["lenet5_1998_mnist:map", "googlenet_imagenet", "shapes:augmented", "cnn_cifar10"]


@pytest.mark.parametrize("experiment", EXAMPLES)
def test_the_printed_config_makes_the_same_config(experiment, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["train", f"--config={experiment}", "--config.seed=3", "--print_config"]
    assert cli.main(words) == 0
    flags = shlex.split(capsys.readouterr().out)
    config = configs.load_config(experiment, ["seed=3"])
    overrides = [flag.removeprefix("--config.") for flag in flags]
    assert "seed=3" in overrides and configs.load_config("mlp_mnist", overrides) == config
    assert cli.main([*words, "--format=json"]) == 0
    assert json.loads(capsys.readouterr().out) == configs.to_plain_dict(config)
    assert not list(tmp_path.iterdir()) and not RunDir(tmp_path).has_config()


def test_the_module_is_the_program_in_any_folder(tmp_path):
    (tmp_path / "jax.py").write_text("raise SystemExit('wrong jax')")
    environment = {"PYTHONPATH": str(ROOT), "PATH": ""}
    for words in (["--version"], ["list", "protocols"], ["train", "--wrong"]):
        done = subprocess.run(
            [sys.executable, "-m", "cnn_archs", *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == (2 if "--wrong" in words else 0), done.stderr
        assert "ten_crop" in done.stdout or "cnn-archs" in done.stdout + done.stderr
