"""What this machine computes on, found out without touching it here."""

import dataclasses
import json
import os
import subprocess
import sys

from cnn_archs.errors import DataError

PROBE_PROGRAM = """
import json, jax
print(json.dumps({"backend": jax.default_backend(), "devices": jax.local_device_count(),
    "device": f"{jax.local_device_count()} x {jax.devices()[0].device_kind}"}))
"""


@dataclasses.dataclass(frozen=True)
class Machine:
    """What this machine trains on. backend: cpu, gpu, tpu; devices, as jax counts them; device:
    as a result says it."""

    backend: str
    devices: int
    device: str

    def gpu_names(self) -> list[str]:
        """Their names, for CUDA_VISIBLE_DEVICES."""
        shown = os.environ.get("CUDA_VISIBLE_DEVICES")
        return shown.split(",") if shown else [str(i) for i in range(self.devices)]


def probe() -> Machine:
    """This machine, asked by a process of its own, which gives the devices back."""
    asked = subprocess.run([sys.executable, "-c", PROBE_PROGRAM], capture_output=True, text=True)
    if asked.returncode:
        said = asked.stderr.strip().splitlines() or [f"exit code {asked.returncode}"]
        raise DataError(f"jax finds no device: {said[-1]}")
    return Machine(**json.loads(asked.stdout.splitlines()[-1]))
