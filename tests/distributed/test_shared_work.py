"""Two processes evaluate and predict as one does, and end together."""

import json
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import odd_photographs
import psutil
import pytest
import shared_work
from PIL import Image

from cnn_archs import cli

NIN = (  # convolutions only: any size of image will do
    *(
        "--config.model.name=nin_cifar10",
        "--config.model.width=0.03",
        "--config.data.image_shape=(16,16,3)",
    ),
    *("--config.crop.name=shorter_side", "--config.crop.smallest=18", "--config.crop.largest=18"),
    *("--config.crop.evaluate=18", "--config.data.mean=pixel", "--config.data.batch_size=8"),
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return {name: folder} of tiny runs, and of the photographs that two are trained on."""
    folder = odd_photographs.draw(tmp_path_factory.mktemp("photographs"), val=11)
    found = {"photographs": folder}
    photos = ("--config.data.name=image_folder", f"--config.data.data_dir={folder}", *NIN)
    kinds = {
        "nin": photos,
        "averaged": (*photos, "--config.seed=1", "--config.average.name=ema"),
        "digits": ("--config.model.name=mlp", "--config.model.hidden=(4,)", "--config.seeds=2"),
        "normalized": (
            *("--config.model.name=resnet20", "--config.model.blocks=(1,)"),
            "--config.model.widths=(4,)",
        ),
    }
    for name, flags in kinds.items():
        found[name] = tmp_path_factory.mktemp(name)
        words = ("train", f"--workdir={found[name]}", "--config.steps=3", *flags)
        assert cli.main(words) == 0
    for spoiled in (found["nin"], found["averaged"]):  # each process computes its share of the mean
        (spoiled / "statistics.npz").unlink()
    return found


def in_processes(count, work, simulated, devices=1):
    """Return what each of the processes finds."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{free.getsockname()[1]}"
    orders = [
        json.dumps({"coordinator": place, "count": count, "index": i, "work": work})
        for i in range(count)
    ]
    started = [
        subprocess.Popen(
            [sys.executable, shared_work.__file__, order],
            env=simulated(devices),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for order in orders
    ]
    ends = [process.communicate(timeout=600) for process in started]
    assert all(process.returncode == 0 for process in started), [err[-2_000:] for _, err in ends]
    return [json.loads(out) for out, _ in ends]


def check_close(found, alone):
    """Assert that two trees of JSON are equal, and numbers up to 1e-6."""
    if isinstance(alone, dict):
        assert list(found) == list(alone)
        for key in alone:
            check_close(found[key], alone[key])
    elif isinstance(alone, list):
        assert len(found) == len(alone)
        for one, other in zip(found, alone, strict=True):
            check_close(one, other)
    elif isinstance(alone, float):
        np.testing.assert_allclose(found, alone, rtol=1e-6, atol=1e-6)
    else:
        assert found == alone


@pytest.mark.slow
def test_two_processes_find_what_one_finds(runs, simulated, tmp_path):
    """One process has 6 of 11 photographs; the second has none if there is a single file."""
    photographs = sorted(map(str, (runs["photographs"] / "val").rglob("*.jpg")))
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    files = [*photographs[:5], f"{tmp_path}/broken.jpg", *photographs[5:]]
    nin, averaged, digits = (str(runs[name]) for name in ("nin", "averaged", "digits"))
    work = [
        *(["evaluate", [nin], protocol, "test"] for protocol in ("single", "ten_crop")),
        *(["evaluate", [averaged], protocol, "test"] for protocol in ("dense", "multi_scale")),
        ["evaluate", [nin, averaged], "dense+grid_150", "test"],
        ["evaluate", [digits], "single", "test"],
        ["evaluate", [digits], "mirror", "train"],
        ["evaluate", [str(runs["normalized"])], "single", "test", 700],
        ["warped", digits],
        ["classes", nin, files],
        ["classes", digits, files[:1]],
    ]
    both = in_processes(2, work, simulated)
    alone = shared_work.measure(work)
    assert alone[0]["test"]["examples"] == 11 and list(alone[9][1]) == [f"{tmp_path}/broken.jpg"]
    for found in both:
        check_close(found, alone)
    for found in in_processes(2, work[1:4], simulated, devices=2):
        check_close(found, alone[1:4])


@pytest.mark.slow
def test_the_commands_print_once_and_the_same(runs, launch, tmp_path, capsys):
    """The output of process 0 is that of one process, in text and JSON."""
    photographs = sorted((runs["photographs"] / "val").rglob("*.jpg"))[:3]
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    image = tmp_path / "digit.png"
    Image.fromarray(np.eye(32, dtype=np.uint8) * 200).save(image)
    for code, *words in (
        (0, "evaluate", f"--workdir={runs['nin']}", "--protocol=mirror"),
        (3, "predict", f"--workdir={runs['nin']}", *photographs, tmp_path / "broken.jpg"),
        (0, "predict", f"--workdir={runs['digits']}", image, "--format=csv"),
        (0, "predict", "--weights=mlp_mnist", image, "--format=csv"),
    ):
        process = launch(*words, "--processes=2")
        out, err = process.communicate(timeout=300)
        assert process.returncode == code, err
        capsys.readouterr()
        assert cli.main([*map(str, words)]) == code
        alone, said = capsys.readouterr()
        assert out == alone
        assert [line for line in err.splitlines() if "Gloo" not in line] == said.splitlines()


def started(launch, *words):
    """Start two processes, and return them and their parent once both have connected."""
    process = launch(*words, "--processes=2")
    deadline = time.monotonic() + 240
    while True:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        children = psutil.Process(process.pid).children()
        if len(children) == 2 and all(is_at_work(child) for child in children):
            return process, children
        time.sleep(0.05)


def is_at_work(process):
    """Return whether a process has loaded the checkpoints' library, after it has connected."""
    return any("tensorstore" in m.path for m in process.memory_maps()) and any(
        c.status == "ESTABLISHED" for c in process.net_connections()
    )


LONG = ("--protocol=dense+grid_150", "--split=train")


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_one_that_dies_takes_the_other_with_it(killed, runs, launch):
    process, children = started(launch, "evaluate", f"--workdir={runs['nin']}", *LONG)
    children[killed].kill()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1 and out == ""
    assert f"error: process {killed} was ended by signal 9" in err and "Traceback" not in err
    assert not psutil.wait_procs(children, timeout=10)[1]


@pytest.mark.slow
@pytest.mark.parametrize("asked", ["parent", "second"])
def test_a_signal_to_any_ends_all_at_once(asked, runs, launch):
    process, children = started(launch, "evaluate", f"--workdir={runs['nin']}", *LONG)
    begin = time.monotonic()
    (process if asked == "parent" else children[1]).send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 75 and out == "", err[-2_000:]
    assert time.monotonic() - begin < 20 and "Traceback" not in err
    assert not psutil.wait_procs(children, timeout=10)[1]


@pytest.mark.slow
def test_an_image_that_one_process_cannot_read_is_its_error(runs, launch, tmp_path):
    """The second of the images, which process 1 reads, is damaged."""
    folder = odd_photographs.draw(tmp_path / "photographs", val=11)
    second = sorted((folder / "val").rglob("*.jpg"))[1]
    second.write_bytes(second.read_bytes()[:300])
    words = ("evaluate", f"--workdir={runs['nin']}", f"--data_dir={folder}", "--protocol=mirror")
    process = launch(*words, "--processes=2")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 3 and out == ""
    (line,) = [line for line in err.splitlines() if str(second) in line and "error" in line]
    assert line.startswith("error: ") and "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("evaluate", "--workdir=none"), "there is no run in none"),
        (("evaluate", "--weights=none"), "there are no weights 'none'"),
        (("predict", "--workdir=none", "none.jpg"), "there is no file none.jpg"),
        (("evaluate", "--workdir=none", "--process_id=1"), "--processes starts all of them here"),
    ],
)
def test_a_mistake_is_found_before_any_process_starts(words, message, error_of):
    assert message in error_of(2, *words, "--processes=2")
