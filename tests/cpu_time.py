"""Compare the speed of two forms of a computation on a CPU."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax

from cnn_archs.runtime.compiler_options import supported_options

OPTIONS = {  # of the compiler, as for a run: the tests' own are quick to compile
    "xla_backend_optimization_level": 3,
    "xla_llvm_disable_expensive_passes": False,
    "xla_cpu_use_fusion_emitters": True,
}


def median_seconds(times: int, argument: Any, *functions: Callable[[Any], Any]) -> list[float]:
    """Return the median CPU seconds of each function of `argument`, of `times` calls in turn.

    On a busy machine a single call may be charged far too little or too much, so a minimum lies.
    """
    runs = [
        jax.jit(function, compiler_options=supported_options(OPTIONS)) for function in functions
    ]
    for run in runs:
        jax.block_until_ready(run(argument))
    seconds: list[list[float]] = [[] for _ in runs]
    for _ in range(times):
        for i, run in enumerate(runs):
            start = time.process_time()
            jax.block_until_ready(run(argument))
            seconds[i].append(time.process_time() - start)
    return [statistics.median(each) for each in seconds]
