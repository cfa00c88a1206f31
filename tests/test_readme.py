"""The README is true: its commands run, its numbers are those of results/."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
from readme_tables import mnist_table, protocols_table

from cnn_archs import cli
from cnn_archs import config as configs
from cnn_archs.report import provenance
from cnn_archs.sweeps import grid, sweep_file

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
CIFAR10 = ROOT / "results" / "cifar10"
PROTOCOLS = ("single", "mirror", "ten_crop")
SHELL = [
    line
    for block in re.findall(r"```sh\n(.*?)```", README, re.S)
    for line in re.sub(r"\\\n *", "", block).splitlines()
]

# Not run here, and why. Those of ours are parsed and their config is resolved.
NOT_RUN = {
    "make demo": "make test sets up the same way; run by hand before a release",
    "make test": "this is it",
    "make quick-degradation": "data and a quarter of an hour",
    "make bench": "half an hour; tests/benchmarks/ runs each of them at a small size",
    "cnn-archs sweep --config=degradation --workdir=runs/degradation --dry_run": "ten seconds",
    "cnn-archs sweep --config=degradation --workdir=runs/degradation": "data and weeks",
    "cnn-archs report runs/degradation -o report.html": "these",
    "cnn-archs prepare mnist": "network",
    "cnn-archs prepare imagenet2012 --manual_dir=archives": "archives",
    "cnn-archs prepare photos --image_folder=photos": "data",
    "cnn-archs train --config=alexnet_imagenet --config.mesh.model=2": "data and two devices",
    "cnn-archs train --processes=4": "tests/distributed/test_multihost.py",
    "cnn-archs train --coordinator=node0:29400 --num_processes=2 --process_id=1": "another machine",
    "cnn-archs claims": "half a minute; tests/claims/test_claims.py has every claim",
    "cnn-archs train --config=lenet5_mnist": "data and a quarter of an hour",
    "cnn-archs train --config=lenet5_1998_mnist:map": "data and an hour",
    "cnn-archs train --config=resnet_cifar10:56": "data and a day",
    "cnn-archs train --config=vgg_imagenet:A": "data and weeks",
    "cnn-archs train --config=vgg_imagenet:D_from_A "
    "--config.warm_start.workdir=runs/vgg_imagenet_A": "data and weeks",
    "cnn-archs train --config=resnet_cifar10:20_quick --workdir=resnet": "data and 20 minutes",
    "cnn-archs train --config=vgg_cifar10:quick --workdir=vgg": "data and 20 minutes",
    "cnn-archs train --config=alexnet_cifar10:quick --workdir=alexnet": "data and 20 minutes",
    "cnn-archs train --config=googlenet_cifar10:quick --workdir=googlenet": "data and 20 minutes",
    "cnn-archs evaluate --workdir=resnet,vgg,alexnet,googlenet --protocol=ten_crop": "these",
    "cnn-archs train --config=resnet_imagenet:18 --config.data.name=image_folder "
    "--config.data.data_dir=photos --config.model.num_classes=10 --config.data.holdout=500": "data",
    "cnn-archs predict --workdir=runs/resnet_imagenet_18 photos/test1 --format=csv": "data",
    "cnn-archs plan --config=vgg_imagenet:E --devices=8 --kind=h100 --cores=96": "a process that "
    "simulates eight devices; tests/planning/test_plan.py has one with four",
    "pip install '.[cuda13]'": "hardware",
    "pip install '.[tpu]'": "hardware",
    "pip install '.[slurm]'": "a package index",
    "cnn-archs submit --config=resnet_imagenet:50 --workdir=runs/resnet50 --nodes=2 "
    "--gpus_per_node=8 --hours=12 --slurm.partition=gpu --slurm.cpus-per-task=8": "SLURM",
    "cnn-archs submit --sweep=degradation --workdir=runs/degradation --jobs=16 "
    "--gpus_per_node=1": "SLURM",
}


def test_every_command_is_run_or_stands_in_the_list():
    run_here = [line for line in SHELL if line not in NOT_RUN]
    assert len(run_here) >= 5 and set(NOT_RUN) <= set(SHELL)
    assert all(line.startswith("cnn-archs ") for line in run_here)


@pytest.mark.parametrize("line", NOT_RUN)
def test_what_is_not_run_is_well_formed(line):
    words = shlex.split(line)
    if words[0] == "make":
        subprocess.run(["make", "-n", words[1]], cwd=ROOT, check=True, capture_output=True)
    elif words[0] == "pip":
        extra = re.fullmatch(r"\.\[(\w+)\]", words[2])
        assert extra and re.search(
            rf"^{extra[1]} = \[", (ROOT / "pyproject.toml").read_text(), re.M
        )
    else:
        arguments, overrides = cli.parse(words[1:])
        sweep = arguments.config if arguments.command == "sweep" else vars(arguments).get("sweep")
        if sweep:
            assert grid.list_cells(sweep_file.load_sweep(sweep), Path("runs"), overrides)
        elif hasattr(arguments, "config"):
            configs.load_config(arguments.config, overrides)


def test_the_commands_run_in_their_order(tmp_path, monkeypatch, capsys):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    Image.new("L", (20, 20), 255).save("digit.png")
    for line in SHELL:
        if line not in NOT_RUN:
            words = shlex.split(line)[1:]
            short = ["--config.steps=3"] if words[0] == "train" else []
            assert cli.main([*words, *short]) == 0, line
    for block in re.findall(r"```python\n(.*?)```", README, re.S):
        names: dict = {}
        exec(block, names)
        check_library(names)
    assert "multiply-adds" in capsys.readouterr().out


def check_library(names: dict) -> None:
    """Check what the README says of the names that its Python code has bound."""
    net, found, labels = names["net"], names["found"], names["labels"]
    assert names["images"].shape == (360, 32, 32, 1) and names["images"].dtype == np.uint8
    assert labels.shape == (360,) and labels.dtype == np.int32
    assert net.step == 300 and names["error"] == pytest.approx(np.mean(found.labels != labels))
    assert names["error"] < 0.08
    assert (names["logits"].argmax(-1) == found.labels).all()
    assert names["maps"].shape == (8, 10, 10, 16) and names["maps"].dtype == np.float32
    assert "resnet50_v2" in names["names"] and names["model"].activation == "relu"


def table(name):
    return README.split(f"<!-- {name} -->\n")[1].split(f"<!-- /{name} -->")[0]


def test_the_tables_are_those_of_the_results():
    assert table("results") == mnist_table(ROOT / "results" / "mnist")
    assert table("protocols") == protocols_table(CIFAR10, PROTOCOLS)


def test_the_short_runs_reach_what_their_experiments_say():
    errors = {
        name: json.loads((CIFAR10 / f"{name}.json").read_text())["test"]["top1_error"][0]
        for name in ("alexnet", "vgg", "googlenet", "resnet")
    }
    assert max(errors["alexnet"], errors["googlenet"]) <= 0.65
    assert max(errors["vgg"], errors["resnet"]) <= 0.45
    for protocol in PROTOCOLS:
        found = json.loads((CIFAR10 / f"{protocol}.json").read_text())
        assert found["networks"] == 4 and found["test"]["examples"] == 10_000
        assert found["test"]["top1_error"][0] < found["members_mean"]["test"]["top1_error"]


def test_the_photographs_are_told_apart_far_better_than_by_chance():
    found = json.loads((ROOT / "results" / "photographs" / "resnet18.json").read_text())
    (error,) = found["test"]["top1_error"]
    assert (
        found["test"]["examples"] == 400 and error < 0.6 and f"{100 * error:.2f} % error" in README
    )


def test_each_result_says_what_made_it():
    found = sorted((ROOT / "results").rglob("*.json"))
    assert found
    for path in found:
        if path.parent.name == "benchmarks":  # tests/benchmarks/test_written_results.py
            continue
        result = json.loads(path.read_text())
        made = result["made"]
        for one in provenance.made_of_seeds(made):
            assert one["command"] and one["packages"]["jax"], path
        if "members" in result:
            continue
        assert result["seeds"] and result["device"] and result["protocol"], path
        assert made["config"], path
        assert len(result["test"]["top1_error"]) == len(result["seeds"])
