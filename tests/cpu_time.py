"""How tests compare the speed of two forms of a computation on a CPU."""

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


def least(times: int, argument: Any, *functions: Callable[[Any], Any]) -> list[float]:
    """Return the least CPU seconds of each function of `argument`, of `times` calls in turn."""
    runs = [
        jax.jit(function, compiler_options=supported_options(OPTIONS)) for function in functions
    ]
    for run in runs:
        jax.block_until_ready(run(argument))
    best = [float("inf")] * len(runs)
    for _ in range(times):
        for i, run in enumerate(runs):
            start = time.process_time()
            jax.block_until_ready(run(argument))
            best[i] = min(best[i], time.process_time() - start)
    return best
