"""What all tests share: the devices that they see, real data where there is some, real runs."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

# Before jax is imported. Tests compile much and run little: quick to compile, slower code.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault(
    "XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
)

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")

ROOT = Path(__file__).resolve().parent.parent


# The files that take longest. They are begun first, since the last to end decides how long two
# processes take.
LONGEST = ("test_readme", "test_resume", "test_experiments", "test_photographs", "test_parity")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files in the order of LONGEST, then as they are."""
    places = {name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


@pytest.fixture(scope="session")
def simulated() -> Callable[[int], dict[str, str]]:
    """The environment of a process with so many devices, which may be slow to meet."""
    patient = "--xla_cpu_collective_call_terminate_timeout_seconds=600"

    def environment(devices: int) -> dict[str, str]:
        count = f"--xla_force_host_platform_device_count={devices}"
        flags = f"{os.environ['XLA_FLAGS']} {count} {patient}"
        return {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}

    return environment


@pytest.fixture(scope="session")
def mnist() -> Path:
    """The folder of tfds datasets, with MNIST in it."""
    folder = os.environ.get("TFDS_DATA_DIR")
    if not folder or not (Path(folder) / "mnist").is_dir():
        pytest.skip("no MNIST: set TFDS_DATA_DIR to a folder of prepared tfds datasets")
    return Path(folder)


@pytest.fixture(scope="session")
def shared_compilation(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment variables with which processes share what they compile."""
    return {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("compilation_cache")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


@pytest.fixture(scope="module")
def launch(shared_compilation: dict[str, str]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """launch(*arguments, **environment): `launch.py` in a process of its own, its output piped."""
    started = []

    def start(*arguments: object, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "launch.py"), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **shared_compilation, **environment},
        )
        started.append(process)
        return process

    yield start
    for process in started:  # none outlives its tests
        process.kill()
        process.communicate()
