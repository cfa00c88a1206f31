"""Our side of `device.py`: time the loop of an experiment on random images, or trace it.

`python device_jax.py SETTINGS` prints a JSON object, `device_cases.Measured`, in its last line.
SETTINGS is a JSON object with experiment, overrides, image (H, W, C), classes, examples, seconds
(timed) and traced (steps to trace after that, or 0). The steps are those of `Trainer.run_steps`, as
`cnn-archs train` calls it.
"""

import glob
import json
import sys
import tempfile
import time
from collections import defaultdict
from typing import Any

import jax
from our_step import assemble_run, random_images

from cnn_archs.models.summary import summarize, totals
from cnn_archs.runtime import compilation_cache
from cnn_archs.runtime.environment import package_version
from cnn_archs.training.trainer import Trainer

WARM_CALLS = 5  # calls before the timed ones: of one step and of many, each compiled and run
KERNELS = 20  # kernels of a trace that are told, those that take longest


def describe_process() -> dict[str, Any]:
    """Return the device of this process, the most memory that it used there, and the versions."""
    device = jax.local_devices()[0]
    memory = device.memory_stats() or {}
    names = ("jax", "jaxlib", "flax", "optax")
    return {
        "peak_bytes": memory.get("peak_bytes_in_use"),
        "device": device.device_kind,
        "versions": {name: package_version(name) for name in names},
    }


def time_steps(run: Trainer, seconds: float) -> float:
    """Train for at least `seconds` and return the steps per second."""
    first, started = run.step, time.monotonic()
    while time.monotonic() < started + seconds:
        run.run_steps()
    elapsed = time.monotonic() - started
    run.check_finite()
    return (run.step - first) / elapsed


def trace_steps(run: Trainer, steps: int) -> dict[str, Any]:
    """Trace `steps` steps, whose calls must begin at a multiple of `steps`, and summarize them."""
    while run.step % steps:
        run.run_steps()
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0
    with tempfile.TemporaryDirectory() as folder:
        jax.profiler.start_trace(folder, profiler_options=options)
        started = time.monotonic()
        end = run.step + steps
        while run.step < end:
            run.run_steps()
        elapsed = time.monotonic() - started
        jax.profiler.stop_trace()
        (file,) = glob.glob(f"{folder}/**/*.xplane.pb", recursive=True)
        found = summarize_trace(jax.profiler.ProfileData.from_file(file), steps)
    return {"steps": steps, "seconds": elapsed, **found}


def summarize_trace(data: Any, steps: int) -> dict[str, Any]:
    """Summarize jax.profiler.ProfileData: launches per step, busy seconds, the longest kernels.

    On a GPU the events of its streams are counted, elsewhere those of all lines.
    """
    planes = [p for p in data.planes if p.name.startswith("/device:")]
    planes = planes or [p for p in data.planes if p.name.startswith("/host:CPU")]
    lines = [line for plane in planes for line in plane.lines]
    lines = [line for line in lines if line.name.startswith("Stream")] or lines
    found: defaultdict[str, list[float]] = defaultdict(list)  # name of a kernel -> its seconds
    for line in lines:
        for event in line.events:
            found[event.name].append(event.duration_ns / 1e9)
    longest = sorted(found, key=lambda name: -sum(found[name]))[:KERNELS]
    return {
        "launches_per_step": sum(map(len, found.values())) / steps,
        "busy_seconds": sum(map(sum, found.values())),
        "kernels": [
            {"name": name[:120], "count": len(found[name]), "seconds": sum(found[name])}
            for name in longest
        ],
    }


def main() -> None:
    settings = json.loads(sys.argv[1])
    began = time.monotonic()
    image: Any = tuple(settings["image"])
    split = random_images(image, settings["classes"], settings["examples"])
    run = assemble_run(settings["experiment"], settings["overrides"], split)
    for _ in range(WARM_CALLS):
        run.run_steps()
    start_seconds = time.monotonic() - began
    speed = time_steps(run, settings["seconds"])
    macs = totals(summarize(run.net.model, run.net.image_shape, train=True))["macs"]
    found = {
        "images_per_second": speed * run.batch_size * len(run.seeds),
        "steps_per_second": speed,
        "start_seconds": start_seconds,
        "params": sum(leaf.size for leaf in jax.tree.leaves(run.seed_variables()[0]["params"])),
        "flops_per_image": 6 * macs,  # two per multiply-add, in each of three passes
        **describe_process(),
    }
    if settings["traced"]:
        found["trace"] = trace_steps(run, settings["traced"])
    print(json.dumps(found))


if __name__ == "__main__":
    compilation_cache.enable_cache()  # before jax is used, as in cli.main
    main()
