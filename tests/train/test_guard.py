"""One run to a folder, files that are whole, and signals that are heard."""

import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from cnn_archs.errors import ConfigError
from cnn_archs.train import guard

HOLDER = """
import sys, time
from pathlib import Path
from cnn_archs.train.guard import lock
with lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""

STARTER = """
import sys
from pathlib import Path
from cnn_archs.errors import ConfigError
from cnn_archs.train.guard import lock
sys.stdin.readline()  # the start
try:
    with lock(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.readline()  # the end
except ConfigError as e:
    print(e, flush=True)
"""

WRITER = """
import sys
from pathlib import Path
from cnn_archs.train.guard import write_atomically
print("writing", flush=True)
for i in range(10**9):
    write_atomically(Path(sys.argv[1]), str(i % 10) * 200_000)
"""


def start(program: str, path: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_second_run_is_told_who_holds_the_folder(tmp_path):
    with start(HOLDER, tmp_path) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ConfigError) as e, guard.lock(tmp_path):
            pass
        holder.kill()
    message = f"process {holder.pid} on {socket.gethostname()}"
    assert message in str(e.value) and str(tmp_path) in str(e.value) and e.value.code == 2


def test_the_lock_of_a_killed_run_is_free(tmp_path):
    with start(HOLDER, tmp_path) as holder:
        assert holder.stdout.readline() == "held\n"
        holder.kill()
    with guard.lock(tmp_path):
        assert (tmp_path / "lock").read_text().startswith(f"process {os.getpid()} on ")


def test_a_lock_can_be_taken_again_after_it_was_given_back(tmp_path):
    with guard.lock(tmp_path), pytest.raises(ConfigError), guard.lock(tmp_path):
        pass
    with guard.lock(tmp_path):
        pass
    assert (tmp_path / "lock").read_text() == ""


def test_of_many_starts_at_once_one_wins(tmp_path):
    processes = [start(STARTER, tmp_path) for _ in range(20)]
    for p in processes:
        p.stdin.write("start\n")
        p.stdin.flush()
    answers = [p.stdout.readline() for p in processes]
    for p in processes:
        p.communicate("end\n")
    assert answers.count("held\n") == 1
    assert all("is in use by " in a for a in answers if a != "held\n")


def test_a_reader_sees_the_old_text_or_the_new_one(tmp_path):
    path, sizes, done = tmp_path / "result.json", set(), threading.Event()
    texts = ["a" * 300_000, "b" * 100_000]
    guard.write_atomically(path, texts[0])

    def read() -> None:
        while not done.is_set():
            text = path.read_text()
            sizes.add((len(text), len(set(text))))

    reader = threading.Thread(target=read)
    reader.start()
    for i in range(40):
        guard.write_atomically(path, texts[i % 2])
    done.set()
    reader.join()
    assert sizes <= {(300_000, 1), (100_000, 1)}


@pytest.mark.parametrize("seconds", [0.01, 0.05, 0.1])
def test_a_killed_writer_leaves_a_whole_file(seconds, tmp_path):
    path = tmp_path / "result.json"
    with start(WRITER, path) as writer:
        assert writer.stdout.readline() == "writing\n"
        while not path.exists():
            time.sleep(0.001)
        time.sleep(seconds)
        writer.kill()
    text = path.read_text()
    assert len(text) == 200_000 and len(set(text)) == 1


def test_a_write_that_fails_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "result.json"
    guard.write_json(path, {"a": 1})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError):
            guard.write_atomically(path, "x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_text() == '{\n "a": 1\n}\n'
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_a_request_and_the_handlers_come_back(number):
    before = signal.getsignal(number)
    with guard.stop_requests() as stop:
        assert not stop
        signal.raise_signal(number)
        assert stop and stop.signal == number
    assert signal.getsignal(number) is before


def test_the_second_signal_ends_the_process_at_once():
    program = """
import signal, time
from cnn_archs.train.guard import stop_requests
with stop_requests():
    print("ready", flush=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        time.sleep(0.01)
"""
    with start(program, "") as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 128 + signal.SIGTERM
