"""Describe what a run was made with: versions, devices, commit and command line."""

import importlib.metadata
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax

PACKAGES = ("cnn-archs", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def describe_environment(command: Sequence[str] = ()) -> dict[str, Any]:
    """Return the content of environment.json: strings, numbers, and lists or dicts of them.

    command: what the user called; by default the command line of this process.
    """
    return {
        "command": list(command) or sys.argv,
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
    """Return the `made` of a result: what `published` returns, with the config or configs.

    An ensemble has several configs. made: `imported`, what `import` wrote of a file of weights that
    the run begins with, and `recipe`, see `roles.recipe_record`, may be added to it.
    """
    imported = made.get("imported")
    origin = {"imported": imported} if isinstance(imported, dict) else {}  # once it was a path
    recipe = {"recipe": made["recipe"]} if "recipe" in made else {}
    with_config = {"config": configs[0]} if len(configs) == 1 else {"configs": list(configs)}
    return {**published(made), **recipe, **origin, **with_config}


def published(made: dict[str, Any]) -> dict[str, Any]:
    """Return the part of an environment that may be published, without host names and paths.

    made: from `describe_environment`.
    """
    machine = ("backend", "processes", "devices", "processor", "cpus")
    kept = ("python", "packages", *machine, "git_commit")
    program, *arguments = made["command"]
    without = [
        argument
        for before, argument in pairwise(["", *arguments])
        if not argument.startswith("--workdir") and before != "--workdir"
    ]
    command = [Path(program).name, *without]
    return {"command": command, **{key: made[key] for key in kept}}


def processor_name() -> str:
    """Return the model name of the processor on Linux, its architecture elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def package_version(package: str) -> str:
    """Return the installed version of `package`, or "not installed"."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def git_commit() -> str:
    """Return the git commit of this code, with `+` if files have changed; "" outside of git."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""
    git = ["git", "-C", str(root)]
    # Inside a hook of git these variables lead to the repository of the hook.
    outside = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        head = subprocess.run(
            [*git, "rev-parse", "HEAD"],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=10,
            env=outside,
        )
        dirty = subprocess.run(
            [*git, "status", "--porcelain", "-uno"], capture_output=True, timeout=10, env=outside
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "")
