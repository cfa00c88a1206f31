"""Find the devices of this machine from a subprocess, so that this process does not hold them."""

import dataclasses
import json
import os
import subprocess

from cnn_archs.runtime.devices import no_device_error
from cnn_archs.runtime.own_process import process_command

PROBE_SECONDS = 300  # for jax to find the devices


@dataclasses.dataclass(frozen=True)
class Machine:
    """The devices of this machine.

    backend: cpu, gpu or tpu. devices: their number, as jax counts them. device: a description of
    them, as results have it, such as "8 x NVIDIA H200".
    """

    backend: str
    devices: int
    device: str

    def gpu_names(self) -> list[str]:
        """Return the names of the GPUs, as CUDA_VISIBLE_DEVICES takes them."""
        shown = os.environ.get("CUDA_VISIBLE_DEVICES")
        return shown.split(",") if shown else [str(i) for i in range(self.devices)]


def probe() -> Machine:
    """Find the devices of this machine in a subprocess. Raises ConfigError if jax finds none."""
    command = process_command("cnn_archs.launch.device_probe:print_machine")
    try:
        probed = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=PROBE_SECONDS
        )
    except subprocess.TimeoutExpired as e:
        raise no_device_error(f"it has not answered for {PROBE_SECONDS} s") from e
    if probed.returncode:
        lines = probed.stderr.strip().splitlines() or [f"exit code {probed.returncode}"]
        raise no_device_error(lines[-1])
    return Machine(**json.loads(probed.stdout.splitlines()[-1]))


def print_machine() -> None:
    """Print the fields of Machine as JSON. Runs in the subprocess that `probe` starts."""
    import jax

    count = jax.local_device_count()
    device = f"{count} x {jax.devices()[0].device_kind}"
    found = Machine(backend=jax.default_backend(), devices=count, device=device)
    print(json.dumps(dataclasses.asdict(found)))
