"""Kinds of devices, as their makers print them: what a plan is made for."""

import os
import re
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from cnn_archs.errors import ConfigError, closest_word


class Kind(NamedTuple):
    """One device. Peaks: dense FLOP/s; memory: bytes; bandwidths: bytes a second.

    bfloat16, default, high, highest: peaks for networks in bfloat16, and in float32 at each
    matmul_precision. usable: the part of the memory that jax takes unless it is told otherwise.
    link: one way, to the other devices of a `fabric`, which is how many are joined by such links;
    network: one way, a device's share of what leaves the fabric. host: devices of one. called: how
    jax calls it, a regular expression.
    """

    name: str
    bfloat16: float
    default: float
    high: float
    highest: float
    memory: float
    usable: float
    bandwidth: float
    link: float
    network: float
    fabric: int
    host: int
    called: str

    def peak(self, dtype: str, matmul_precision: str) -> float:
        """FLOP/s for a network that computes in `dtype`."""
        return getattr(self, "bfloat16" if dtype == "bfloat16" else matmul_precision)


# float32 is TF32 on a GPU that has it, unless the highest precision is asked for; on a TPU it is
# one, three or six passes of bfloat16. A V100 has neither bfloat16 nor TF32. NVIDIA prints the
# peaks of H100, H200 and L4 with sparsity, which is twice this, and NVLink as the sum of both ways;
# Google likewise the links of TPUs: here they are halved.
# Sources: NVIDIA's data sheets of V100 SXM2, A100 SXM 80 GB, H100 SXM, H200 SXM and L4; Google's
# pages on the architecture of TPU v4, v5e, v5p, v6e; links of v4: Jouppi et al. 2023, six of
# 50 GB/s. Network: NVIDIA's DGX machines (4 x 100, 8 x 200, 8 x 400 Gbit/s for eight GPUs), a
# cloud's machine with eight L4 (100 Gbit/s), a chip's share of what a pod has: 25 Gbit/s of v5e, 50
# of v5p, 100 of v6e; those of v4 are a guess. Hosts of TPUs: the virtual machines that slices have.
# fmt: off
TABLE: dict[str, tuple[Any, ...]] = {
    #                  TFLOP/s          GB   part     GB/s            devices
    #       bf16  default   high highest memory used  memory link network fabric host
    "v100": ( 15.7,  15.7,  15.7,  15.7,  32, 0.75,   900, 150,  6.25,    8, 8, r"V100-SXM2-32GB"),
    "a100": (312.0, 156.0, 156.0,  19.5,  80, 0.75,  2039, 300, 25.00,    8, 8, r"A100-SXM4-80GB"),
    "h100": (989.4, 494.7, 494.7,  66.9,  80, 0.75,  3350, 450, 50.00,    8, 8, r"H100 80GB HBM3"),
    "h200": (989.4, 494.7, 494.7,  66.9, 141, 0.75,  4800, 450, 50.00,    8, 8, r"H200"),
    "l4":   (121.0,  60.5,  60.5,  30.3,  24, 0.75,   300,  32,  1.56,    8, 8, r"L4"),
    "v4":   (275.0, 275.0,  91.7,  45.8,  32, 1.00,  1200, 300,  3.12, 4096, 4, r"TPU v4"),
    "v5e":  (197.0, 197.0,  65.7,  32.8,  16, 1.00,   819, 200,  3.12,  256, 4, r"TPU v5( lite|e)"),
    "v5p":  (459.0, 459.0, 153.0,  76.5,  95, 1.00,  2765, 600,  6.25, 8960, 4, r"TPU v5p?"),
    "v6e":  (918.0, 918.0, 306.0, 153.0,  32, 1.00,  1638, 400, 12.50,  256, 4, r"TPU v6( lite|e)"),
}
# fmt: on

# Of the peaks, what convolutional networks reach: an ASSUMPTION. The two are set so that ResNet-50
# in float32 comes out as NVIDIA printed it for MXNet, 90 epochs of ImageNet in 29.4 hours on an
# A100 (1,090 images/s, held up by memory) and in 84.5 on a V100 (379 images/s, by arithmetic).
OF_PEAK, OF_BANDWIDTH = 0.6, 0.8


def find(name: str) -> Kind:
    """The kind `name`; `cpu` is this machine, measured now. ConfigError for an unknown one."""
    if name == "cpu":
        return this_machine()
    if name not in TABLE:
        near = closest_word(name, [*TABLE, "cpu"])
        hint = f"; did you mean {near}?" if near else ""
        raise ConfigError(f"--kind={name}: not one of cpu, {', '.join(TABLE)}{hint}")
    *peaks, memory, usable, bandwidth, link, network, fabric, host, called = TABLE[name]
    flops = [1e12 * peak for peak in peaks]
    speeds = [1e9 * speed for speed in (bandwidth, link, network)]
    return Kind._make([name, *flops, 1e9 * memory, usable, *speeds, fabric, host, called])


def is_of(device_kind: str, kind: Kind) -> bool:
    """Is a device that jax calls `device_kind` of this kind?"""
    return bool(re.search(rf"\b(?:{kind.called})$", device_kind))


def this_machine() -> Kind:
    """All cores as one device: products of matrices and copies, timed for half a second.

    Several are taken for so many machines with 10 Gbit/s between them.
    """
    a, large = np.ones((768, 768), np.float32), np.ones(8_000_000, np.float32)
    flops = 2 * 768**3 / fastest(lambda: a @ a)
    bandwidth = 2 * large.nbytes / fastest(large.copy)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    rest = (memory, 1.0, bandwidth, 1.25e9, 1.25e9, 1, 1, "cpu")
    return Kind._make(["cpu", *(flops,) * 4, *rest])


def fastest(run: Callable[[], object]) -> float:
    """Seconds of the fastest of its runs in a quarter of a second."""
    found: list[float] = []
    until = time.perf_counter() + 0.25
    while time.perf_counter() < until or not found:
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return min(found)
