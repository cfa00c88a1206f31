"""All tests share these: the devices that they see, real data where there is some, real runs."""

import atexit
import gc
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Before jax is imported.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# What this process and those that it starts compile, each program once. Not shared with the other
# worker: a file of the cache is written in place, and would be read half written.
os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="cnn_archs_compiled_")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import jax
import pytest
from hypothesis import HealthCheck, settings

from cnn_archs import cli
from cnn_archs.runtime.compiler_options import supported_flags

# Before jax has its first device. Tests compile much and run little: quick to compile, slower code,
# in one thread, since there are other tests for the other core. (The fusion emitters take as long
# as all else together; they cannot be turned off from jaxlib 0.11.2 on.)
if "XLA_FLAGS" not in os.environ:
    flags = (
        *("--xla_backend_optimization_level=0", "--xla_llvm_disable_expensive_passes=true"),
        *("--xla_cpu_use_fusion_emitters=false", "--xla_cpu_parallel_codegen_split_count=1"),
    )
    os.environ["XLA_FLAGS"] = " ".join(supported_flags(flags))
atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
jax.config.update("jax_numpy_rank_promotion", "raise")
# A trace makes many objects and no rubbish: collecting it is a sixth of the time of one.
gc.set_threshold(50_000, 20, 100)

# Properties: the same few examples each time; `make test-slow` tries many, new ones each time.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
settings.register_profile("few", patient, max_examples=20, derandomize=True)
settings.register_profile("many", patient, max_examples=500, print_blob=True)
settings.load_profile("few")

ROOT = Path(__file__).resolve().parent.parent


def as_a_user() -> dict[str, str]:
    """The environment of a process without torch, which takes seconds to import."""
    folders = [str(ROOT / "tests" / "without"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, folders))}


@pytest.fixture(scope="session")
def simulated() -> Callable[[int], dict[str, str]]:
    """The environment of a process with so many devices, which may be slow to meet."""
    patient = supported_flags(["--xla_cpu_collective_call_terminate_timeout_seconds=600"])

    def environment(devices: int) -> dict[str, str]:
        count = f"--xla_force_host_platform_device_count={devices}"
        flags = " ".join([os.environ["XLA_FLAGS"], count, *patient])
        return {**as_a_user(), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}

    return environment


@pytest.fixture(scope="session")
def mnist() -> Path:
    """The folder of tfds datasets, with MNIST in it."""
    folder = os.environ.get("TFDS_DATA_DIR")
    if not folder or not (Path(folder) / "mnist").is_dir():
        pytest.skip("no MNIST: set TFDS_DATA_DIR to a folder of prepared tfds datasets")
    return Path(folder)


@pytest.fixture
def error_of(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """error_of(code, *words): runs a command that ends with `code` -> its one line on stderr."""

    def run(code: int, *words: str) -> str:
        capsys.readouterr()
        assert cli.main(words) == code
        out, err = capsys.readouterr()
        assert err.startswith("error: ") and err.endswith("\n") and err.count("\n") == 1, err
        assert out == ""
        return err.removeprefix("error: ").rstrip("\n")

    return run


@pytest.fixture
def document_of(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """document_of(*words): runs a command with --format=json -> the document on its stdout."""

    def run(*words: str) -> Any:
        capsys.readouterr()
        assert cli.main([*words, "--format=json"]) == 0
        return json.loads(capsys.readouterr().out)

    return run


@pytest.fixture(scope="module")
def launch() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """launch(*arguments, **environment): `launch.py` in a process of its own, its output piped."""
    started = []

    def start(*arguments: object, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "launch.py"), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**as_a_user(), **environment},
        )
        started.append(process)
        return process

    yield start
    for process in started:  # none outlives its tests
        process.kill()
        process.communicate()
