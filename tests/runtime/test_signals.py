"""Signals are answered from the first import of a process to its exit."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cnn_archs.runtime.signals import stop_requests, stop_signals

# Like a compilation: C code in which Python handles no signal.
COMPILE = "import hashlib; hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)"
NUMBERS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]


@contextmanager
def started(*command: object) -> Iterator[subprocess.Popen[str]]:
    """Run a process in which no signal is ignored, with its output piped."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    try:
        process = subprocess.Popen([sys.executable, *map(str, command)], text=True, **pipes)
    finally:
        signal.signal(signal.SIGHUP, before)
    with process:
        try:
            yield process
        finally:
            process.kill()


def answers_signals(process: subprocess.Popen[str]) -> bool:
    """Return whether SIGTERM no longer ends the process by itself, by what the kernel says."""
    status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    masks = [int(line.split()[1], 16) for line in status if line.startswith(("SigBlk", "SigCgt"))]
    return any(mask >> (signal.SIGTERM - 1) & 1 for mask in masks)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_during_the_imports_is_one_line(number, tmp_path):
    launch = Path(__file__).parents[2] / "launch.py"
    with started(launch, "train", f"--workdir={tmp_path}/run") as process:
        deadline = time.monotonic() + 60
        while not answers_signals(process):
            assert time.monotonic() < deadline and process.poll() is None
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 75 and out == ""
    assert err == f"error: stopped by {number.name}: run the same command again\n"
    assert not (tmp_path / "run").exists()


PROCESS = "from cnn_archs.runtime.process import run_process\n"


def test_a_signal_during_a_compilation_ends_a_command_at_once():
    program = f"{PROCESS}def work():\n    print('ready', flush=True); {COMPILE}\nrun_process(work)"
    with started("-c", program) as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.communicate(timeout=20)[1].startswith("error: stopped by SIGTERM: ")
    assert process.returncode == 75


def test_a_training_that_compiles_answers_with_a_word_and_the_second_signal_ends_it():
    program = f"""
from cnn_archs.runtime.signals import stop_requests
with stop_requests():
    print("ready", flush=True)
    {COMPILE}
"""
    with started("-c", program) as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGHUP)
        assert process.stderr and process.stderr.readline().startswith(
            "SIGHUP: this process stops as soon as the present step, compilation or file is "
        )
        process.send_signal(signal.SIGHUP)  # a terminal that is closed sends it twice
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 128 + signal.SIGINT


def test_a_signal_after_the_work_changes_nothing():
    program = f"""
import atexit, time
{PROCESS}
def wait():
    print("at exit", flush=True)
    time.sleep(60)
def work():
    atexit.register(wait)
    print("done", flush=True)
    return 3
run_process(work)"""
    with started("-c", program) as process:
        assert process.stdout and process.stdout.readline() == "done\n"
        assert process.stdout.readline() == "at exit\n"
        process.terminate()
        assert process.communicate(timeout=20)[1] == ""
    assert process.returncode == 3


def test_an_unfinished_file_is_gone_after_a_signal(tmp_path):
    program = f"""
import sys, time
from pathlib import Path
{PROCESS}
def work():
    from cnn_archs.runtime.files import atomic_write
    with atomic_write(Path(sys.argv[1])) as temporary:
        temporary.write_text("half")
        print("half", flush=True)
        time.sleep(60)
run_process(work)"""
    with started("-c", program, tmp_path / "report.html") as process:
        assert process.stdout and process.stdout.readline() == "half\n"
        assert len(list(tmp_path.iterdir())) == 1
        process.terminate()
        assert process.wait(20) == 75
    assert list(tmp_path.iterdir()) == []


def test_under_nohup_a_hangup_asks_nothing():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert stop_signals() == [signal.SIGTERM, signal.SIGINT]
        with stop_requests() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_a_request_and_the_handlers_come_back(number):
    before = signal.getsignal(number)
    with stop_requests() as stop:
        assert not stop
        signal.raise_signal(number)
        assert stop and stop.signal == number
    assert signal.getsignal(number) is before


def test_the_second_signal_ends_the_process_at_once():
    program = """
import signal, time
from cnn_archs.runtime.signals import stop_requests
with stop_requests():
    print("ready", flush=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        time.sleep(0.01)
"""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 128 + signal.SIGTERM
