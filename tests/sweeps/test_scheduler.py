"""Sweeps: the states of cells, and processes that fail, stop or are killed."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from run_logs import log_lines

from cnn_archs import cli, config
from cnn_archs.errors import CellsFailed, ConfigError
from cnn_archs.launch.device_probe import Machine
from cnn_archs.report import read_runs
from cnn_archs.runtime.signals import stop_requests
from cnn_archs.sweep_dir import SweepDir
from cnn_archs.sweeps import grid, scheduler, slots, sweep_file

SWEEP = """
def get_sweep(variant=""):
    return dict(
        title="a sweep",
        seeds=2,
        cells={
            "slow": ["lenet5_digits", "model.name=mlp", "model.hidden=(8,)", "steps=40"],
            "fast": ["lenet5_digits", "model.name=mlp", "model.hidden=(8,)", "steps=40",
                     "schedule.learning_rate=0.1"],
            "wide": ["lenet5_digits", "model.name=mlp", "model.hidden=(9,)", "steps=40"],
        },
    )
"""
EVERY = {f"{name}/seed{seed}" for name in ("slow", "fast", "wide") for seed in (0, 1)}

# In a worker's place: it ends as the file `plan` says, {cell: [exit code of each try]}. Several run
# at once: they only read the plan, and each try is a line of calls.txt.
STUB = """
import json, os, pathlib, sys, time
def gpu():
    names = ("CUDA_VISIBLE_DEVICES", "XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION")
    return {name: os.environ[name] for name in names if name in os.environ}
order = json.loads(sys.stdin.readline())
folder = pathlib.Path(order["cells"][0]["workdir"]).parents[1]
plan = json.loads((folder / "plan.json").read_text())
for cell in order["cells"]:
    workdir = pathlib.Path(cell["workdir"])
    name = f"{workdir.parent.name}/{workdir.name}"
    with open(folder / "calls.txt", "a+") as f:
        f.write(json.dumps([name, len(order["cells"]), order["cpus"], gpu()]) + "\\n")
        f.seek(0)
        tries = sum(json.loads(line)[0] == name for line in f)
    code = dict(enumerate(plan.get(name, []), 1)).get(tries, 0)
    if code == "wait":
        time.sleep(60)
    if code:
        print(f"error: {name} is broken", file=sys.stderr)
        sys.exit(code)
    (folder.parent / "configs" / workdir.parent.name / workdir.name).rename(workdir / "config.json")
    config = json.loads((workdir / "config.json").read_text())
    seed = int(workdir.name.removeprefix("seed"))
    (workdir / "result.json").write_text(json.dumps({
        "name": "mlp", "dataset": "digits", "protocol": "single", "seeds": [seed],
        "test": {"top1_error": [0.5 + seed], "examples": 10}, "steps": 40, "params": 1,
        "macs": 1, "seconds": 2.0 + seed, "images_per_second": 10.0, "made": {"config": config},
    }))
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "grid.py"
    path.write_text(SWEEP)
    return str(path)


@pytest.fixture(scope="module")
def configs(tmp_path_factory):
    """Return {cell: its config.json}, which the stub has no time to make."""
    folder = tmp_path_factory.mktemp("configs")
    (folder / "grid.py").write_text(SWEEP)
    stated = {**sweep_file.load_sweep(f"{folder}/grid.py"), "seeds": 3}
    return {str(c): json.dumps(c.config) for c in grid.list_cells(stated, folder)}


@pytest.fixture
def stub(tmp_path, monkeypatch, configs):
    """Return stub(plan) -> the folder of a sweep whose cells are not trained."""
    for name, text in configs.items():
        (tmp_path / "configs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "configs" / name).write_text(text)
    script = tmp_path / "stub.py"
    script.write_text(textwrap.dedent(STUB))
    monkeypatch.setattr(scheduler, "WORKER", (sys.executable, str(script)))
    monkeypatch.setattr(scheduler, "probe", lambda: Machine("cpu", 1, "1 x cpu"))
    folder = tmp_path / "run"
    folder.mkdir()

    def plan(**tries):
        plan = {name.replace("__", "/"): codes for name, codes in tries.items()}
        (folder / "plan.json").write_text(json.dumps(plan))
        return folder

    return plan


def calls(folder):
    return [json.loads(line) for line in (folder / "calls.txt").read_text().splitlines()]


def cells(file, folder, *overrides):
    return grid.list_cells(sweep_file.load_sweep(file), folder, overrides)


# Cells.


def test_a_sweep_keeps_the_configs_of_cells_from_an_earlier_start(file, tmp_path):
    """A report compares the runs with them: the overrides are those of the last start alone."""
    files, stated = SweepDir(tmp_path), sweep_file.load_sweep(file)
    for name, steps in (("slow", 5), ("fast", 7)):
        found = grid.list_cells(stated, tmp_path, [f"steps={steps}"], [name])
        files.write_spec(grid.sweep_record(stated, [f"steps={steps}"], found, files))
    spec = files.spec()
    assert spec["overrides"] == ["steps=7"]
    assert {name: c["steps"] for name, c in spec["configs"].items()} == {"slow": 5, "fast": 7}
    (recipe,) = spec["recipes"].values()
    assert recipe == configs_of_experiment(found[0].experiment)


def configs_of_experiment(experiment):
    return config.to_plain_dict(config.load_config(experiment, []))


def test_first_seeds_come_first_and_each_has_a_folder(file, tmp_path):
    found = cells(file, tmp_path)
    assert [str(c) for c in found[:4]] == ["slow/seed0", "fast/seed0", "wide/seed0", "slow/seed1"]
    assert {str(c) for c in found} == EVERY
    assert found[4].run.path == tmp_path / "fast" / "seed1"
    assert (found[4].config["seed"], found[4].config["seeds"]) == (1, 1)
    assert found[4].config["schedule"]["learning_rate"] == 0.1


def test_overrides_are_of_every_cell(file, tmp_path):
    assert {c.config["steps"] for c in cells(file, tmp_path, "steps=7")} == {7}


def test_cells_that_are_named_come_in_that_order(file, tmp_path):
    found = grid.list_cells(sweep_file.load_sweep(file), tmp_path, (), ["wide", "slow"])
    assert [str(c) for c in found] == ["wide/seed0", "slow/seed0", "wide/seed1", "slow/seed1"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("slow,fsat", "--cells: no cell 'fsat'; did you mean 'fast'?"),
        ("slow,", "--cells: no cell ''; choose one of slow, fast, wide"),
        ("slow,slow", "--cells: slow is named twice"),
    ],
)
@pytest.mark.parametrize(
    "command", ["sweep --config", "sweep --dry_run --config", "submit --sweep"]
)
def test_a_wrong_name_of_a_cell_is_one_line(command, names, message, file, tmp_path, capsys):
    arguments = [f"{command}={file}", f"--workdir={tmp_path}/run", f"--cells={names}"]
    assert cli.main([*arguments[0].split(), *arguments[1:]]) == 2
    assert capsys.readouterr().err == f"error: {message}\n"
    assert not (tmp_path / "run").exists()


def test_a_dry_run_is_of_the_cells_that_are_named(file, tmp_path, capsys):
    flags = (f"--config={file}", f"--workdir={tmp_path}/run", "--cells=wide,fast", "--seeds=5")
    assert cli.main(["sweep", *flags, "--dry_run", "--format=json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(r["cell"], r["seeds"]) for r in rows] == [("wide", 5), ("fast", 5)]


def test_seeds_and_rates_of_one_network_go_together(file, tmp_path):
    found = cells(file, tmp_path)

    def groups(most, found=found):
        return sorted([str(c) for c in group] for group in grid.group_by_program(found, most))

    assert groups(6) == [
        ["slow/seed0", "fast/seed0", "slow/seed1", "fast/seed1"],
        ["wide/seed0", "wide/seed1"],
    ]
    assert [len(group) for group in groups(3)] == [1, 3, 2]  # no device is left without
    streamed = cells(file, tmp_path, "data.name=imagenette", "data.image_shape=(32,32,3)")
    assert len(groups(6, streamed)) == 6  # nothing is gained by k feeds of one network
    (found[0].run.checkpoints / "8").mkdir(parents=True)  # that one is further
    assert [len(group) for group in grid.group_by_step(found)] == [1, 5]


PAIR = dict(says="s", higher="one", lower="two", metric="test.top1_error")


def stated(**keys):
    """Return the text of a sweep file with these keys; a key that is None is left out."""
    cells = {"one": ["mlp_mnist"], "two": ["cnn_mnist"]}
    whole = {"title": "t", "seeds": 1, "cells": cells, **keys}
    return f"def get_sweep(): return { ({k: v for k, v in whole.items() if v is not None})!r}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no function get_sweep"),
        ("def get_sweep(): pass", "get_sweep returns NoneType, not a dict"),
        (stated(cells=None), "does not define cells"),
        (stated(cells={}), "cells is empty"),
        (stated(cells={"a": 1}), "cells={'a': 1}: must be a table"),
        (
            stated(cells={"a": ["lenet5_digit"]}),
            "cell a: --config: no experiment 'lenet5_digit'; did you mean",
        ),
        (stated(cells={"a": ["mlp_mnist:x"]}), "cell a: --config=mlp_mnist: no argument 'x'"),
        (stated(cells={"a": ["mlp_mnist", "epochs=-1"]}), "cell a: --config.epochs=-1: must be"),
        (stated(cells={"a": ["mlp_mnist", "seed=3"]}), "cell a: a sweep sets seed itself"),
        (stated(cells={"a/b": ["mlp_mnist"]}), "cannot be the name of a folder"),
        (stated(cells={"a\nb": ["mlp_mnist"]}), "cannot be the name of a folder"),
        (stated(seeds=0), "seeds=0: must be a whole number, from 1 to 10000"),
        (stated(seeds="two"), "seeds=two: must be a whole number"),
        (stated(title=["t"]), "title=['t']: must be text"),
        (stated(after=["robust"]), "did you mean 'robustness'"),
        (stated(x="width"), "x=width: must be"),
        (stated(column=["test.loss"]), "no key 'column'; did you mean 'columns'"),
        (stated(columns=["test.top_error"]), "'test.top_error' is not a metric"),
        (stated(columns=["val.top1_error"]), "no cell has the metric val.top1_error"),
        (stated(columns=["test.aux_4a_error"]), "no cell has the metric test.aux_4a_error"),
        (stated(groups={"g": ["one", "tow"]}), "groups['g']: no cell 'tow'; did you mean 'two'"),
        (stated(groups={"g": ["one", "one"]}), "groups['g']: one is named twice"),
        (stated(comparisons=[{**PAIR, "higher": "three"}]), "comparisons[0]: no cell 'three'"),
        (stated(comparisons=[{**PAIR, "lower": "one"}]), "comparisons[0]: one is named twice"),
        (stated(comparisons=[{**PAIR, "metrics": "x"}]), "did you mean 'metric'"),
        (stated(comparisons=[{"says": "s"}]), "comparisons[0]: does not define higher"),
        (
            stated(comparisons=[{**PAIR, "metric": "challenge.top1_error"}]),
            "s: the cell one has no metric challenge.top1_error",
        ),
        (stated(reach=[{"metric": "test.loss", "level": 25}]), "reach="),
        (stated(reach=[{"metric": "test.loss"}]), "reach[0]: does not define level"),
    ],
)
def test_a_mistake_in_the_file_is_one_line(text, message, tmp_path, capsys):
    (tmp_path / "grid.py").write_text(text)
    code = cli.main(["sweep", f"--config={tmp_path}/grid.py", f"--workdir={tmp_path}/run"])
    said = capsys.readouterr().err
    assert code == 2 and message in said and said.count("\n") == 1, said
    assert not (tmp_path / "run").exists()


def test_a_sweep_sets_the_seeds_itself(file, tmp_path, capsys):
    for key in ("seed", "seeds"):
        assert cli.main(["sweep", f"--config={file}", f"--config.{key}=2", "--dry_run"]) == 2
        assert f"a sweep sets {key} itself" in capsys.readouterr().err


def test_missing_images_stop_a_sweep_before_its_first_process(file, tmp_path, capsys):
    folder = tmp_path / "run"
    arguments = ["sweep", f"--config={file}", f"--workdir={folder}", "--config.data.name=mnist"]
    (tmp_path / "empty").mkdir()
    assert cli.main([*arguments, f"--config.data.data_dir={tmp_path}/empty"]) == 3
    error = capsys.readouterr().err.splitlines()[-1]
    assert "mnist" in error and "prepare" in error
    assert not [*folder.rglob("failed.json"), *folder.rglob("log.txt")]


def test_a_missing_run_to_start_from_stops_a_sweep_too(file, tmp_path, capsys):
    folder = tmp_path / "run"
    start = f"--config.warm_start.workdir={tmp_path}/none"
    assert cli.main(["sweep", f"--config={file}", f"--workdir={folder}", start]) == 2
    assert f"there is no run in {tmp_path}/none" in capsys.readouterr().err
    assert not [*folder.rglob("failed.json"), *folder.rglob("log.txt")]


@pytest.mark.parametrize("part", ["1", "2/2", "a/b", "-1/2"])
def test_a_part_is_one_of_so_many(part, file, capsys):
    assert cli.main(["sweep", f"--config={file}", f"--part={part}"]) == 2
    assert "wanted I/N" in capsys.readouterr().err


def test_the_seeds_of_a_cell_become_one_result(file, stub):
    folder = stub()
    done = scheduler.train_sweep(file, folder)
    assert set(done) == {"slow", "fast", "wide"}
    whole = json.loads((folder / "wide" / "result.json").read_text())
    assert whole == done["wide"]
    assert whole["seeds"] == [0, 1] and whole["test"]["top1_error"] == [0.5, 1.5]
    assert whole["test"]["examples"] == 10 and whole["seconds"] == 5.0
    assert whole["images_per_second"] == 10.0 and whole["made"]["config"]["seeds"] == 2
    assert json.loads((folder / "sweep.json").read_text())["cells"].keys() == done.keys()


def seeds_of(folder):
    """Return {cell: seeds of its merged result}."""
    found = folder.glob("*/result.json")
    return {path.parent.name: json.loads(path.read_text())["seeds"] for path in found}


def test_cells_and_seeds_are_trained_as_they_are_named_and_none_twice(file, stub):
    """Train one seed of three cells in a given order, then more seeds of two of them."""
    folder = stub()
    first = scheduler.train_sweep(file, folder, only=["wide", "fast", "slow"], seeds=1, processes=1)
    order = [name for name, *_ in calls(folder)]
    assert order == ["wide/seed0", "fast/seed0", "slow/seed0"]
    assert seeds_of(folder) == {"wide": [0], "fast": [0], "slow": [0]} and len(first) == 3
    more = scheduler.train_sweep(file, folder, only=["slow", "wide"], seeds=3, processes=1)
    order = [name for name, *_ in calls(folder)][3:]
    assert order == ["slow/seed1", "wide/seed1", "slow/seed2", "wide/seed2"]
    assert seeds_of(folder) == {"wide": [0, 1, 2], "fast": [0], "slow": [0, 1, 2]}
    assert set(more) == {"slow", "wide"}
    stated = json.loads((folder / "sweep.json").read_text())
    assert set(stated["cells"]) == {"slow", "fast", "wide"}  # a report is of all
    scheduler.train_sweep(file, folder, seeds=1)  # nothing is missing, and nothing is taken away
    assert len(calls(folder)) == 7
    assert seeds_of(folder) == {"wide": [0, 1, 2], "fast": [0], "slow": [0, 1, 2]}
    (shown,) = read_runs.read_collections([folder])
    assert {c.name: c.seeds for c in shown.cells} == seeds_of(folder)
    assert scheduler.train_sweep(file, folder)["fast"]["seeds"] == [
        0,
        1,
    ]  # the file's two, of all cells
    assert [name for name, *_ in calls(folder)][7:] == ["fast/seed1"]


def test_a_cell_that_fails_keeps_no_other_from_its_result(file, stub):
    folder = stub(fast__seed0=[3, 3])
    with pytest.raises(CellsFailed):
        scheduler.train_sweep(file, folder, only=["fast", "slow"], processes=1)
    assert seeds_of(folder) == {"slow": [0, 1]}


def test_parts_share_out_the_cells_that_are_named(file, stub):
    folder = stub()
    for part in (0, 1):
        scheduler.train_sweep(file, folder, only=["wide", "slow"], part=(part, 2), processes=1)
    order = [name for name, *_ in calls(folder)]
    assert order == ["wide/seed0", "wide/seed1", "slow/seed0", "slow/seed1"]


# Slots.


def test_cores_are_shared_out_once(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {4, 5, 7, 9}, raising=False)
    machine = Machine("cpu", 1, "1 x cpu")
    assert [s.cpus for s in slots.make_slots(machine, 0)] == [(4,), (5,), (7,), (9,)]
    assert [s.cpus for s in slots.make_slots(machine, 2)] == [(4, 7), (5, 9)]


def test_each_process_sees_one_gpu(monkeypatch):
    machine = Machine("gpu", 3, "3 x GPU")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    shown = [dict(s.environment)["CUDA_VISIBLE_DEVICES"] for s in slots.make_slots(machine, 0)]
    assert shown == ["0", "1", "2"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,6,7")
    shown = [dict(s.environment)["CUDA_VISIBLE_DEVICES"] for s in slots.make_slots(machine, 2)]
    assert shown == ["5", "6"]
    assert len(slots.make_slots(Machine("tpu", 8, "8 x TPU"), 0)) == 1


# Processes.


def test_no_finished_cell_is_run_twice(file, stub):
    folder = stub()
    scheduler.train_sweep(file, folder)
    assert sorted(name for name, *_ in calls(folder)) == sorted(EVERY)
    scheduler.train_sweep(file, folder)
    assert len(calls(folder)) == 6
    scheduler.train_sweep(file, folder, seeds=3)  # and what is missing is
    assert {name for name, *_ in calls(folder)[6:]} == {"slow/seed2", "fast/seed2", "wide/seed2"}


def test_a_failed_cell_is_tried_once_more(file, stub):
    folder = stub(fast__seed0=[3])
    assert set(scheduler.train_sweep(file, folder)) == {"slow", "fast", "wide"}
    assert [name for name, *_ in calls(folder)].count("fast/seed0") == 2
    assert not (folder / "fast" / "seed0" / "failed.json").exists()


def test_one_that_fails_twice_is_named_and_the_others_end(file, stub, capsys):
    folder = stub(fast__seed0=[3, -9, 0])
    with pytest.raises(CellsFailed, match="fast/seed0: fast/seed0 is broken"):
        scheduler.train_sweep(file, folder)
    assert {name for name, *_ in calls(folder)} == EVERY and len(calls(folder)) == 7
    failed = json.loads((folder / "fast" / "seed0" / "failed.json").read_text())
    assert failed["tries"] == 2 and "is broken" in failed["error"]
    assert (folder / "slow" / "result.json").exists()
    assert not (folder / "fast" / "result.json").exists()
    with pytest.raises(CellsFailed):  # and not again, until somebody says so
        scheduler.train_sweep(file, folder)
    assert len(calls(folder)) == 7
    assert set(scheduler.train_sweep(file, folder, retry_failed=True)) == {"slow", "fast", "wide"}
    assert len(calls(folder)) == 8
    assert not list(folder.rglob("failed.json"))


def test_on_an_accelerator_those_alike_are_one_process_and_alone_when_that_fails(
    file, stub, monkeypatch
):
    folder = stub(fast__seed0=[3])
    monkeypatch.setattr(scheduler, "probe", lambda: Machine("gpu", 1, "1 x GPU"))
    scheduler.train_sweep(file, folder)
    together = [(name, together) for name, together, *_ in calls(folder)]
    assert ("slow/seed0", 4) in together and ("wide/seed0", 2) in together
    # The stub ends at the first that fails: what had no result by then is tried alone.
    assert ("fast/seed0", 1) in together and ("slow/seed1", 1) in together
    assert ("slow/seed0", 1) not in together


@pytest.fixture
def two_gpus(monkeypatch):
    """Return a function that makes the machine one with two GPUs."""
    for name in ("CUDA_VISIBLE_DEVICES", *slots.FRACTIONS):
        monkeypatch.delenv(name, raising=False)
    return lambda: monkeypatch.setattr(scheduler, "probe", lambda: Machine("gpu", 2, "2 x GPU"))


def test_more_processes_than_gpus_share_them_and_their_memory(file, stub, two_gpus):
    folder = stub()
    two_gpus()
    scheduler.train_sweep(file, folder, processes=6)
    shown = [gpu["CUDA_VISIBLE_DEVICES"] for *_, gpu in calls(folder)]
    assert sorted(shown) == ["0", "0", "0", "1", "1", "1"]
    shares = {gpu["XLA_PYTHON_CLIENT_MEM_FRACTION"] for *_, gpu in calls(folder)}
    assert shares == {"0.3000"} and {name for name, *_ in calls(folder)} == EVERY


def test_a_process_alone_on_its_gpu_gets_no_share(file, stub, two_gpus):
    folder = stub()
    two_gpus()
    scheduler.train_sweep(file, folder)
    found = [gpu for *_, gpu in calls(folder)]
    assert all(gpu.keys() == {"CUDA_VISIBLE_DEVICES"} for gpu in found)
    assert {gpu["CUDA_VISIBLE_DEVICES"] for gpu in found} == {"0", "1"}


@pytest.mark.parametrize("name", slots.FRACTIONS)
def test_what_the_user_gives_jax_of_a_gpu_is_divided(name, two_gpus, monkeypatch):
    monkeypatch.setenv(name, "0.6")
    found = [dict(s.environment) for s in slots.make_slots(Machine("gpu", 2, "2 x GPU"), 3)]
    assert found == [{"CUDA_VISIBLE_DEVICES": gpu, name: "0.3000"} for gpu in "010"]
    for wrong in ("much", "0", "60", "nan"):
        monkeypatch.setenv(name, wrong)
        with pytest.raises(ConfigError, match=f"{name}={wrong}: must be a number above 0, up to 1"):
            slots.make_slots(Machine("gpu", 2, "2 x GPU"), 3)


def test_parts_share_the_cells_out(file, stub):
    folder = stub()
    scheduler.train_sweep(file, folder, part=(0, 2))
    first = {name for name, *_ in calls(folder)}
    scheduler.train_sweep(file, folder, part=(1, 2))
    assert len(first) == 3 and {name for name, *_ in calls(folder)} == EVERY
    assert len(calls(folder)) == 6


def test_a_part_at_work_is_not_started_again_nor_the_sweep_divided_otherwise(file, stub):
    """Whichever part ends last merges the results of all."""
    folder = stub()
    with SweepDir(folder).lock(0, 2):  # as a process on another host holds it
        for part in ((0, 2), (1, 3), (0, 1)):
            with pytest.raises(ConfigError, match="in use by process"):
                scheduler.train_sweep(file, folder, part=part)
        assert not (folder / "calls.txt").exists()
        scheduler.train_sweep(file, folder, part=(1, 2))
        assert len(calls(folder)) == 3 and seeds_of(folder) == {}
    scheduler.train_sweep(file, folder, part=(0, 2))
    assert seeds_of(folder) == {"slow": [0, 1], "fast": [0, 1], "wide": [0, 1]}


def test_a_cell_that_was_made_otherwise_is_not_taken_for_done(file, stub):
    folder = stub()
    scheduler.train_sweep(file, folder)
    with pytest.raises(ConfigError, match="another config .data.batch_size"):
        scheduler.train_sweep(file, folder, overrides=["data.batch_size=16"])
    assert not any(c.is_done() for c in cells(file, folder, "steps=41"))  # longer: it goes on


def test_a_signal_stops_the_processes(file, stub):
    folder = stub(slow__seed0=["wait"], fast__seed0=["wait"])
    program = (
        "import sys; from cnn_archs.sweeps import scheduler as sweep\n"
        f"sweep.WORKER = {scheduler.WORKER!r}\n"
        "from cnn_archs.launch.device_probe import Machine\n"
        "sweep.probe = lambda: Machine('cpu', 1, '1 x cpu')\n"
        "from cnn_archs import cli; sys.exit(cli.main(sys.argv[1:]))"
    )
    arguments = ["sweep", f"--config={file}", f"--workdir={folder}", "--processes=2"]
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stderr=subprocess.PIPE, text=True
    )
    at_once = min(2, len(os.sched_getaffinity(0)))
    while len(calls(folder) if (folder / "calls.txt").exists() else []) < at_once:
        time.sleep(0.1)
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 75 and "run the same command again" in said.splitlines()[-1]
    assert not (folder / "slow" / "seed0" / "failed.json").exists()  # stopping is not failing


# Real ones.


def numbers(folder):
    """Return the results of a sweep without measured times."""
    found = {}
    for name in sorted(EVERY):
        result = json.loads((folder / name / "result.json").read_text())
        found[name] = {k: v for k, v in result.items() if "second" not in k}
        del found[name]["made"]
        found[name]["log"] = log_lines(folder / name)
    return found


def run(launch, file, folder):
    process = launch("sweep", f"--config={file}", f"--workdir={folder}", "--format=json")
    out, said = process.communicate(timeout=900)
    assert process.returncode == 0, said
    return json.loads(out)


@pytest.mark.slow
def test_killed_three_times_it_ends_with_the_same_numbers(launch, file, tmp_path):
    text = Path(file).read_text().replace("steps=40", "steps=400")
    Path(file).write_text(text.replace('"steps=400"', '"steps=400", "checkpoint_every=0.2"'))
    whole = run(launch, file, tmp_path / "whole")
    assert set(whole) == {"slow", "fast", "wide"}
    folder = tmp_path / "killed"
    stamps: dict[str, int] = {}
    for wanted in (1, 3, 4):
        process = launch("sweep", f"--config={file}", f"--workdir={folder}")
        begun = folder / sorted(EVERY)[0]
        while sum((folder / name / "result.json").exists() for name in EVERY) < wanted:
            time.sleep(0.05)
            assert process.poll() is None, begun
        process.send_signal(signal.SIGKILL)
        process.wait()
        time.sleep(2)  # its processes notice
        for name in EVERY:
            path = folder / name / "result.json"
            if path.exists():
                assert stamps.setdefault(name, path.stat().st_mtime_ns) == path.stat().st_mtime_ns
    run(launch, file, folder)
    for name, stamp in stamps.items():
        assert (folder / name / "result.json").stat().st_mtime_ns == stamp, name
    assert len(stamps) >= 4 and numbers(folder) == numbers(tmp_path / "whole")


def test_a_line_of_progress_is_printed_once(file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(scheduler, "SECONDS_PER_REPORT", 0.0)
    one, output = cells(file, tmp_path)[0], tmp_path / "log.txt"
    with stop_requests() as stop, subprocess.Popen(["true"], text=True) as popen:
        running = scheduler.Scheduler([], [], stop)
    running.running = [scheduler.Process([one], slots.Slot(), popen, output)]
    for text in ("", "", "compiling\n", "compiling\n", "step 1\n"):
        output.write_text(text)
        running.report()
    said = capsys.readouterr().err.splitlines()
    assert said == [f"slow/seed0: {line}" for line in ("no output yet", "compiling", "step 1")]
