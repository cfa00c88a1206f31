"""The stages for an accelerator run tiny on a CPU, stop in time, and go on where they were."""

import json
import os
import subprocess
import sys
from pathlib import Path

import device
import device_cases
import device_process
import pytest
import torch
import torch_reference as reference
from pages import page
from running import ROOT, run

import cnn_archs.config as configs


def call(*flags: object) -> subprocess.CompletedProcess[str]:
    """Run benchmarks/device.py with --tiny, and return the process that has ended."""
    return subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "device.py"), "--tiny", *map(str, flags)],
        capture_output=True,
        text=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )


def test_a_stage_trains_what_it_says(tmp_path):
    result = run("device", "--tiny", "--stages=4", f"--output={tmp_path}/out")
    (row,) = result["rows"]
    trained = json.loads((tmp_path / "out-runs" / "LeNet-5" / "result.json").read_text())
    assert row["result"] == trained and trained["steps"] == 2 and result["left"] == []
    assert row["images_per_second"] == trained["images_per_second"]
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["lenet.json"]


def test_a_call_goes_on_where_it_was_and_tells_what_is_left(tmp_path):
    (tmp_path / "loop.json").write_text(
        json.dumps(
            {
                "cases": {
                    "LeNet-5, TF32": {"images_per_second": 2.0, "device": "NVIDIA H200"},
                    "LeNet-5, float32": {"error": "no memory", "attempts": 1},
                    "LeNet-5, bfloat16": {"error": "no memory", "attempts": 2},
                }
            }
        )
    )
    other = tmp_path / "theirs.json"
    other.write_text(json.dumps({"LeNet-5, TF32": 1.6, "another case": 1}))
    where = (f"--output={tmp_path}", f"--against={other}")
    done = call("--stages=1,4", "--minutes=0", *where)
    left = done.stderr.splitlines()[-1].removeprefix("left: ").split("; ")
    assert done.returncode == 75, done.stderr
    assert "LeNet-5" in left and left[-1] == "LeNet-5, float32"  # what has failed comes last
    assert not {"LeNet-5, TF32", "LeNet-5, bfloat16"} & set(left)
    assert done.stdout.count("no memory") == 2 and "NVIDIA H200; " in done.stdout
    assert "1.25" in next(li for li in done.stdout.splitlines() if li.startswith("LeNet-5, TF32"))


def test_each_case_has_a_config_that_this_version_knows():
    speeds: dict[str, device_cases.Measured] = {
        "ResNet-20, TF32": {"images_per_second": 1.0},
        "ResNet-20, TF32 without a graph": {"images_per_second": 2.0},
        "ResNet-20, TF32, 5 seeds unrolled": {"images_per_second": 3.0},
    }
    trained = [*device_cases.training_cases(False, speeds), *device_cases.lenet_cases(False)]
    timed = [*device_cases.loop_cases(False), *device_cases.step_cases(False, True)]
    loaded = [
        configs.load_config(case.settings["config"], case.settings["overrides"]) for case in trained
    ]
    for case in timed:
        if case.program == "device_jax.py":
            configs.load_config(case.settings["experiment"], case.settings["overrides"])
    names = [case.name for case in (*trained, *timed)]
    assert len(set(names)) == len(names)
    assert [c.steps for c in loaded[:14]] == [64_000] * 14
    assert [(c.seed, c.seeds) for c in loaded[:8]] == [(0, 1)] * 4 + [(1, 4)] * 4


def test_the_fastest_form_of_the_loop_is_trained():
    speeds: dict[str, device_cases.Measured] = {
        "ResNet-20, TF32": {"images_per_second": 1.0},
        "ResNet-20, TF32 without a graph": {"images_per_second": 2.0},
        "ResNet-20, TF32, 5 seeds in_turn": {"images_per_second": 2.0},
        "ResNet-20, TF32, 5 seeds unrolled": {"images_per_second": 3.0},
    }
    wanted = ["cuda_graph=false", "seeds_form=unrolled"]
    assert device_cases.fastest_form(speeds, ["seeds=4"]) == wanted
    assert device_cases.fastest_form(speeds, ["seeds=1"]) == wanted[:1]
    assert device_cases.fastest_form({}, ["seeds=4"]) == []


def test_a_share_of_the_peak_is_that_of_the_arithmetic():
    case = device_cases.Case("x", "steps", "device_jax.py", {}, "bfloat16")
    found = {"images_per_second": 1000.0, "device": "NVIDIA H200"}
    assert device.share_of_peak(case, 98.94e9, found) == pytest.approx(0.1)
    single = device_cases.Case("x", "loop", "device_jax.py", {}, "float32", "highest")
    assert device.share_of_peak(single, 66.9e9, found) == pytest.approx(1.0)
    assert device.share_of_peak(case, 1.0, {**found, "device": "cpu"}) is None


def test_the_packed_dataset_is_the_dataset(tmp_path):
    commands = [line for line in page("speed").splitlines() if "cifar10.tar.part" in line]
    here, there = tmp_path / "here", tmp_path / "there"
    (here / "cifar10" / "3.0.2").mkdir(parents=True)
    there.mkdir()
    content = os.urandom(1000)
    (here / "cifar10" / "3.0.2" / "a.array_record").write_bytes(content)
    pack, unpack = commands[0].replace("50M", "4K"), commands[1]
    subprocess.run(["bash", "-ec", pack], cwd=here, check=True)
    parts = sorted(here.glob("cifar10.tar.part*"))
    assert len(parts) == 3  # of 10,240 bytes
    for part in parts:
        part.rename(there / part.name)
    subprocess.run(["bash", "-ec", unpack], cwd=there, check=True)
    assert (there / "cifar10" / "3.0.2" / "a.array_record").read_bytes() == content


COUNTS = {  # of parameters: torchvision's, and AlexNet's and GoogLeNet's as printed
    "resnet50": 25_557_032,
    "resnet152": 60_192_808,
    "alexnet": 60_965_224,
    "googlenet": 13_378_280,
}


def test_torchs_networks_for_imagenet_have_the_parameters_of_ours():
    import torch_imagenet

    with torch.device("meta"):
        nets = {name: torch_imagenet.NETWORKS[name]() for name in COUNTS}
    found = {name: sum(p.numel() for p in net.parameters()) for name, net in nets.items()}
    assert found == COUNTS


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, form, options, side",
    [
        ("resnet50", reference.resnet, {"blocks": (3, 4, 6, 3), "bottleneck": True}, 64),
        ("vgg_d", reference.vgg, {"column": "D"}, 32),
        ("alexnet", reference.alexnet, {}, 227),
        ("googlenet", reference.googlenet, {"variant": "paper"}, 224),
    ],
)
def test_torchs_networks_for_imagenet_compute_what_the_reference_does(name, form, options, side):
    import torch_imagenet

    torch.manual_seed(0)
    images = torch.randn(2, 3, side, side)
    net = torch_imagenet.NETWORKS[name]()
    with torch.no_grad():
        net.eval()(images)
    net.train()
    for module in net.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    if name == "resnet50":
        options = {**options, "stride_in": "3x3"}
    with torch.no_grad():
        expected, _ = form(dict(net.named_parameters()), images, train=True, **options)
        found = net(images)
    assert found.keys() == expected.keys()
    for head, logits in expected.items():
        torch.testing.assert_close(found[head], logits, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_every_stage_runs_tiny_and_a_stopped_call_is_gone_on_with(tmp_path):
    where = f"--output={tmp_path}/out"
    assert call("--minutes=0.02", where).returncode == 75
    result = run("device", "--tiny", "--minutes=30", where)
    assert result["left"] == [] and not [r for r in result["rows"] if "error" in r]
    rows = {row["case"]: row for row in result["rows"]}
    assert rows["LeNet-5, TF32, traced"]["trace"]["launches_per_step"] > 0
    counts = {name: row["params"] for name, row in rows.items() if name.startswith("resnet50")}
    assert len(counts) == 3 and set(counts.values()) == {25_557_032}
    assert rows["vgg_d"]["params"] == rows["vgg_d in PyTorch"]["params"]
    assert len(list(Path(tmp_path / "out").iterdir())) == 4


@pytest.mark.slow
def test_a_case_that_fails_says_why(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    budget = device_process.Budget(600, False)
    (case, _) = device_cases.lenet_cases(False)
    found = device_process.run_case(case, tmp_path, budget, sys.executable)
    assert "mnist" in found["error"] and found["error"].startswith("error: ")
    broken = device_cases.Case("x", "loop", "device_jax.py", {})
    found = device_process.run_case(broken, tmp_path, budget, sys.executable)
    assert found == {"error": "KeyError: 'image'"}
