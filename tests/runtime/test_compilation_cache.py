"""The cache of compiled programs: its folder, how it is disabled, what a second start saves."""

import os
import re
from pathlib import Path

import jax
import numpy as np
import pytest

import cnn_archs
from cnn_archs.runtime import compilation_cache
from cnn_archs.training import cpu_step


@pytest.fixture
def environment(monkeypatch):
    """Remove the settings of the cache from os.environ, and restore them afterwards."""
    before = dict(os.environ)
    for name in [n for n in os.environ if n.startswith(("JAX_", "XDG_"))]:
        monkeypatch.delenv(name)
    yield os.environ
    for name in os.environ.keys() - before.keys():
        del os.environ[name]


def test_programs_are_kept_in_the_users_folder(environment, tmp_path):
    environment["XDG_CACHE_HOME"] = str(tmp_path)
    compilation_cache.enable_cache()
    there = Path(environment["JAX_COMPILATION_CACHE_DIR"])
    assert there.is_dir() and there.parent == tmp_path / "cnn_archs" / "compiled"
    assert there.stat().st_mode & 0o077 == 0  # what is in there is run
    assert int(environment["JAX_COMPILATION_CACHE_MAX_SIZE"]) == 5 * 2**30
    assert "JAX_ENABLE_COMPILATION_CACHE" not in environment


def test_the_folder_is_in_home_and_of_this_kind_of_processor(environment, tmp_path, monkeypatch):
    environment["XDG_CACHE_HOME"] = "relative"  # which the standard has us overlook
    monkeypatch.setenv("HOME", str(tmp_path))
    here = compilation_cache.cache_folder()
    assert here.parent == tmp_path / ".cache" / "cnn_archs" / "compiled" and not here.exists()
    monkeypatch.setattr(compilation_cache, "processor_features", lambda: "another")
    assert (
        compilation_cache.cache_folder().parent == here.parent
        and compilation_cache.cache_folder() != here
    )


def test_what_the_user_says_of_the_folder_holds(environment, tmp_path):
    environment["JAX_COMPILATION_CACHE_DIR"] = str(tmp_path / "mine")
    before = dict(environment)
    compilation_cache.enable_cache()
    assert environment == before
    environment["JAX_COMPILATION_CACHE_DIR"] = ""
    compilation_cache.enable_cache()
    assert environment["JAX_ENABLE_COMPILATION_CACHE"] == "false"


def test_without_a_folder_to_write_in_there_is_no_cache_and_no_failure(environment, tmp_path):
    (tmp_path / "file").touch()
    environment["XDG_CACHE_HOME"] = str(tmp_path / "file")
    compilation_cache.enable_cache()
    assert environment["JAX_COMPILATION_CACHE_DIR"] == ""
    assert environment["JAX_ENABLE_COMPILATION_CACHE"] == "false"


@pytest.mark.parametrize("level", ["", "cnn_archs", "cnn_archs/compiled"])
def test_a_folder_that_others_can_write_is_not_used(level, environment, tmp_path, capsys):
    """They could put programs there, which jax would run."""
    environment["XDG_CACHE_HOME"] = str(tmp_path)
    folder = tmp_path / level if level else compilation_cache.cache_folder()
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    compilation_cache.enable_cache()
    assert environment["JAX_COMPILATION_CACHE_DIR"] == ""
    assert f"{folder} is not yours alone" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_not_used_and_one_s_own_is_closed(environment, tmp_path):
    environment["XDG_CACHE_HOME"] = str(tmp_path)
    folder = compilation_cache.cache_folder()
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    assert compilation_cache.prepare_folder(folder).stat().st_mode & 0o777 == 0o700
    os.chown(folder.parent, 1, 1)
    compilation_cache.enable_cache()
    assert environment["JAX_COMPILATION_CACHE_DIR"] == ""


def test_what_a_killed_process_has_half_written_goes(tmp_path):
    whole, half = ("jit_a-1", "jit_b-2")
    for name in (f"{whole}-cache", f"{whole}-atime", f"{half}-cache"):
        (tmp_path / name).write_bytes(b"12345678")
    compilation_cache.prepare_folder(tmp_path)
    names = {p.name for p in tmp_path.iterdir()} - {".lockfile"}
    assert names == {f"{whole}-cache", f"{whole}-atime"}


STEP, PROBE = "jit_step_for_cpu", "jit_over_three_axes"  # the second asks for oneDNN
RESIDUAL = (
    *("train", "--config=lenet5_digits", "--config.model.name=resnet20"),
    *("--config.model.width=0.25", "--config.model.blocks=(1,)"),
    *("--config.model.widths=(16,)", "--config.data.batch_size=60"),
)


@pytest.mark.slow
def test_only_programs_with_onednn_are_compiled_again_by_a_second_start(launch, tmp_path):
    """A second start compiles only the probe and, with oneDNN, the step: neither is written."""
    folder = tmp_path / "cache"
    own = dict(JAX_COMPILATION_CACHE_DIR=str(folder), JAX_DEBUG_LOG_MODULES="jax._src.compiler")

    def train(name):
        """Train three steps and return {"HIT" or "MISS": sorted names of programs}."""
        where = f"--workdir={tmp_path / name}"
        process = launch(*RESIDUAL, "--config.steps=3", where, **own)
        _, said = process.communicate()
        assert process.returncode == 0, said
        found = re.findall(r"(?i)persistent compilation cache (hit|miss) for '(\w+)'", said)
        return {kind: sorted(n for k, n in found if k.upper() == kind) for kind in ("HIT", "MISS")}

    first, second = train("first"), train("second")
    kept = {path.name.rsplit("-", 2)[0] for path in folder.glob("*-cache")}
    assert first["MISS"].count(STEP) == 1 and len(kept) > 5
    again = [PROBE, STEP] if cpu_step.has_onednn() else [PROBE]
    assert second["MISS"] == again and not kept & {*again}
    assert kept == {*first["MISS"]} - {*again} == {*second["HIT"]}


TRAIN = ("train", "--config=lenet5_digits", "--config.data.batch_size=100")


def bits(workdir):
    return [np.asarray(x).tobytes() for x in jax.tree.leaves(cnn_archs.load(workdir).variables)]


@pytest.mark.slow
def test_programs_that_are_read_compute_the_same_bits(launch, tmp_path, environment):
    """A run that goes on with programs of the cache, against one that compiled all of them; and a
    program of which only half was written is compiled and kept again."""
    own = dict(XDG_CACHE_HOME=str(tmp_path / "home"))

    def train(name, steps, **environment):
        where = f"--workdir={tmp_path / name}"
        process = launch(*TRAIN, f"--config.steps={steps}", where, **{**own, **environment})
        _, said = process.communicate()
        assert process.returncode == 0, said
        assert "compilation cache entry" not in said  # jax's warnings of what it cannot read
        return bits(tmp_path / name)

    def programs():
        found = tmp_path.glob("home/cnn_archs/compiled/*/*-cache")
        return {path: path.stat().st_mtime_ns for path in found}

    train("parts", 2)
    kept = programs()
    assert len(kept) >= 3
    step = max(kept, key=lambda path: path.stat().st_size)
    step.write_bytes(step.read_bytes()[:1000])
    step.with_name(step.name.removesuffix("-cache") + "-atime").unlink()
    train("other", 2)
    assert step.stat().st_size > 1000
    kept = programs()
    again = train("parts", 4)
    assert {path: time for path, time in programs().items() if path in kept} == kept
    assert again == train("whole", 4, JAX_COMPILATION_CACHE_DIR="")
