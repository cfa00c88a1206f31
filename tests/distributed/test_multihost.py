"""Several processes train as one does: they connect, agree, and stop together."""

import json
import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import odd_photographs
import psutil
import pytest

from cnn_archs import cli
from cnn_archs.distributed import connection, multihost
from cnn_archs.errors import ConfigError
from cnn_archs.launch import local
from cnn_archs.launch.device_probe import Machine
from cnn_archs.run_dir import RunDir

SMALL = (  # from JPEGs: each process computes a share of their mean
    "--config.model.name=mlp",
    "--config.model.hidden=(8,)",
    "--config.log_every=5",
    "--config.data.name=image_folder",
    "--config.data.batch_size=16",
    "--config.data.image_shape=(12,12,3)",
    "--config.data.mean=pixel",
    "--config.crop.name=inception",
    "--config.crop.evaluate=14",
)
LENGTH = ("--config.steps=40", "--config.eval_every=5", "--config.checkpoint_every=2")


@pytest.fixture(scope="module")
def launch(launch, tmp_path_factory):
    """Return the `launch` of conftest.py, with the folder of images."""
    folder = odd_photographs.draw(tmp_path_factory.mktemp("photographs"))

    def start(*arguments, **environment):
        return launch(*arguments, f"--config.data.data_dir={folder}", **environment)

    return start


def run(launch, workdir, *flags, env=None, code=0, seconds=300):
    """Run `train` to its end, and return (stdout, stderr)."""
    process = launch("train", *SMALL, f"--workdir={workdir}", *flags, **(env or {}))
    out, err = process.communicate(timeout=seconds)
    assert process.returncode == code, (process.returncode, err[-3_000:])
    return out, err


def losses(workdir):
    lines = [
        json.loads(line) for line in (Path(workdir) / "metrics.jsonl").read_text().splitlines()
    ]
    return {(line["step"], line["split"]): line["loss"] for line in lines}


def same(found, expected):
    assert found.keys() == expected.keys()
    np.testing.assert_allclose([found[k] for k in expected], [*expected.values()], rtol=1e-5)


@pytest.fixture(scope="module")
def alone(launch, tmp_path_factory):
    """Return the folder of a run of 60 steps in one process on one device."""
    workdir = tmp_path_factory.mktemp("alone")
    run(launch, workdir, *LENGTH)
    return workdir


def step_of(workdir):
    """Return the last step in the log, or 0."""
    path = workdir / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return json.loads(lines[-1])["step"] if lines else 0


def test_four_processes_are_as_one_also_stopped_and_gone_on_with_in_one(launch, alone, tmp_path):
    """A signal to one process stops all of them, saved, at the same step."""
    flags = (*LENGTH, f"--workdir={tmp_path}")
    process = launch("train", *SMALL, *flags, "--processes=4", "--format=json")
    deadline = time.monotonic() + 240
    while step_of(tmp_path) < 10:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.05)
    every = psutil.Process(process.pid).children()
    place = next(word for word in every[0].cmdline() if word.startswith("--coordinator="))
    port = int(place.rpartition(":")[2])
    listening = [c.laddr for c in every[0].net_connections() if c.status == "LISTEN"]
    hosts = {ip.removeprefix("::ffff:") for ip, at in listening if at == port}
    assert hosts == {"127.0.0.1"}  # nobody on another machine can meet them
    third = every[2]
    third.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 75, err[-3_000:]
    assert out == "" and err.count("error: stopped by a signal at step") == 1
    run(launch, tmp_path, *LENGTH)
    same(losses(tmp_path), losses(alone))
    made = json.loads((tmp_path / "result.json").read_text())
    one = json.loads((alone / "result.json").read_text())
    assert made["test"]["top1_error"] == one["test"]["top1_error"]


@pytest.mark.slow
@pytest.mark.parametrize(("count", "devices"), [(2, 4), (4, 1), (4, 2)])
def test_any_number_of_processes_and_devices_is_as_one(
    count, devices, launch, alone, simulated, tmp_path
):
    env = simulated(devices)
    flags = (*LENGTH, f"--processes={count}")
    out, err = run(launch, tmp_path, *flags, "--format=json", env=env)
    result = json.loads(out)
    assert result["device"] == f"{count * devices} x cpu"
    assert result["made"]["processes"] == count
    same(losses(tmp_path), losses(alone))


def started(launch, workdir, *flags):
    """Start a run of two processes, and return it and its processes once it trains."""
    process = launch("train", *SMALL, *flags, "--processes=2", f"--workdir={workdir}")
    deadline = time.monotonic() + 240
    while step_of(workdir) < 10:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.05)
    return process, psutil.Process(process.pid).children()


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_one_that_dies_takes_the_other_with_it_and_both_go_on(killed, launch, alone, tmp_path):
    flags = LENGTH
    process, children = started(launch, tmp_path, *flags)
    children[killed].kill()
    _, err = process.communicate(timeout=60)
    assert process.returncode != 0
    assert f"error: process {killed} was ended by signal 9" in err
    assert not psutil.wait_procs(children, timeout=10)[1]
    run(launch, tmp_path, *flags, "--processes=2")
    same(losses(tmp_path), losses(alone))


@pytest.mark.slow
def test_far_from_each_other_they_end_when_a_heart_stops(launch, tmp_path):
    """Without a common parent, the surviving process notices the missing heartbeat."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        place = f"--coordinator=localhost:{free.getsockname()[1]}"
    flags = ("--config.steps=100000", f"--workdir={tmp_path}", place, "--num_processes=2")
    both = [launch("train", *SMALL, *flags, f"--process_id={i}") for i in range(2)]
    while step_of(tmp_path) < 10:
        assert all(p.poll() is None for p in both)
        time.sleep(0.1)
    both[1].kill()
    assert both[0].wait(timeout=3 * connection.HEARTBEAT_SECONDS) != 0


@pytest.mark.slow
def test_none_outlives_the_one_that_started_them(launch, tmp_path):
    process, children = started(launch, tmp_path, "--config.steps=100000")
    process.kill()
    assert not psutil.wait_procs(children, timeout=20)[1]


@pytest.mark.slow
def test_what_the_first_refuses_all_refuse_in_one_line(launch, tmp_path):
    with RunDir(tmp_path).lock():
        _, err = run(launch, tmp_path, "--processes=2", code=2)
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "is in use by process" in lines[0]


# A single process.


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--processes=-1"], "--processes=-1: must be at least 1"),
        (["--processes=2", "--process_id=0"], "--processes starts all of them here"),
        (["--coordinator=here"], "--coordinator=here: wanted HOST:PORT"),
        (["--coordinator=localhost:1", "--num_processes=2"], "--process_id=-1: from 0 to"),
        (["--num_processes=2", "--process_id=2"], "--process_id=2: from 0 to"),
        (["--num_processes=2", "--process_id=1"], "the processes cannot connect"),
    ],
)
def test_a_wrong_flag_is_one_line(flags, message, capsys, tmp_path):
    assert cli.main(["train", *flags, f"--workdir={tmp_path}/run"]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("environment", "by"),
    [
        ({}, ""),
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"}, ""),  # a shell in an allocation: no step
        ({"SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "1"}, ""),
        ({"SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "4"}, "SLURM"),
        ({"OMPI_COMM_WORLD_SIZE": "1"}, ""),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, "Open MPI"),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, ""),  # a pod that is no part of an indexed job
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "0"}, "Kubernetes"),
    ],
)
def test_who_started_it_is_found_in_the_environment(environment, by, monkeypatch):
    for name in list(os.environ):
        if name.startswith(("SLURM_", "OMPI_", "KUBERNETES_", "JOB_")):
            monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert connection.detect_launcher() == by


def test_gpus_are_shared_out(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(local, "probe", lambda: Machine("gpu", 8, "8 x GPU"))
    shown = [share["CUDA_VISIBLE_DEVICES"] for share in local.process_environments(4)]
    assert shown == ["0,1", "2,3", "4,5", "6,7"]
    with pytest.raises(ConfigError, match="--processes=3 does not divide 8 GPUs evenly"):
        local.process_environments(3)
    monkeypatch.setattr(local, "probe", lambda: Machine("cpu", 1, "1 x cpu"))
    assert local.process_environments(2) == [{}, {}]


@pytest.mark.parametrize(
    ("codes", "causes"),
    [
        ([None, 0], []),
        ([75, 75], []),
        ([2, 2], [0, 1]),  # an error that all have, and process 0 has printed
        ([1, 3], [1, 0]),  # process 0 has lost the other one, or ends with a traceback
        ([1, 1], [1, 0]),  # the output of process 0 is shown anyway
        ([None, -9, 1], [1, 2]),
        ([1, 75], []),  # a signal stopped the second
        ([3, 75], [0]),
    ],
)
def test_the_cause_is_told_and_not_what_came_of_it(codes, causes):
    assert local.failures(codes) == causes


@pytest.mark.parametrize(
    ("environment", "own"),
    [
        ({}, [0, 1, 2, 3]),  # alone
        ({"SLURM_STEP_TASKS_PER_NODE": "4(x2)", "SLURM_LOCALID": "2", "SLURM_NODEID": "1"}, [2]),
        ({"SLURM_STEP_TASKS_PER_NODE": "2,1", "SLURM_LOCALID": "1", "SLURM_NODEID": "0"}, [2, 3]),
        ({"SLURM_STEP_TASKS_PER_NODE": "2,1", "SLURM_NODEID": "1"}, [0, 1, 2, 3]),
        ({"SLURM_STEP_TASKS_PER_NODE": "4", "SLURM_LOCALID": "3", "SHOWN": "0"}, [0]),
        (
            {"SLURM_STEP_TASKS_PER_NODE": "2", "SLURM_LOCALID": "1", "SLURM_GPUS_PER_TASK": "2"}
            | {"SHOWN": "0,1"},
            [0, 1],
        ),
        ({"OMPI_COMM_WORLD_LOCAL_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_RANK": "1"}, [2, 3]),
        ({"SHOWN": ""}, None),
    ],
)
def test_a_process_takes_its_share_of_the_gpus_that_it_sees(environment, own, monkeypatch):
    for name in [n for n in os.environ if n.startswith(("SLURM_", "OMPI_"))]:
        monkeypatch.delenv(name)
    for name, value in {"SHOWN": "4,5,6,7", **environment}.items():
        monkeypatch.setenv(name.replace("SHOWN", "CUDA_VISIBLE_DEVICES"), value)
    assert connection.local_gpus() == own


@pytest.mark.slow
def test_processes_of_another_rate_are_refused_by_all(launch, tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        place = f"--coordinator=localhost:{free.getsockname()[1]}"
    flags = (f"--workdir={tmp_path}", place, "--num_processes=2")
    rates = [f"--config.schedule.learning_rate={rate}" for rate in (0.1, 0.2)]
    both = [launch("train", *SMALL, *flags, r, f"--process_id={i}") for i, r in enumerate(rates)]
    for process in both:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 2, err[-3_000:]
        assert "settings or packages of process 1 differ from those of process 0" in err


def test_alone_all_is_one_s_own():
    assert multihost.is_primary() and list(multihost.local_indices(5)) == [0, 1, 2, 3, 4]
    assert multihost.on_primary(lambda: {"a": 1}) == {"a": 1}
    assert multihost.broadcast_arrays(lambda: None) is None
    assert not multihost.AnyProcess([]) and multihost.AnyProcess([1])
    assert multihost.sum_over_processes(np.array([2**40, 3])).tolist() == [2**40, 3]


def ask(monkeypatch, seconds, questions, stopped_at):
    """Ask questions in two processes whose conditions differ, played by two threads.

    seconds: between two questions by the clock of process 0; that of process 1 runs three times as
    fast. stopped_at: the question at which the condition of process 1 becomes true. Returns the
    first question that each process answers with yes, and at which questions they exchange.
    """
    index, barrier = threading.local(), threading.Barrier(2, timeout=20)
    given: list[Any] = [None, None]
    exchanges: list[int] = []

    def allgather(own):
        given[index.value] = own
        barrier.wait()
        found = np.stack(given)
        barrier.wait()
        return found

    def process(i):
        index.value, now = i, [0.0]
        condition: list[int] = []
        found = []
        stop = multihost.AnyProcess(condition, lambda: now[0])
        for question in range(questions):
            now[0] += seconds * (1 + 2 * i)
            if i == 1 and question == stopped_at:
                condition.append(1)
            exchanges.extend([question] * (i == 0 and stop.left == 1))
            if stop:
                found.append(question)
        return found[0]

    monkeypatch.setattr(multihost.jax, "process_count", lambda: 2)
    monkeypatch.setattr(multihost.multihost_utils, "process_allgather", allgather)
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(process, range(2))), exchanges


@pytest.mark.parametrize(
    ("seconds", "period"), [(10.0, 1), (0.5, 4), (1e-3, multihost.MOST_BETWEEN_EXCHANGES)]
)
def test_processes_stop_together_and_exchange_every_two_seconds(seconds, period, monkeypatch):
    (first, second), exchanges = ask(monkeypatch, seconds, 400, stopped_at=250)
    assert first == second and 250 <= first < 250 + period
    gaps = np.diff(exchanges)
    assert gaps[0] == min(2, period) and gaps[-1] == gaps.max() == period
    assert (gaps[1:] <= 2 * gaps[:-1]).all()


def test_an_evaluation_exchanges_at_its_first_batch(monkeypatch):
    shared: list[Any] = []

    def allgather(own):
        shared.append(own)
        return np.stack([own])

    monkeypatch.setattr(multihost.jax, "process_count", lambda: 2)
    monkeypatch.setattr(multihost.multihost_utils, "process_allgather", allgather)
    stop = multihost.AnyProcess([], lambda: 0.0)
    assert not any(bool(stop) for _ in range(200)) and stop.every > 64 and stop.left > 1
    condition = stop.condition
    condition.append(1)
    assert not stop and stop.anew()
