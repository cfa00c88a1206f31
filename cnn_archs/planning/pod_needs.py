"""Derive from a plan the CPUs and the memory that a pod of a training needs."""

import json
import math
import os
import subprocess
from collections.abc import Mapping
from functools import cache
from typing import Any

from cnn_archs.errors import ConfigError
from cnn_archs.launch.kubernetes import PodNeeds
from cnn_archs.runtime.own_process import process_command

# ASSUMPTIONS, in bytes: a process with jax, CUDA's libraries and a compilation; the memory that
# NCCL shares per GPU; the batches of a streamed dataset that are read ahead.
PROCESS, SHARED_BY_GPU = 4_000_000_000, 1_000_000_000
BATCHES_AHEAD = 8


@cache
def plan_in_own_process(config: str, overrides: tuple[str, ...], flags: tuple[str, ...]) -> Any:
    """Return the document of `cnn-archs plan` for an experiment, from a process of its own.

    There jax has no devices but simulated ones. flags: further flags of `plan`. Raises ConfigError
    with the message of `plan` if it fails.
    """
    words = ["plan", f"--config={config}", *(f"--config.{o}" for o in overrides), *flags]
    done = subprocess.run(
        process_command("cnn_archs.cli:main", *words, "--format=json"),
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it was ended"]
        raise ConfigError(lines[-1].removeprefix("error: "))
    return json.loads(done.stdout)


def pod_needs(plan: Mapping[str, Any], pods: int, gpus: int, processes: int) -> PodNeeds:
    """Return what each of `pods` pods needs, with `gpus` GPUs and `processes` such trainings.

    plan: the document of `plan` for one training on all pods. A process has a core for itself and
    those that decode its images as fast as the devices train; it holds a resident dataset twice
    while it is read, the state twice while it is saved, and on a CPU also what a device holds.
    """
    decoding, parts = plan["input"], plan["memory"]["parts"]
    cpus = 1
    if decoding:
        cpus += math.ceil(decoding["wanted"] / decoding["images_per_second_a_core"] / pods)
    state = parts["parameters"] + parts["optimizer"] + parts["statistics"]
    ahead = BATCHES_AHEAD * plan["reading"]["bytes_sent_a_step"] // pods
    memory = PROCESS + 2 * (parts["dataset"] + state) + ahead
    if plan["kind"] == "cpu":
        memory += max(plan["memory"]["training"], plan["memory"]["evaluation"])
    return PodNeeds(processes * cpus, processes * memory + gpus * SHARED_BY_GPU)
