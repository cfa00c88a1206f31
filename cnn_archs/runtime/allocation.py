"""Control how this process takes memory from the system while it trains on a CPU."""

import ctypes
import importlib.metadata
import importlib.util
import mmap
import os
import sys
from functools import cache

from cnn_archs.arithmetic import ceil_div

# Options of mallopt, from malloc.h: the free memory at which it is returned to the system, the
# number of blocks that are mapped one by one, and the number of arenas.
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8
RESERVED_BYTES = 4 * 2**30  # bytes of addresses for which huge pages are requested
HUGE_PAGE_BYTES = 2 * 2**20


@cache
def keep_memory() -> None:
    """Make glibc keep the memory that a training step on a CPU frees, and use huge pages for it.

    XLA allocates the temporaries of a step (205 MB for ResNet-20 at batch 128) in one block, which
    glibc maps and unmaps in every step and which Linux zeroes 4 KiB at a time; that is a fifth of
    the time of a step. Huge pages, where the system offers them, save another tenth. In return the
    process keeps its peak size. Call this before jax starts its backend. It does nothing on a
    second call, without glibc, or if there may be an accelerator.
    """
    if sys.platform != "linux" or accelerator_possible():
        return
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        return
    for option, value in ((M_ARENA_MAX, 1), (M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1)):
        libc.mallopt(option, value)
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    size = min(RESERVED_BYTES, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4)
    # Only the address space of the heap grows here; memory is taken when addresses are used.
    begin = libc.malloc(size)
    if begin:
        first = ceil_div(begin, HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES
        libc.madvise(first, begin + size - first, mmap.MADV_HUGEPAGE)
        libc.free(begin)


def accelerator_possible() -> bool:
    """Return whether jax may find an accelerator, without starting a backend."""
    platforms = os.environ.get("JAX_PLATFORMS", "")
    if platforms:
        return platforms != "cpu"
    plugins = importlib.metadata.entry_points(group="jax_plugins")
    return bool(plugins) or importlib.util.find_spec("libtpu") is not None
