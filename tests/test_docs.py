"""README.md and docs/ are true: their commands run, their numbers are those of results/."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pages import PAGES, README, ROOT, commands, page, programs, snippets, table
from readme_tables import mnist_table, protocols_table

from cnn_archs import cli
from cnn_archs import config as configs
from cnn_archs.claims import results_page
from cnn_archs.report import provenance
from cnn_archs.sweeps import grid, sweep_file

CIFAR10 = ROOT / "results" / "cifar10"
PROTOCOLS = ("single", "mirror", "ten_crop")
# Pages whose commands are for other machines, or are no commands of ours to check.
ELSEWHERE = ("docs/tpu_pod.md", "docs/faults.md", "docs/known_issues.md", "docs/missing.md")
SHELL = [
    *dict.fromkeys(
        line for name, text in PAGES.items() if name not in ELSEWHERE for line in commands(text)
    )
]

# Not run here, and why. Those of ours are parsed and their config is resolved.
NOT_RUN = {
    "pip install .": "tests/test_packaging.py",
    "cnn-archs import resnet20-12fca82f.th --config=resnet_cifar10:20 --normalization=imagenet "
    "--workdir=runs/published": "a file from elsewhere; tests/conversion/test_torch_files.py",
    "cnn-archs import resnet20-12fca82f.th --config=resnet_cifar10:20 --workdir=runs/published "
    "--config.data.mean=0.485,0.456,0.406 --config.data.std=0.229,0.224,0.225": "the same",
    "cnn-archs evaluate --workdir=runs/published": "the same, and data",
    "cnn-archs import r18.pth --config=resnet_imagenet:18 --normalization=imagenet "
    "--workdir=runs/r18 --config.data.name=image_folder --config.data.data_dir=photos "
    "--config.model.num_classes=5": "run with a narrow one by tests/commands/test_own_images.py",
    "cnn-archs evaluate --workdir=runs/r18": "the same",
    "cnn-archs import resnet18.pth --config=resnet_imagenet:18 --normalization=imagenet "
    "--workdir=runs/imagenet": "the same",
    "cnn-archs train --config=resnet_imagenet:18 --normalization=imagenet --workdir=runs/probe "
    "--config.data.name=image_folder --config.data.data_dir=photos --config.model.num_classes=10 "
    "--config.warm_start.workdir=runs/imagenet --config.warm_start.new_head=true "
    "'--config.frozen=conv*' --config.model.pool1=padded": "the same, and data",
    "cnn-archs figures --workdir=runs/relu --kind=deconv --layer=C3": "tests/visualize/"
    "test_explanations.py",
    "cnn-archs figures --workdir=runs/relu --kind=occlusion": "the same",
    "cnn-archs figures --workdir=runs/lenet5_digits --kind=gradcam --image=digit.png": "the same",
    "cnn-archs neighbours --workdir=runs/lenet5_digits --images=3": "the same",
    "cnn-archs plan --config=alexnet_imagenet --devices=2 --kind=h100 --cores=32": "like the next",
    "cnn-archs sweep --config=alexnet_gains:quick --workdir=runs/alexnet_gains": "data and minutes",
    "cnn-archs sweep --config=inception_width:quick --workdir=runs/inception_width": "the same",
    "cnn-archs sweep --config=lenet_activation --workdir=runs/lenet_activation": "data and hours",
    "cnn-archs sweep --config=vgg_columns:quick --workdir=runs/vgg_columns": "data and minutes",
    "cnn-archs augment --config=lenet5_1998_mnist:map_distorted": "data",
    "cnn-archs evaluate --workdir=runs/vgg_imagenet_D_from_A --protocol=multi_scale": "its run",
    "cnn-archs sweep --config=activation.py:quick --workdir=runs/activation": "eight processes; "
    "below, as a slow test",
    "cnn-archs report runs/activation -o activation.html": "the same",
    "make quick-degradation": "data and a quarter of an hour",
    "make bench": "half an hour; tests/benchmarks/ runs each of them at a small size",
    "make device": "an accelerator; tests/benchmarks/test_device.py runs the stages tiny",
    "python benchmarks/device.py --stages=1,3 --output=runs/device": "the same",
    "python benchmarks/device.py --stages=2,4 --output=runs/device --against=theirs.json": "also",
    "tar --create cifar10 | split --bytes=50M - cifar10.tar.part": "the same file",
    "cat cifar10.tar.part* | tar --extract": "the same file",
    "cnn-archs sweep --config=degradation --workdir=runs/degradation --dry_run": "ten seconds",
    "cnn-archs sweep --config=degradation --workdir=runs/degradation": "data and weeks",
    "cnn-archs report runs/degradation -o report.html": "these",
    "cnn-archs prepare mnist": "network",
    "cnn-archs prepare mnist --from=data/MNIST/raw": "data; tests/data/prepare/test_published.py",
    "cnn-archs prepare mnist --from=mnist.npz": "data; tests/data/prepare/test_published.py",
    "cnn-archs prepare cifar10 --from=cifar-10-python.tar.gz": "data; the same",
    "cnn-archs prepare imagenet2012 --manual_dir=archives": "archives",
    "cnn-archs prepare photos --image_folder=photos": "data",
    "cnn-archs train --config=alexnet_imagenet --config.mesh.model=2": "data and two devices",
    "cnn-archs train --processes=4": "tests/distributed/test_multihost.py",
    "cnn-archs evaluate --workdir=runs/vgg_imagenet_D --protocol=multi_scale --processes=4": "a "
    "run and data; tests/distributed/test_shared_work.py",
    "cnn-archs predict --workdir=runs/resnet_imagenet_18 photos/test1 --format=csv "
    "--processes=4": "the same",
    "srun --nodes=4 --ntasks-per-node=8 --gpus-per-node=8 cnn-archs evaluate "
    "--workdir=runs/vgg_imagenet_D --protocol=multi_scale": "SLURM",
    "cnn-archs sweep --config=degradation --workdir=/shared/degradation --part=0/4": "data and "
    "weeks; tests/sweeps/test_scheduler.py",
    "cnn-archs sweep --config=depth --workdir=runs/depth --processes=4": "data and a GPU; the same",
    "cnn-archs train --coordinator=node0:29400 --num_processes=2 --process_id=1": "another machine",
    "cnn-archs claims --missing --kind=h200": "tests/claims/test_missing.py",
    "cnn-archs sweep --config=paper:resnet --workdir=runs/resnet --dry_run": "half a minute",
    "cnn-archs submit --sweep=paper:resnet --workdir=runs/resnet --jobs=18 "
    "--gpus_per_node=1": "SLURM",
    "cnn-archs claims": "half a minute; tests/claims/test_claims.py has every claim",
    "cnn-archs train --config=lenet5_mnist": "data and a quarter of an hour",
    "cnn-archs train --config=lenet5_1998_mnist:map": "data and an hour",
    "cnn-archs classical nearest_deslanted --output=nearest_deslanted.json": "data",
    "cnn-archs classical tangent --examples=2000": "data; tests/classical/test_tangent.py",
    "cnn-archs train --config=lenet4_mnist:4": "data and an hour",
    "cnn-archs classical lenet4_local --workdir=runs/lenet4_mnist_4": "its run; "
    "tests/classical/test_last_layer.py",
    "cnn-archs train --config=lenet4_mnist:1": "data and an hour",
    "cnn-archs train --config=mlp_1998_mnist:300_deslanted": "data and an hour",
    "cnn-archs sweep --config=training_set_size --workdir=runs/training_set_size": "data, hours",
    "cnn-archs train --config=resnet_cifar10:56": "data and a day",
    "cnn-archs train --config=resnet_cifar100:164_v2": "data and days",
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
    "cnn-archs train --config=lenet5_mnist --config.data.name=image_folder "
    "--config.data.data_dir=scans --config.model.num_classes=3": "data",
    "cnn-archs predict --workdir=runs/resnet_imagenet_18 photos/test1 --format=csv": "data",
    "cnn-archs import bvlc_alexnet.caffemodel --config=alexnet_imagenet:caffe "
    "--workdir=runs/bvlc_alexnet": "the original",
    "cnn-archs import VGG_ILSVRC_16_layers.caffemodel --config=vgg_imagenet:D "
    "--workdir=runs/vgg_16": "the original",
    "cnn-archs import ResNet-152-model.caffemodel --config=resnet_imagenet:152 "
    "--workdir=runs/resnet_152": "the original",
    "cnn-archs evaluate --weights=mlp_mnist": "data; tests/conversion/test_stored.py",
    "cnn-archs export --workdir=runs/mine --output=mine.safetensors --dtype=float16 "
    "--card": "a trained run; tests/conversion/test_stored.py",
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
    assert len(run_here) >= 15 and set(NOT_RUN) <= set(SHELL)
    assert all(line.startswith("cnn-archs ") for line in run_here)


def write_programs(folder):
    """Write the Python files that pages show into `folder`."""
    for text in PAGES.values():
        for name, program in programs(text).items():
            (folder / name).write_text(program)


@pytest.mark.parametrize("line", NOT_RUN)
def test_what_is_not_run_is_well_formed(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_programs(tmp_path)
    words = shlex.split(line)
    if "cnn-archs" in words:
        words = words[words.index("cnn-archs") :]  # after srun and its flags
    if words[0] == "make":
        subprocess.run(["make", "-n", words[1]], cwd=ROOT, check=True, capture_output=True)
    elif words[0] in ("tar", "cat"):
        subprocess.run(["bash", "-n", "-c", line], check=True)
    elif words[0] == "python":
        program = (ROOT / words[1]).read_text()
        assert all(f'"{flag.partition("=")[0]}"' in program for flag in words[2:])
    elif words[0] == "pip":
        extra = re.fullmatch(r"\.(?:\[(\w+)\])?", words[2])
        text = (ROOT / "pyproject.toml").read_text()
        assert extra and (not extra[1] or re.search(rf"^{extra[1]} = \[", text, re.M))
    else:
        arguments, overrides = cli.parse(words[1:])
        sweep = arguments.config if arguments.command == "sweep" else vars(arguments).get("sweep")
        if sweep:
            assert grid.list_cells(sweep_file.load_sweep(sweep), Path("runs"), overrides)
        elif vars(arguments).get("config"):
            configs.load_config(arguments.config, overrides)


def test_the_commands_run_in_their_order(tmp_path, monkeypatch, capsys):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    Image.new("L", (20, 20), 255).save("digit.png")
    write_programs(tmp_path)
    for line in SHELL:
        if line not in NOT_RUN:
            words = shlex.split(line)[1:]
            short = ["--config.steps=3"] if words[0] == "train" else []
            assert cli.main([*words, *short]) == 0, line
    names: dict = {}
    for block in snippets("".join(PAGES[name] for name in PAGES if name not in ELSEWHERE)):
        exec(block, names)
    trained = json.loads(Path("runs/lenet5_digits/result.json").read_text())
    assert names["accuracy"] == pytest.approx(1 - trained["test"]["top1_error"][0])
    check_library(names)
    assert "multiply-adds" in capsys.readouterr().out


def check_library(names: dict) -> None:
    """Check what docs/library.md says of the names that its code has bound."""
    net, found, labels = names["net"], names["found"], names["labels"]
    assert names["images"].shape == (360, 32, 32, 1) and names["images"].dtype == np.uint8
    assert labels.shape == (360,) and labels.dtype == np.int32
    assert net.step == 300 and names["error"] == pytest.approx(np.mean(found.labels != labels))
    assert names["error"] < 0.08
    assert (names["logits"].argmax(-1) == found.labels).all()
    assert names["maps"].shape == (8, 10, 10, 16) and names["maps"].dtype == np.float32
    assert "resnet50_v2" in names["names"] and names["model"].activation == "relu"


@pytest.mark.slow
def test_a_sweep_of_ones_own_is_trained_and_reported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_programs(tmp_path)
    for line in commands(page("sweeps"))[-2:]:
        subprocess.run(
            [sys.executable, ROOT / "launch.py", *shlex.split(line)[1:]], check=True, cwd=tmp_path
        )
    assert len(list(tmp_path.glob("runs/activation/*/seed*/result.json"))) == 8
    assert "ReLU has a lower error at 0.01" in (tmp_path / "activation.html").read_text()


@pytest.mark.slow
def test_what_getting_started_trains_learns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = [line for line in commands(page("getting_started")) if "lenet5_digits" in line]
    for line in [line for line in lines if line.startswith("cnn-archs train")]:
        assert cli.main(shlex.split(line)[1:]) == 0
    assert cli.main(["train"]) == 0
    for name in ("relu", "lenet5_digits"):
        result = json.loads((tmp_path / "runs" / name / "result.json").read_text())
        assert result["test"]["top1_error"][0] < 0.05


def test_the_tables_are_those_of_the_results():
    assert table(README, "results") == mnist_table(ROOT / "results" / "mnist")
    from_docs = protocols_table(CIFAR10, PROTOCOLS).replace("](results/", "](../results/")
    assert table(page("protocols"), "protocols") == from_docs
    published = results_page.published_table(ROOT / "results") + "\n"
    assert table(README, "published") == published
    assert table(page("weights"), "published") == published.replace("](results/", "](../results/")


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
        found["test"]["examples"] == 400
        and error < 0.6
        and f"{100 * error:.2f} % error" in page("papers/resnet")
    )


def test_each_result_says_what_made_it():
    found = sorted((ROOT / "results").rglob("*.json"))
    assert found
    for path in found:
        if path.parent.name == "benchmarks":  # tests/benchmarks/test_written_results.py
            continue
        if path.name == "step_costs.json":  # compiled, not run: tests/claims/test_missing.py
            continue
        result = json.loads(path.read_text())
        made = result["made"]
        for one in provenance.made_of_seeds(made):
            assert one["command"] and one["packages"]["jax"], path
        if "members" in result:
            continue
        assert result["protocol"], path
        if "row" in made:  # a classical method, without seeds if it draws no random numbers
            assert made["row"]["method"] and made["git_commit"] and made["packages"]["scikit-learn"]
            assert len(result["test"]["top1_error"]) == len(result.get("seeds", [0])), path
            continue
        assert made["devices"] if "imported" in made else result["device"], path
        assert made["config"], path
        assert len(result["test"]["top1_error"]) == len(result["seeds"]) > 0
