"""A checkpoint restores exactly what was saved, or fails; it never gives other numbers."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_archs import checkpoints as checkpoints_module
from cnn_archs.checkpoint_files import DIGESTS_FILE, held
from cnn_archs.checkpoints import Checkpoints, Restored
from cnn_archs.errors import ConfigError, DataError

# A restore that fails leaves orbax's event loop open.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

Tree = dict[str, Any]


def items(seed: int) -> Tree:
    """Return two items with large and small leaves of several dtypes, scalar and empty ones too."""
    rng = np.random.default_rng(seed)
    kernel = jnp.asarray(rng.normal(size=(40, 50)), jnp.float32)
    moment = jnp.asarray(rng.normal(size=(7, 3)), jnp.bfloat16)
    params = {"fc1": {"kernel": kernel, "bias": kernel[0]}, "fc2": {"kernel": kernel[:5]}}
    return {
        "variables": {"params": params, "batch_stats": {}},
        "training": {"step": jnp.int32(seed), "opt_state": ({"mu": moment}, kernel + 1)},
    }


def notes(seed: int) -> Tree:
    return {"seconds": 1234.5678 + seed, "settled": True}


def target(tree: Any) -> Any:
    """Return the shapes and dtypes of `tree`, on this device."""
    one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=one), tree)


TARGET = target(items(1))


def equal(a: Any, b: Any) -> bool:
    """Return whether two trees are equal bit for bit."""
    tree: Any = jax.tree.structure(a)
    same = [
        x.dtype == y.dtype and np.asarray(x).tobytes() == np.asarray(y).tobytes()
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    ]
    return tree == jax.tree.structure(b) and all(same)


def restored_from(checkpoints: Checkpoints, targets: Tree = TARGET) -> Restored:
    """Restore the latest step, which must be there."""
    restored = checkpoints.restore(targets)
    assert restored is not None
    return restored


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the steps 1 and 2."""
    folder = tmp_path_factory.mktemp("checkpoints")
    checkpoints = Checkpoints(folder)
    for seed in (1, 2):
        checkpoints.save(seed, items(seed), notes(seed))
    return folder


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Iterator[Callable[[], Path]]:
    """Return a function that makes one more copy of `saved`."""
    count = 0

    def make() -> Path:
        nonlocal count
        count += 1
        return shutil.copytree(saved, tmp_path / str(count))

    yield make


def files(folder: Path, step: int) -> list[Path]:
    """Return the files of `step`, relative to `folder`."""
    return sorted(p.relative_to(folder) for p in (folder / str(step)).rglob("*") if p.is_file())


def complaint(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Return how restoring `folder`, whose step 2 is damaged, goes wrong, or ""."""
    capsys.readouterr()
    try:
        restored = Checkpoints(folder).restore(TARGET)
    except Exception as e:
        return f"{type(e).__name__}: {e}"
    if restored is None:
        return "starts over"
    exact = equal(restored.items, items(restored.step)) and restored.notes == notes(restored.step)
    warned = "checkpoint 2 is damaged" in capsys.readouterr().err
    aside = (folder / "damaged-2").is_dir() and not (folder / "2").exists()
    if not exact:
        return f"step {restored.step} is not what was saved"
    if restored.step == 1 and not (warned and aside):
        return "step 1 is used without a word"
    return ""


def flip(path: Path, rng: random.Random) -> str:
    """Flip one bit of `path`, and return which."""
    content = bytearray(path.read_bytes())
    byte, bit = rng.randrange(len(content)), rng.randrange(8)
    content[byte] ^= 1 << bit
    path.write_bytes(content)
    return f"byte {byte} of {len(content)}, bit {bit}"


@pytest.mark.parametrize("first, count", [(0, 30), pytest.param(30, 200, marks=pytest.mark.slow)])
def test_a_flipped_bit_never_passes_in_silence(first, count, saved, copy, capsys):
    with_content = [f for f in files(saved, 2) if (saved / f).stat().st_size]
    assert len(with_content) > 10
    found = []
    for i in range(first, first + count):
        folder, file = copy(), with_content[i % len(with_content)]
        where = flip(folder / file, random.Random(i))
        if wrong := complaint(folder, capsys):
            found.append(f"{file}, {where}: {wrong}")
        shutil.rmtree(folder)
    assert not found


@pytest.mark.parametrize("first, count", [(0, 15), pytest.param(15, 200, marks=pytest.mark.slow)])
def test_nor_does_it_where_only_the_digests_of_the_leaves_are_left(
    first, count, saved, copy, capsys
):
    arrays = [f for f in files(saved, 2) if f.parts[1] != "notes" and f.parts[-2] == "d"]
    found = []
    for i in range(first, first + count):
        folder, file = copy(), arrays[i % len(arrays)]
        (folder / "2" / DIGESTS_FILE).unlink()
        where = flip(folder / file, random.Random(i))
        if wrong := complaint(folder, capsys):
            found.append(f"{file}, {where}: {wrong}")
        shutil.rmtree(folder)
    assert not found


def test_every_bit_of_the_notes_is_guarded(saved, copy, capsys):
    file = next(f for f in files(saved, 2) if f.parts[1:] == ("notes", "metadata"))
    content = (saved / file).read_bytes()
    words = [b'"seconds"', b"1236", b'"settled"', b"float32", b"[40, 50]", b"fc1", b"sha256"]
    found = []
    for word in words:
        folder, at = copy(), content.index(word) + len(word) // 2
        (folder / file).write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        if wrong := complaint(folder, capsys):
            found.append(f"{word!r}: {wrong}")
    assert not found


@pytest.mark.parametrize("every", [2, pytest.param(1, marks=pytest.mark.slow)])
def test_a_file_that_is_missing_cut_or_empty_is_noticed(every, saved, copy, capsys):
    cases = [(file, fault) for fault in ("missing", "empty", "cut") for file in files(saved, 2)]
    found = []
    for file, fault in cases[::every]:
        size = (saved / file).stat().st_size
        if size or fault == "missing":
            folder = copy()
            if fault == "missing":
                (folder / file).unlink()
            else:
                os.truncate(folder / file, 0 if fault == "empty" else size // 2)
            if wrong := complaint(folder, capsys):
                found.append(f"{file} {fault}: {wrong}")
            shutil.rmtree(folder)
    assert not found


@pytest.mark.parametrize("part", ["", "notes", "variables", "training", "variables/d"])
def test_a_folder_that_is_empty_is_noticed(part, copy, capsys):
    folder = copy()
    shutil.rmtree(folder / "2" / part)
    (folder / "2" / part).mkdir()
    assert complaint(folder, capsys) == ""


def spoil(folder: Path, step: int) -> None:
    """Cut each file of `step` in half."""
    for file in files(folder, step):
        os.truncate(folder / file, (folder / file).stat().st_size // 2)


def test_with_every_step_damaged_it_never_starts_over(copy, capsys):
    folder = copy()
    for step in (1, 2):
        spoil(folder, step)
    for _ in range(2):  # the second time, all steps have been set aside
        with pytest.raises(DataError, match="every checkpoint in .* is damaged") as e:
            Checkpoints(folder).restore(TARGET)
        assert e.value.code == 3 and str(folder) in str(e.value)
    assert "checkpoint 1 is damaged" in capsys.readouterr().err


def test_a_step_that_was_set_aside_is_saved_anew(copy, capsys):
    folder = copy()
    spoil(folder, 2)
    checkpoints = Checkpoints(folder)
    assert restored_from(checkpoints).step == 1
    checkpoints.save(2, items(2), notes(2))
    assert checkpoints.steps() == [1, 2]
    assert equal(restored_from(Checkpoints(folder)).items, items(2))


def test_reading_only_moves_nothing(copy, capsys):
    folder = copy()
    spoil(folder, 2)
    assert restored_from(Checkpoints(folder, read_only=True)).step == 1
    assert (folder / "2").is_dir() and not (folder / "damaged-2").exists()


def test_an_empty_folder_holds_nothing(tmp_path):
    assert Checkpoints(tmp_path / "none").restore(TARGET) is None


def test_some_of_the_items_can_be_restored(saved):
    restored = restored_from(Checkpoints(saved, read_only=True), {"variables": TARGET["variables"]})
    assert restored.step == 2 and equal(restored.items, {"variables": items(2)["variables"]})


def test_a_step_is_saved_once_and_the_last_two_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2, 3):
        checkpoints.save(step, items(step), notes(step))
    checkpoints.save(3, items(9), notes(9))
    assert checkpoints.steps() == [2, 3]
    assert equal(restored_from(checkpoints).items, items(3))


def with_leaf(path: str, value: Any) -> Tree:
    """Return the items of a step with the leaf at `path` (a/b/c) replaced, or removed for None."""
    tree = items(1)
    *parents, last = path.split("/")
    node = tree
    for key in parents:
        node = node[key]
    if value is None:
        del node[last]
    else:
        node[last] = value
    return target(tree)


KERNEL = "variables/params/fc1/kernel"
OTHERS = {
    "another shape": (KERNEL, jnp.zeros((40, 51)), "float32[40, 50]", "float32[40, 51]"),
    "another rank": (KERNEL, jnp.zeros((2000,)), "float32[40, 50]", "float32[2000]"),
    "another dtype": (KERNEL, jnp.zeros((40, 50), jnp.bfloat16), "float32[40, 50]", "bfloat16"),
    "a leaf more": ("variables/params/fc1/scale", jnp.zeros(3), "nothing", "float32[3]"),
    "a leaf less": ("variables/params/fc1/bias", None, "float32[50]", "nothing"),
    "a counter": ("training/step", jnp.uint32(0), "int32[]", "uint32[]"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_a_checkpoint_of_another_network_is_refused_by_leaf(case, saved):
    path, value, there, wanted = OTHERS[case]
    with pytest.raises(ConfigError) as e:
        Checkpoints(saved).restore(with_leaf(path, value))
    message, leaf = str(e.value), "".join(f"['{k}']" for k in path.split("/")[1:])
    assert path.split("/")[0] + leaf in message and str(saved / "2") in message
    assert f"saved as {there}" in message and f"needed as {wanted}" in message
    assert "\n" not in message and e.value.code == 2
    assert (saved / "2").is_dir()  # it is sound, so it is not set aside


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(checkpoints_module, "SECONDS_BETWEEN", 0.01)


def unreadable(path: Path) -> Path:
    """Make a file one that the system cannot open, even for root; return where it is now."""
    kept = path.rename(path.with_name(f"{path.name}.kept"))
    path.symlink_to(path.name)  # a circle of links
    return kept


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize("name", ["notes/metadata", "variables/d", DIGESTS_FILE])
def test_what_cannot_be_read_now_is_not_damaged(name, read_only, copy, quick, capsys):
    folder = copy()
    path = folder / "2" / name
    path = next(p for p in path.iterdir()) if path.is_dir() else path
    kept = unreadable(path)
    with pytest.raises(DataError) as e:
        Checkpoints(folder, read_only=read_only).restore(TARGET)
    said = f"cannot read the checkpoints in {folder}: Too many levels of symbolic links; "
    assert str(e.value) == said + "nothing was changed there" and capsys.readouterr().err == ""
    assert sorted(p.name for p in folder.iterdir()) == ["1", "2"]
    path.unlink()
    kept.rename(path)
    assert equal(restored_from(Checkpoints(folder, read_only=read_only)).items, items(2))


def test_what_can_be_read_again_soon_is_read(copy, capsys):
    folder = copy()
    path = folder / "2" / "notes" / "metadata"
    kept = unreadable(path)
    back = threading.Timer(0.5, lambda: kept.replace(path))
    back.start()
    assert equal(restored_from(Checkpoints(folder)).items, items(2))
    back.join()
    assert capsys.readouterr().err == ""


def test_a_training_that_saves_all_the_time_is_read_beside(tmp_path, capsys):
    tree = {f"w{i}": np.zeros(50_000, np.float32) for i in range(8)}
    Checkpoints(tmp_path, keep=1).save(0, {"variables": tree}, {"step": 0})
    with subprocess.Popen([sys.executable, "-c", SAVER, str(tmp_path)]) as process:
        deadline = time.monotonic() + 120
        seen: set[int] = set()
        while len(seen) < 6:
            reader = Checkpoints(tmp_path, read_only=True)
            restored = restored_from(reader, {"variables": target(tree)})
            for leaf in restored.items["variables"].values():
                assert (leaf == restored.step).all()
            seen.add(restored.step)
            assert process.poll() is None and time.monotonic() < deadline
        process.kill()
    assert capsys.readouterr().err == ""


def test_a_step_that_is_read_is_removed_later(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(1, items(1), notes(1))
    with held(tmp_path / "1"):
        checkpoints.save(2, items(2), notes(2))
        assert checkpoints.steps() == [1, 2]
    checkpoints.save(3, items(3), notes(3))
    assert checkpoints.steps() == [3]


SAVER = """
import sys
from pathlib import Path
import numpy as np
from cnn_archs.checkpoints import Checkpoints

checkpoints = Checkpoints(Path(sys.argv[1]), keep=1)
for step in range(checkpoints.steps()[-1] + 1, 10_000):
    tree = {f"w{i}": np.full(50_000, step, np.float32) for i in range(8)}
    checkpoints.save(step, {"variables": tree}, {"step": step})
"""


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_a_save_that_is_killed_leaves_the_step_before(kills, tmp_path):
    tree = {f"w{i}": np.zeros(50_000, np.float32) for i in range(8)}
    Checkpoints(tmp_path).save(0, {"variables": tree}, {"step": 0})
    before = 0
    for kill in range(kills):
        process = subprocess.Popen([sys.executable, "-c", SAVER, str(tmp_path)])
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob(f"{before + 1}.*tmp*")):  # wait until it has begun to save
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.001)
        time.sleep(random.Random(kill).uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.wait()
        checkpoints = Checkpoints(tmp_path)
        assert all(p.name.isdigit() for p in tmp_path.iterdir())  # nothing unfinished is left
        restored = restored_from(checkpoints, {"variables": target(tree)})
        assert restored.step == restored.notes["step"] >= before
        assert all((leaf == restored.step).all() for leaf in restored.items["variables"].values())
        before = restored.step


def test_what_a_killed_save_left_is_cleaned_away(copy):
    folder = copy()
    (folder / "2").rename(folder / "2.orbax-checkpoint-tmp-1234567890")
    (folder / "3.orbax-checkpoint-tmp").mkdir()
    assert restored_from(Checkpoints(folder)).step == 1
    assert [p.name for p in folder.iterdir()] == ["1"]


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """Make writes beyond `size` bytes of a file fail, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def save_where_there_is_no_room(folder: Path, size: int) -> None:
    """Print the error of a third save that may not write files of more than `size` bytes."""
    checkpoints = Checkpoints(folder)
    try:
        with no_file_larger_than(size):
            checkpoints.save(3, items(3), notes(3))
    except DataError as e:
        print(e)


def fill_the_disk(folder: Path, size: int) -> str:
    """Run `save_where_there_is_no_room` in a process of its own, and return what it prints.

    A run would end then, and with it the writes that orbax has begun. In this process, some would
    continue after the one that failed.
    """
    script = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        f"from pathlib import Path; import {Path(__file__).stem} as tests\n"
        f"tests.save_where_there_is_no_room(Path({str(folder)!r}), {size})"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""  # nothing of asyncio's either
    return done.stdout


@pytest.mark.parametrize("size", [0, 100, 4000])
def test_a_full_disk_leaves_the_older_steps_alone(size, copy):
    folder = copy()
    said = fill_the_disk(folder, size)
    assert said.startswith("cannot save step 3 in") and str(folder) in said
    assert said.count("\n") == 1
    assert equal(restored_from(Checkpoints(folder)).items, items(2))
    assert sorted(p.name for p in folder.iterdir()) == ["1", "2"]


def test_after_the_disk_was_full_a_run_can_save_again(copy):
    folder = copy()
    assert fill_the_disk(folder, 100)
    checkpoints = Checkpoints(folder)
    checkpoints.save(3, items(3), notes(3))
    assert json.loads((folder / "3" / "notes" / "metadata").read_text())["seconds"] > 0
    assert equal(restored_from(Checkpoints(folder)).items, items(3))
