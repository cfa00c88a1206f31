"""How this process asks the system for memory, while it trains on a CPU."""

import ctypes
import importlib.metadata
import importlib.util
import os
import sys

# Options of mallopt, from malloc.h: how free memory is given back, how many pieces of it are asked
# of the system one by one, and how many arenas there are.
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8


def keep_memory() -> None:
    """Have glibc keep the memory that a training step on a CPU frees, for the next step.

    XLA takes the temporaries of a step (205 MB for ResNet-20 at batch 128) in one piece, which
    glibc maps and unmaps each time, and which Linux zeroes 4 KiB at a time: a fifth of the time of
    a step. In return the process stays as large as it was at most. To be called before jax starts
    its backend. It does nothing where there may be an accelerator, and nothing without glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt and not accelerator_possible():
        for option, value in ((M_ARENA_MAX, 1), (M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1)):
            mallopt(option, value)


def accelerator_possible() -> bool:
    """Return whether jax may find an accelerator, without starting a backend."""
    platforms = os.environ.get("JAX_PLATFORMS", "")
    if platforms:
        return platforms != "cpu"
    plugins = importlib.metadata.entry_points(group="jax_plugins")
    return bool(plugins) or importlib.util.find_spec("libtpu") is not None
