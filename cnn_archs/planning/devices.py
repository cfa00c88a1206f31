"""The devices that a plan can be made for, as their makers specify them."""

import os
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from cnn_archs.data.loading.threads import cores
from cnn_archs.errors import ConfigError, closest_word


class DeviceSpec(NamedTuple):
    """One kind of device: peaks in dense FLOP/s, memory in bytes, bandwidths in bytes per second.

    bfloat16, default, high, highest: peaks for networks in bfloat16, and in float32 at each
    matmul_precision. usable: the fraction of the memory that jax takes by default. link: one-way
    bandwidth to the other devices of a fabric. fabric: the number of devices joined by such links.
    network: one-way bandwidth of a device's share of the network between fabrics. host: devices per
    host. called: a regular expression for jax's name of the device.
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

    @property
    def platform(self) -> str:
        """jax's name of the platform: cpu, gpu or tpu."""
        if self.name == "cpu":
            return "cpu"
        return "tpu" if self.called.startswith("TPU") else "gpu"

    def peak(self, dtype: str, matmul_precision: str) -> float:
        """Return the peak FLOP/s for a network that computes in `dtype`."""
        return getattr(self, "bfloat16" if dtype == "bfloat16" else matmul_precision)


# float32 is computed as TF32 on GPUs that have it, except at the highest precision; on TPUs in one,
# three or six passes of bfloat16. A V100 has neither bfloat16 nor TF32. NVIDIA prints the peaks of
# H100, H200 and L4 with sparsity, and NVLink as the sum of both directions; Google prints the links
# of TPUs as that sum too: these numbers are halved here.
# Sources: NVIDIA's data sheets of V100 SXM2, A100 SXM 80 GB, H100 SXM, H200 SXM and L4; Google's
# pages on the architecture of TPU v4, v5e, v5p and v6e; for the links of v4, six of 50 GB/s, Jouppi
# et al. 2023. Network: NVIDIA's DGX machines (4 x 100, 8 x 200 and 8 x 400 Gbit/s for eight GPUs),
# a cloud machine with eight L4 (100 Gbit/s), a chip's share of a pod's network (v5e 25, v5p 50,
# v6e 100 Gbit/s); v4 is a guess. TPU hosts are the virtual machines of a slice.
# fmt: off
DEVICES: dict[str, tuple[Any, ...]] = {
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

# The part of the peaks that convolutional networks reach: an ASSUMPTION. Both are set so that the
# roofline gives what NVIDIA printed for ResNet-50 in float32 with MXNet: 90 epochs of ImageNet in
# 29.4 hours on an A100 (1,090 images/s, limited by memory) and in 84.5 on a V100 (379 images/s,
# limited by arithmetic).
OF_PEAK, OF_BANDWIDTH = 0.6, 0.8


def find_device(name: str) -> DeviceSpec:
    """Return the device `name`, in lower or upper case; `cpu` is this machine, measured now.

    Raises ConfigError for an unknown name.
    """
    name = name.lower()
    if name == "cpu":
        return this_machine()
    if name not in DEVICES:
        near = closest_word(name, [*DEVICES, "cpu"])
        hint = f"; did you mean {near}?" if near else ""
        raise ConfigError(f"--kind={name}: not one of cpu, {', '.join(DEVICES)}{hint}")
    *peaks, memory, usable, bandwidth, link, network, fabric, host, called = DEVICES[name]
    flops = [1e12 * peak for peak in peaks]
    speeds = [1e9 * speed for speed in (bandwidth, link, network)]
    return DeviceSpec._make([name, *flops, 1e9 * memory, usable, *speeds, fabric, host, called])


def is_called(device_kind: str, kind: DeviceSpec) -> bool:
    """Return whether jax's name `device_kind` belongs to this kind of device."""
    return bool(re.search(rf"\b(?:{kind.called})$", device_kind))


def this_machine() -> DeviceSpec:
    """Describe all cores as one device, by timing matrix products and copies for half a second.

    Several such devices are assumed to be machines with 10 Gbit/s between them.
    """
    a, large = np.ones((768, 768), np.float32), np.ones(8_000_000, np.float32)
    flops = 2 * 768**3 / fastest_seconds(lambda: a @ a)
    # Between arrays that exist: in a new one the system would spend most of the time on its pages.
    parts = [np.array_split(array, cores()) for array in (np.ones_like(large), large)]
    with ThreadPoolExecutor(cores()) as threads:
        copies = 2 * large.nbytes / fastest_seconds(lambda: list(threads.map(np.copyto, *parts)))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    rest = (memory, 1.0, copies, 1.25e9, 1.25e9, 1, 1, "cpu")
    return DeviceSpec._make(["cpu", *(flops,) * 4, *rest])


def fastest_seconds(run: Callable[[], object]) -> float:
    """Call `run` for a quarter of a second and return the seconds of its fastest call."""
    found: list[float] = []
    until = time.perf_counter() + 0.25
    while time.perf_counter() < until or not found:
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return min(found)
