"""Downloads from a server on this machine: resumed, checked, or one line that says what to do."""

import hashlib
import os
import re
import resource
import shlex
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import originals
import pytest

from cnn_archs import cli
from cnn_archs.data.datasets import sources
from cnn_archs.data.prepare import download, published
from cnn_archs.data.prepare.download import RemoteFile

LABELS = "t10k-labels-idx1-ubyte.gz"
IMAGES = "train-images-idx3-ubyte.gz"


class Server(ThreadingHTTPServer):
    """Serves `files`. The other fields say how it misbehaves."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        files = originals.idx_files("mnist")
        self.files = {f"{name}.gz": originals.packed(files[name]) for name in files}
        self.lists = dict(self.files)  # what the list of addresses was made of
        self.asked: list[tuple[str, str | None]] = []  # (file, Range) of each request
        self.ranges = True  # whether it can begin in the middle
        self.status = 200
        self.cut = 0  # bytes of each answer after which the connection breaks; 0 for none
        self.signal = 0  # sent to this process in the middle of IMAGES

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/data"

    def remote_files(self, builder: object) -> list[RemoteFile]:
        return [
            RemoteFile(f"{self.base}/{name}", len(content), hashlib.sha256(content).hexdigest())
            for name, content in self.lists.items()
        ]


class Answers(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        server, name = self.server, self.path.rpartition("/")[2]
        wanted = self.headers["Range"]
        server.asked.append((name, wanted))
        content = server.files[name]
        start = int(wanted[6:-1]) if wanted and server.ranges else 0
        if server.status != 200 or start >= len(content):
            self.send_error(416 if server.status == 200 else server.status)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = start + server.cut if server.cut else len(content)
        half = (start + len(content)) // 2
        if server.signal and name == IMAGES:
            self.wfile.write(content[start:half])
            self.wfile.flush()
            os.kill(os.getpid(), server.signal)
            server.signal = 0
            self.connection.settimeout(60)
            self.rfile.read(1)  # ends when the other side closes the connection
            return
        self.wfile.write(content[start:end])


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setattr(published, "remote_files", server.remote_files)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def prepare(where: Path, *more: str) -> int:
    return cli.main(["prepare", "mnist", f"--data_dir={where}", *more])


def is_prepared(where: Path) -> bool:
    """Return whether the dataset is there, with the images of `originals`."""
    test = sources.load_split("mnist", "test", str(where))
    images = originals.arrays_of("mnist")["test"].images
    return sorted(map(bytes, test.images)) == sorted(map(bytes, images))


def refused(capsys, where: Path, code: int = 3) -> str:
    """Return the last line that `prepare` prints, which is its only error."""
    capsys.readouterr()
    assert prepare(where) == code
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    assert not (where / "mnist" / "3.0.1").exists()
    return lines[-1]


def test_a_dataset_is_downloaded_once(server, tmp_path, capsys):
    assert prepare(tmp_path) == 0 and is_prepared(tmp_path)
    assert [name for name, _ in server.asked] == list(server.files)
    said = capsys.readouterr().err
    assert f"MB) from {server.base}/\n" in said and said.startswith("mnist: downloading train-")
    folder = tmp_path / "downloads" / "mnist"
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == server.files
    (tmp_path / "mnist" / "3.0.1").rename(tmp_path / "gone")
    (folder / LABELS).write_bytes(b"damaged since")
    assert prepare(tmp_path) == 0 and is_prepared(tmp_path)
    assert [name for name, _ in server.asked[4:]] == [LABELS]


def test_a_connection_that_breaks_is_made_again(server, tmp_path):
    server.cut = 7000
    assert prepare(tmp_path) == 0 and is_prepared(tmp_path)
    of_images = [wanted for name, wanted in server.asked if name == IMAGES]
    size = len(server.files[IMAGES])
    assert of_images == [None, *(f"bytes={k}-" for k in range(7000, size, 7000))]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("ranges", [True, False])
def test_a_signal_keeps_what_has_been_downloaded(number, ranges, server, tmp_path, capsys):
    server.signal = number
    assert "run the same command again" in refused(capsys, tmp_path, code=75)
    part = tmp_path / "downloads" / "mnist" / f"{IMAGES}.part"
    there = part.stat().st_size
    assert 0 < there < len(server.files[IMAGES])
    server.asked.clear()
    server.ranges = ranges
    assert prepare(tmp_path) == 0 and is_prepared(tmp_path)
    assert server.asked[0] == (IMAGES, f"bytes={there}-")
    assert not list(part.parent.glob("*.part"))


def test_what_an_earlier_start_left_is_checked(server, tmp_path):
    folder = tmp_path / "downloads" / "mnist"
    folder.mkdir(parents=True)
    whole = server.files[IMAGES]
    (folder / f"{IMAGES}.part").write_bytes(b"damaged" + whole[7:5000])
    (folder / f"{LABELS}.part").write_bytes(server.files[LABELS] + b"too long")
    assert prepare(tmp_path) == 0 and is_prepared(tmp_path)
    asked = [(name, wanted) for name, wanted in server.asked if name in (IMAGES, LABELS)]
    assert asked == [(IMAGES, "bytes=5000-"), (IMAGES, None), (LABELS, None)]


def test_without_network_the_line_says_what_to_bring_and_what_to_run(server, tmp_path, capsys):
    where = tmp_path / "of mine"
    server.status = 503
    assert "HTTP status 503 Service Unavailable; run the same" in refused(capsys, where)
    closed = server.base
    server.shutdown()
    server.server_close()
    line = refused(capsys, where)
    folder = where / "downloads" / "mnist"
    assert line.startswith(f"error: cannot download {closed}/{IMAGES}: Connection refused; ")
    names = ", ".join(server.files)
    assert f"bring {names} from {closed}/ to {folder} and run: cnn-archs prepare mnist" in line
    for name, content in server.files.items():
        (folder / name).write_bytes(content)
    words = shlex.split(line.split("and run: ")[1])
    assert words[0] == "cnn-archs" and cli.main(words[1:]) == 0 and is_prepared(where)


@pytest.mark.parametrize(
    "served, says",
    [
        (b"<html>log in first</html>", "the server has 25 bytes, not "),
        ("one byte", "this is another file: its SHA-256 is "),
    ],
)
def test_another_file_is_never_taken_for_the_one(served, says, server, tmp_path, capsys):
    content = server.files[IMAGES]
    server.files[IMAGES] = content[:-1] + b"x" if served == "one byte" else served
    assert says in refused(capsys, tmp_path)
    assert not (tmp_path / "downloads" / "mnist" / IMAGES).exists()
    server.files[IMAGES] = content
    assert prepare(tmp_path) == 0 and is_prepared(tmp_path)


def test_a_server_that_falls_silent_is_waited_for_no_longer(server, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(download, "SECONDS", 0.2)
    monkeypatch.setattr(Answers, "do_GET", lambda self: threading.Event().wait(1.0))
    assert re.search(f"{IMAGES}: timed out; run the same", refused(capsys, tmp_path))


def test_a_full_disk_is_not_the_networks_fault(server, tmp_path, capsys):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, before[1]))
    try:
        line = refused(capsys, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "error: cannot write" in line and "File too large" in line
    assert prepare(tmp_path) == 0 and is_prepared(tmp_path)


def test_the_addresses_are_those_of_tfds():
    from cnn_archs.data.datasets import tfds_source

    found = {
        name: published.remote_files(tfds_source.open_builder(name, ""))
        for name in ("mnist", "fashion_mnist", "kmnist", "cifar10", "cifar100")
    }
    assert {name: len(files) for name, files in found.items()} == {
        **dict.fromkeys(("mnist", "fashion_mnist", "kmnist"), 4),
        **dict.fromkeys(("cifar10", "cifar100"), 1),
    }
    assert all(re.fullmatch("[0-9a-f]{64}", f.sha256) for files in found.values() for f in files)
    (cifar10,) = found["cifar10"]
    assert cifar10.name == "cifar-10-binary.tar.gz" and cifar10.size == 170_052_171
    assert np.sum([f.size for f in found["mnist"]]) == 11_594_722
