"""A training process on a CPU keeps freed memory, and only there."""

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cnn_archs.runtime import allocation

ROOT = Path(__file__).resolve().parents[2]
BIG = 64 << 20  # bytes; more than glibc ever keeps by itself
PAGES = BIG // 4096
# Minor page faults of a block that is taken, filled and freed, before and after keep_memory().
FAULTS = f"""
import ctypes, resource
from cnn_archs.runtime import allocation

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = libc.malloc({BIG})
    ctypes.memset(block, 1, {BIG})
    libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
usual = faults()
allocation.keep_memory()
faults()
print(usual, faults())
"""


@pytest.fixture
def machine(monkeypatch):
    """Return machine(platforms, plugins, libtpu), which sets JAX_PLATFORMS and the plugins."""

    def set_up(platforms, plugins=(), libtpu=None):
        monkeypatch.setenv("JAX_PLATFORMS", platforms)
        monkeypatch.setattr(
            importlib.metadata, "entry_points", lambda group: {"jax_plugins": plugins}[group]
        )
        monkeypatch.setattr(importlib.util, "find_spec", {"libtpu": libtpu}.get)

    return set_up


@pytest.mark.parametrize(
    "platforms, plugins, libtpu, possible",
    [
        ("", (), None, False),
        ("", ("xla_cuda13",), None, True),
        ("", (), "a module", True),
        ("cpu", ("xla_cuda13",), "a module", False),
        ("cuda", (), None, True),
        ("cuda,cpu", (), None, True),
    ],
)
def test_an_accelerator_is_possible_where_one_is_asked_for_or_installed(
    machine, platforms, plugins, libtpu, possible
):
    machine(platforms, plugins, libtpu)
    assert allocation.accelerator_possible() is possible


def faults(**environment):
    """Return the page faults (before, after keep_memory()), measured in a subprocess."""
    done = subprocess.run(
        [sys.executable, "-c", FAULTS],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return tuple(map(int, done.stdout.split()))


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_a_block_that_is_taken_again_is_not_mapped_again():
    usual, kept = faults(JAX_PLATFORMS="cpu")
    if usual < PAGES // 2:
        pytest.skip("pages are larger here, or this is not glibc")
    assert kept < PAGES // 100


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_where_there_may_be_an_accelerator_nothing_changes():
    usual, kept = faults(JAX_PLATFORMS="cuda,cpu")
    assert abs(usual - kept) < PAGES // 10
