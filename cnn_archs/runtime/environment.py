"""What a run was made with: versions, devices, commit, command line."""

import importlib.metadata
import os
import platform
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

PACKAGES = ("cnn-archs", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def describe_environment() -> dict[str, Any]:
    """For environment.json: only strings, numbers and lists of them."""
    return {
        "command": sys.argv,
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: package_version(name) for name in PACKAGES},
        "backend": jax.default_backend(),
        "processes": jax.process_count(),
        "devices": [d.device_kind for d in jax.devices()],
        "processor": processor_name(),
        "cpus": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "git_commit": git_commit(),
    }


def provenance(made: dict[str, Any], *configs: dict[str, Any]) -> dict[str, Any]:
    """What a result says of how it was made: out of an `environment`, with the config or configs.

    No name of a machine and no place on it.
    """
    machine = ("backend", "processes", "devices", "processor", "cpus")
    kept = ("python", "packages", *machine, "git_commit")
    program, *arguments = made["command"]
    command = [Path(program).name, *(a for a in arguments if not a.startswith("--workdir"))]
    with_config = {"config": configs[0]} if len(configs) == 1 else {"configs": list(configs)}
    return {"command": command, **{key: made[key] for key in kept}, **with_config}


def processor_name() -> str:
    """The name of the processor's model as Linux has it; elsewhere its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def package_version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def git_commit() -> str:
    """The commit that this code was checked out at, `+` if it has changes; "" outside of git."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""
    git = ["git", "-C", str(root)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10
        )
        dirty = subprocess.run(
            [*git, "status", "--porcelain", "-uno"], capture_output=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "")
