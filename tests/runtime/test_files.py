"""Atomic writes, one process per folder, and JSON that is read with one-line errors."""

import os
import resource
import socket
import subprocess
import sys
import threading
import time

import pytest

from cnn_archs.errors import ConfigError
from cnn_archs.runtime import files

HOLDER = """
import sys, time
from pathlib import Path
from cnn_archs.runtime.files import lock
with lock(Path(sys.argv[1], "lock")):
    print("held", flush=True)
    time.sleep(60)
"""

STARTER = """
import sys
from pathlib import Path
from cnn_archs.runtime import files
from cnn_archs.errors import ConfigError
from cnn_archs.runtime.files import lock
sys.stdin.readline()  # the start
try:
    with lock(Path(sys.argv[1], "lock")):
        print("held", flush=True)
        sys.stdin.readline()  # the end
except ConfigError as e:
    print(e, flush=True)
"""

WRITER = """
import sys
from pathlib import Path
from cnn_archs.runtime.files import write_text
print("writing", flush=True)
for i in range(10**9):
    write_text(Path(sys.argv[1]), str(i % 10) * 200_000)
"""


def start(program: str, path: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def line_of(process: subprocess.Popen[str]) -> str:
    """Read the next line that `process` prints."""
    assert process.stdout is not None
    return process.stdout.readline()


def test_a_second_run_is_told_who_holds_the_folder(tmp_path):
    with start(HOLDER, tmp_path) as holder:
        assert line_of(holder) == "held\n"
        with pytest.raises(ConfigError) as e, files.lock(tmp_path / "lock"):
            pass
        holder.kill()
    message = f"process {holder.pid} on {socket.gethostname()}"
    assert message in str(e.value) and str(tmp_path) in str(e.value) and e.value.code == 2


def test_the_lock_of_a_killed_run_is_free(tmp_path):
    with start(HOLDER, tmp_path) as holder:
        assert line_of(holder) == "held\n"
        holder.kill()
    with files.lock(tmp_path / "lock"):
        assert (tmp_path / "lock").read_text().startswith(f"process {os.getpid()} on ")


def test_a_lock_can_be_taken_again_after_it_was_given_back(tmp_path):
    with files.lock(tmp_path / "lock"), pytest.raises(ConfigError), files.lock(tmp_path / "lock"):
        pass
    with files.lock(tmp_path / "lock"):
        pass
    assert (tmp_path / "lock").read_text() == ""


def test_of_many_starts_at_once_one_wins(tmp_path):
    processes = [start(STARTER, tmp_path) for _ in range(20)]
    for p in processes:
        assert p.stdin is not None
        p.stdin.write("start\n")
        p.stdin.flush()
    answers = [line_of(p) for p in processes]
    for p in processes:
        p.communicate("end\n")
    assert answers.count("held\n") == 1
    assert all("is in use by " in a for a in answers if a != "held\n")


def test_a_reader_sees_the_old_text_or_the_new_one(tmp_path):
    path, sizes, done = tmp_path / "result.json", set(), threading.Event()
    texts = ["a" * 300_000, "b" * 100_000]
    files.write_text(path, texts[0])

    def read() -> None:
        while not done.is_set():
            text = path.read_text()
            sizes.add((len(text), len(set(text))))

    reader = threading.Thread(target=read)
    reader.start()
    for i in range(40):
        files.write_text(path, texts[i % 2])
    done.set()
    reader.join()
    assert sizes <= {(300_000, 1), (100_000, 1)}


@pytest.mark.parametrize("seconds", [0.01, 0.05, 0.1])
def test_a_killed_writer_leaves_a_whole_file(seconds, tmp_path):
    path = tmp_path / "result.json"
    with start(WRITER, path) as writer:
        assert line_of(writer) == "writing\n"
        while not path.exists():
            time.sleep(0.001)
        time.sleep(seconds)
        writer.kill()
    text = path.read_text()
    assert len(text) == 200_000 and len(set(text)) == 1


def test_a_write_that_fails_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "result.json"
    files.write_json(path, {"a": 1})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError):
            files.write_text(path, "x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_text() == '{\n "a": 1\n}\n'
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


def test_a_link_is_followed_and_a_pipe_is_written_to_as_it_is(tmp_path):
    (tmp_path / "other").mkdir()
    link = tmp_path / "link.txt"
    link.symlink_to(tmp_path / "other" / "file.txt")
    files.write_text(link, "through the link")
    assert link.is_symlink()
    assert (tmp_path / "other" / "file.txt").read_text() == "through the link"
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE, text=True) as reader:
        files.write_text(pipe, "through the pipe")
        assert reader.communicate()[0] == "through the pipe"
    assert pipe.is_fifo()


def test_the_temporary_file_is_made_anew_under_a_name_that_cannot_be_guessed(tmp_path):
    names = []
    for _ in range(2):
        with files.atomic_write(tmp_path / ("n" * 250)) as temporary:
            assert temporary.parent == tmp_path and temporary.lstat().st_size == 0
            names.append(temporary.name)
    assert names[0] != names[1] and all(len(name) < 100 for name in names)
    assert (tmp_path / ("n" * 250)).stat().st_mode & 0o777 == 0o666 & ~umask()


def umask() -> int:
    """Return the permissions that new files of this process lack."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_text_that_is_not_unicode_is_written_with_escapes(tmp_path):
    files.write_text(tmp_path / "a", "é \ud800 " + os.fsdecode(b"\xff"))
    assert (tmp_path / "a").read_text("utf-8") == "é \\ud800 \\udcff"


def test_an_error_in_the_body_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "weights"
    path.write_text("old")
    with pytest.raises(RuntimeError), files.atomic_write(path) as temporary:
        temporary.write_text("half of the n")
        raise RuntimeError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_what_a_killed_writer_left_is_removed_and_nothing_else(tmp_path):
    (tmp_path / "notes.part").touch()
    program = """
import os, sys
from pathlib import Path
from cnn_archs.runtime.files import atomic_write
with atomic_write(Path(sys.argv[1])) as temporary:
    temporary.touch()
    os.kill(os.getpid(), 9)
"""
    with start(program, tmp_path / "shard") as process:
        assert process.wait(60) == -9
    assert len(list(tmp_path.iterdir())) == 2
    files.remove_unfinished(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.part"]
