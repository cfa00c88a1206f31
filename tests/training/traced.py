"""Script: prints the traces in the folder of a run as JSON. It imports only jax.

Reading a trace aborts a process that has imported torch built for CUDA (jaxlib 0.12).
"""

import json
import sys
from pathlib import Path

import jax


def read(file):
    """Return {"steps": {number: [start, end]}, "ran": [[name of what XLA ran, start]]}, in ns."""
    steps, ran = {}, []
    for plane in jax.profiler.ProfileData.from_file(str(file)).planes:
        for line in plane.lines:
            for event in line.events:
                if event.name == "train":
                    start = event.start_ns
                    steps[dict(event.stats)["step_num"]] = (start, start + event.duration_ns)
                elif "XLA" in line.name:
                    ran.append((event.name, event.start_ns))
    return {"steps": steps, "ran": ran}


if __name__ == "__main__":
    files = sorted(Path(sys.argv[1]).glob("profile/plugins/profile/*/*.xplane.pb"))
    print(json.dumps([read(file) for file in files]))
