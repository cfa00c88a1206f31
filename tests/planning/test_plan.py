"""The estimates of `plan` agree with arithmetic, the real state, and the compiled program."""

import io
import json
import re
import subprocess
import sys
import tracemalloc
from math import ceil, prod

import jax
import pytest
from PIL import Image

from cnn_archs import cli
from cnn_archs import config as configs
from cnn_archs.claims import verdicts
from cnn_archs.data.datasets import sources
from cnn_archs.errors import ConfigError
from cnn_archs.experiment import resolve
from cnn_archs.planning import devices, input_rate, memory, plan_text, throughput, xla_memory
from cnn_archs.planning.plan import make_plan
from cnn_archs.planning.throughput import SpeedEstimate, StepBounds
from cnn_archs.result_files import list_results
from cnn_archs.training.build import Member, build_trainer
from cnn_archs.training.placement import place_model
from cnn_archs.training.seeds import SeedAxis

H100 = devices.find_device("h100")


def nbytes(tree):
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


def resolved(experiment, *overrides):
    return resolve(configs.load_config(experiment, list(overrides)))


def memory_of(experiment):
    taken = input_rate.input_volume(experiment)
    return memory.DeviceMemory(experiment, place_model(experiment), taken, SeedAxis("in_turn"))


def test_steps_bytes_and_flops_are_arithmetic_and_the_state_is_the_real_one():
    keys = ["epochs=7.3", "data.batch_size=96", "seeds=2"]
    experiment = resolved("lenet5_digits", *keys)
    found = make_plan(experiment, H100, 3, [])
    assert found["training"]["steps"] == ceil(7.3 * 1437 / 96)
    assert found["training"]["epochs"] == pytest.approx(found["training"]["steps"] * 96 / 1437)
    assert found["network"]["params"] == 61_706
    assert found["network"]["flops_a_step"] == 6 * 416_520 * 96
    assert found["reading"]["bytes"] == 1437 * 32 * 32 and found["reading"]["resident"]
    assert found["reading"]["bytes_sent_a_step"] == 96 * 4 and found["input"] is None
    state = build_trainer(Member(experiment)).states[0]
    held = found["memory"]["parts"]
    assert held["parameters"] == 2 * 4 * 61_706 == 2 * nbytes(state.params)
    assert held["optimizer"] == 2 * nbytes(state.opt_state) > held["parameters"]
    assert held["gradients"] == held["parameters"]  # on one accelerator both seeds step together
    assert held["dataset"] == 1797 * (32 * 32 + 4)
    assert held["activations"] > 2 * 96 * 4 * (28 * 28 * 6 + 10 * 10 * 16)  # what is convolved
    assert found["memory"]["fits"] and found["memory"]["training"] == sum(held.values())
    (roof,) = found["time"]["expected"]
    assert roof["source"] == "roofline" and found["time"]["all_reduce_bytes"] == 0
    longest = max(found["time"]["arithmetic"], found["time"]["memory"])
    assert roof["step"] == pytest.approx([longest, longest])
    assert roof["seconds"][0] == pytest.approx(2 * found["training"]["steps"] * longest)
    assert found["time"]["arithmetic"] == pytest.approx(6 * 416_520 * 96 / 494.7e12 / 0.6)


OVER_FOUR = """
import json, sys
from cnn_archs import cli
from cnn_archs.planning import xla_memory
texts, compiled = [], xla_memory.compile_quickly
def kept(*arguments):
    found = compiled(*arguments)
    texts.append(found.as_text())
    return found
xla_memory.compile_quickly = kept
plan = ["plan", "--config=mlp_mnist", "--devices=4", "--kind=h100", "--format=json"]
keys = ["--config.seeds=1", "--config.data.batch_size={}"]
codes = [cli.main([*plan, *(k.format(b) for k in keys)]) for b in (2048, 2046)]
print(json.dumps({"text": texts[0], "codes": codes}), file=sys.stderr)
"""


@pytest.mark.slow
def test_over_four_devices_each_holds_less_and_the_program_sums_all_gradients(simulated):
    done = subprocess.run(
        [sys.executable, "-c", OVER_FOUR], env=simulated(4), capture_output=True, text=True
    )
    refusal, said = done.stderr.strip().splitlines()
    assert "data.batch_size=2046 does not split evenly over 4 devices; use 2044 or 2048" in refusal
    said, four = json.loads(said), json.loads(done.stdout)
    assert said["codes"] == [0, 2]
    one = make_plan(resolved("mlp_mnist", "data.batch_size=2048", "seeds=1"), H100, 1, [])
    parts = [p["memory"]["parts"] for p in (four, one)]
    for part in ("parameters", "optimizer", "statistics", "gradients", "dataset"):
        assert parts[0][part] == parts[1][part]
    assert 4 * parts[0]["batch"] == parts[1]["batch"]
    assert parts[0]["activations"] < parts[1]["activations"] / 2
    assert four["time"]["expected"][0]["step"][0] < one["time"]["expected"][0]["step"][0]
    assert four["time"]["all_reduce_bytes"] == 2 * 3 * 4 * 407_050 // 4
    # In the program: the gradients, and a few numbers that are counted.
    summed = " ".join(re.findall(r"= (.*) all-reduce\(", said["text"]))
    shapes = re.findall(r"(?:f32|s32)\[([\d,]*)\]", summed)
    numbers = sum(prod(map(int, filter(None, shape.split(",")))) for shape in shapes)
    assert 407_050 <= numbers <= 407_050 + 10


def test_the_all_reduce_is_a_ring_and_slower_over_the_network():
    size = 575e6
    assert throughput.all_reduce_seconds(H100, size, 1) == 0
    assert throughput.all_reduce_seconds(H100, size, 8) == pytest.approx(2 * 7 / 8 * size / 450e9)
    network_ = 2 * 3 / 4 * size / 8 / 50e9
    assert throughput.all_reduce_seconds(H100, size, 32) == pytest.approx(
        2 * 7 / 8 * size / 450e9 + network_
    )
    assert (
        throughput.all_reduce_formula(H100, 32)
    ) == "2 (8 - 1) / 8 G / 450 GB/s + 2 (4 - 1) / 4 G / 8 / 50 GB/s"
    for kind in (*map(devices.find_device, devices.DEVICES), H100._replace(fabric=1)):
        seconds = [throughput.all_reduce_seconds(kind, size, n) for n in (1, 2, 4, 8, 16, 64, 512)]
        assert seconds == sorted(seconds)


def test_bounds_hide_all_or_nothing_of_the_all_reduce_and_never_the_input():
    assert StepBounds(3.0, 1.0, 0.0).step == (3.0, 4.0)
    assert StepBounds(3.0, 1.0, 0.0).limit == "devices"
    assert StepBounds(1.0, 3.0, 2.0).step == (3.0, 4.0) == StepBounds(1.0, 3.0, 2.0).with_input
    assert StepBounds(1.0, 3.0, 3.5).with_input == (3.5, 4.0)
    assert StepBounds(1.0, 3.0, 3.5).limit == "input"


@pytest.mark.slow
def test_a_part_of_the_batch_is_proposed_that_fits_and_the_next_larger_does_not():
    experiment = resolved("lenet5_mnist", "data.batch_size=1000")
    taken = input_rate.InputVolume(60_000, False, True, 0, 784, (), 4)
    held = memory.DeviceMemory(experiment, place_model(experiment), taken, SeedAxis("in_turn"))
    usable = int(0.6 * sum(held.training(1000).values()))
    found = held.fitting_part(usable, 1000)
    assert found is not None
    sizes = [m for m in range(1, 1001) if 1000 % m == 0]
    larger = sizes[sizes.index(found) + 1]
    need = [sum(held.training(m).values()) for m in (found, larger)]
    assert need[0] <= usable < need[1]
    assert held.fitting_part(1, 1000) is None
    assert len(held.programs) <= 5  # each is compiled


def test_groups_of_batch_statistics_stay_whole():
    experiment = resolved("resnet_cifar10:20", "model.bn_group=32", "data.batch_size=128")
    taken = input_rate.InputVolume(1, True, True, 0, 0, (), 4)
    held = memory.DeviceMemory(experiment, place_model(experiment), taken, SeedAxis("in_turn"))
    assert [m for m in range(1, 129) if held.divides(m)] == [32, 64, 128]


def test_of_bfloat16_maps_take_half_and_parameters_all():
    keys = ("model.dtype=float32", "model.dtype=bfloat16")
    found = [memory_of(resolved("lenet5_digits", key)).program(128) for key in keys]
    assert found[1] == found[0]._replace(
        activations=found[0].activations // 2, traffic=found[0].traffic // 2
    )


def test_quick_to_compile_is_analysed_as_the_default_is():
    experiment = resolved("lenet5_digits")
    quick = memory_of(experiment).program(128)
    usual, xla_memory.QUICK = xla_memory.QUICK, {}
    try:
        assert memory_of(experiment).program(128)[:5] == pytest.approx(quick[:5], rel=0.01)
    finally:
        xla_memory.QUICK = usual


def test_what_was_measured_counts_for_its_kind_network_batch_and_input(monkeypatch):
    monkeypatch.setattr(throughput, "cores", lambda: 2)  # as those had
    files, asked = list_results(verdicts.RESULTS), configs.load_config("lenet5_mnist", [])
    cpu = H100._replace(name="cpu", called="cpu")

    def alike(*overrides):
        config = json.loads(configs.load_config("lenet5_mnist", list(overrides)).to_json())
        return [m.file for m in throughput.measured_runs(files, config, 416_520, cpu) if m.alike]

    assert alike() == ["results/mnist/lenet5.json"]
    for other in ("model.activation=relu", "data.batch_size=64", "matmul_precision=highest"):
        assert alike(other) == []
    assert alike("augment.name=distortions") == []
    assert not throughput.measured_runs(files, json.loads(asked.to_json()), 416_520, H100)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(throughput, "cores", lambda: 64)
        assert alike() == []
    known = throughput.measured_runs(files, json.loads(asked.to_json()), 416_520, cpu)
    roof = SpeedEstimate("roofline", 1.0, "")
    found = throughput.speed_estimates(known, 416_520, cpu, roof)
    assert [e.source for e in found] == ["measured", "near", "roofline"]
    stated = json.loads((verdicts.RESULTS / "mnist" / "lenet5.json").read_text())
    assert found[0].images_per_second == stated["images_per_second"] != found[1].images_per_second
    assert throughput.speed_estimates([], 416_520, H100, roof) == [roof]
    short = throughput.MeasuredRun("short", 1, 416_520, 1.0, 1.0, None, 10, "lenet5", True)
    assert throughput.speed_estimates([short, *known], 416_520, cpu, roof)[0] == found[0]


def test_a_devices_own_figures_come_before_all_others(tmp_path, document_of, error_of):
    """Results that count compilation apart come before older ones, however long these are."""
    stated = json.loads((verdicts.RESULTS / "mnist" / "lenet5.json").read_text())
    own = {**stated, "device": "1 x NVIDIA H200"}
    speeds = {"older": dict(images_per_second=1000.0, steps=10**6)}
    speeds["own"] = dict(images_per_second=2e6, steps=900, compile_seconds=30.0)
    for name, speed in speeds.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text(json.dumps({**own, **speed}))
        (tmp_path / name / "config.json").write_text("{}")
    command = ["plan", "--config=lenet5_mnist", "--kind=h200"]
    found = document_of(*command, f"--results={tmp_path}")
    expected = [e["images_per_second"] for e in found["time"]["expected"]]
    assert expected[0] == 2e6 and found["time"]["compile"] == 30.0 / len(stated["seeds"])
    assert [m["compile_seconds"] for m in found["measured"]] == [None, found["time"]["compile"]]
    said = error_of(2, *command, f"--results={tmp_path}/nowhere")
    assert said == f"--results={tmp_path}/nowhere: there is no such folder"


def test_the_bandwidth_of_this_machine_is_not_that_of_new_pages(monkeypatch):
    """A copy into new memory is up to sixteen times slower, by the pages that the system makes."""
    peaks = []

    def traced(run):
        run()  # starts the threads
        tracemalloc.start()
        run()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        return 1.0

    monkeypatch.setattr(devices, "fastest_seconds", traced)
    assert devices.find_device("cpu").bandwidth == 2 * 4 * 8_000_000
    product, copy = peaks
    assert copy < 1_000_000 < product  # the product is a new matrix of 768 x 768


def test_known_sizes_are_those_of_the_data(mnist):
    assert set(sources.SPLIT_SIZES) == set(sources.DATASET_SPECS)
    for name in ("digits", "shapes"):
        sizes = tuple(len(sources.load_split(name, split)) for split in ("train", "test"))
        assert sources.SPLIT_SIZES[name] == sizes
    assert sources.SPLIT_SIZES["mnist"][0] == sources.count_training_images("mnist", str(mnist))


def test_without_its_data_a_known_dataset_is_assumed_and_an_unknown_one_an_error(tmp_path, capsys):
    experiment = resolved("alexnet_imagenet", f"data.data_dir={tmp_path}", "data.holdout=1000")
    assert input_rate.count_images(experiment.dataset) == (1_281_167 - 1000, False)
    assert input_rate.sample_images(experiment.dataset) == ()
    command = ["plan", "--config=lenet5_mnist", f"--config.data.data_dir={tmp_path}"]
    assert cli.main([*command, "--config.data.name=emnist", "--config.model.num_classes=62"]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert "emnist is not in" in line and "cnn-archs prepare emnist" in line


def test_of_a_folder_that_is_there_images_are_counted_weighed_and_decoded(tmp_path):
    for i in range(10):
        path = tmp_path / "train" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40 + i, 50), (20 * i, 0, 0)).save(path)
    keys = ["data.name=image_folder", f"data.data_dir={tmp_path}", "model.num_classes=2"]
    experiment = resolved("alexnet_imagenet", *keys, "data.holdout=0", "schedule.name=constant")
    found = input_rate.input_volume(experiment)
    weights = [path.stat().st_size for path in tmp_path.glob("train/*/*.png")]
    assert (found.images, found.counted) == (8, True)  # a fifth of each class is the test
    assert found.stored in range(min(weights), max(weights) + 1) and len(found.sample) == 8
    assert found.sent == 256 * 256 * 3 + 4 and found.held == 0  # the side that AlexNet cuts from
    assert (
        input_rate.decoding_rate_of_a_core(experiment.inputs.crop, found.sample, seconds=0.01) > 1
    )


def test_a_drawn_photograph_is_of_the_usual_size():
    encoded = input_rate.draw_photograph()
    assert Image.open(io.BytesIO(encoded)).size == (500, 375)
    assert 100_000 < len(encoded) < 125_000


@pytest.mark.parametrize(
    "called, name",
    [
        *(("NVIDIA H100 80GB HBM3", "h100"), ("NVIDIA H200", "h200"), ("NVIDIA L4", "l4")),
        *(("NVIDIA A100-SXM4-80GB", "a100"), ("Tesla V100-SXM2-32GB", "v100"), ("cpu", None)),
        *(("TPU v4", "v4"), ("TPU v5 lite", "v5e"), ("TPU v5", "v5p"), ("TPU v6 lite", "v6e")),
        *(("NVIDIA H100 PCIe", None), ("NVIDIA L40S", None), ("NVIDIA A100-SXM4-40GB", None)),
    ],
)
def test_a_device_is_of_the_kind_that_jax_calls_so(called, name):
    found = [
        other for other in devices.DEVICES if devices.is_called(called, devices.find_device(other))
    ]
    assert found == [name] * (name is not None)


def test_wrong_flags_are_one_line(capsys):
    for flags, said in (
        (["--kind=h10"], "did you mean h100?"),
        (["--devices=0"], "--devices=0: must be at least 1"),
        (["--cores=-1"], "--cores=-1: must be at least 0"),
        (["--workdir=nowhere"], "there is no run in nowhere"),
        (["--devices=3"], "this process has 1 already"),
    ):
        assert cli.main(["plan", "--config=lenet5_digits", *flags]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line


def test_a_person_reads_what_it_is_and_what_holds_it_up(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(input_rate, "decoding_rate_of_a_core", lambda crop, images: 100.0)
    keys = [f"--config.data.data_dir={tmp_path}", "--config.steps=1000"]
    assert cli.main(["plan", "--config=alexnet_imagenet", "--kind=a100", "--cores=4", *keys]) == 0
    text = capsys.readouterr().out
    for said in (
        "alexnet on imagenet2012, 1 x a100\n",
        "60,965,224 parameters",
        "128 images, 128 per device; ",
        "1,000 steps, 0.1007 epochs of 1,271,167 images (assumed: no data here)",
        "146 GB per epoch, 14.7 GB in total; 115 kB per image (assumed)",
        "a device has 80 GB, of which jax takes 60 GB (XLA_CLIENT_MEM_FRACTION): this fits",
        "input: 4 cores x 100 images/s, measured here with a drawing of 500x375;\n400 images/s ",
        "/s from disk: does NOT keep up",
    ):
        assert said in text, said
    (row,) = (line for line in text.splitlines() if line.startswith("roofline  "))
    assert row.endswith("5 min       input")  # 128,000 images at 400 a second


def test_sizes_have_three_figures_and_a_unit():
    sizes = [0, 999, 999.6, 1500, 1.5e6, 999.96e6, 2.346e12]
    assert [plan_text.format_bytes(s) for s in sizes] == [
        *("0 B", "999 B", "1 kB", "1.5 kB", "1.5 MB", "1 GB", "2.35 TB"),
    ]


def test_a_device_that_was_begun_with_stays(capsys):
    with pytest.raises(ConfigError, match="--devices=2"):
        xla_memory.simulate_devices(2)
