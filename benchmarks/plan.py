"""Compare the estimates of `plan` with measurements, on the CPU of this machine.

python benchmarks/plan.py [--experiments=lenet5_digits,shapes] [--steps=100] [--batches=16,64]
    [--format=json] [--write]
Goal: `ratio` is 0.5 to 2 and `memory_ratio` 0.7 to 1.1. Linux only.

Time: `steps` steps of experiments that need no download are timed, ten at a time, after a step that
compiles. The fastest ten count, because other processes can only slow them down. `ratio` is the
expected / measured seconds of the first experiment, by the best source that `plan` has.

Memory: a ResNet-18 is trained at 64x64 in a process of its own. After a first step, free memory is
returned to the system, and the rise of the resident memory in the next step is measured. The table
compares it with the gradients, activations and temporaries of XLA's analysis. `memory_ratio` is
expected / measured for the larger batch.
"""

import argparse
import ctypes
import multiprocessing
import re
import time
from functools import partial
from pathlib import Path
from typing import Any

import common

STEPS_PER_TURN = 10


def expected_and_measured(experiment: str, steps: int) -> dict[str, Any]:
    """Return the seconds of `steps` steps: estimated from each source of `plan`, and measured."""
    from cnn_archs import config as configs
    from cnn_archs.claims import verdicts
    from cnn_archs.experiment import resolve
    from cnn_archs.planning import devices, plan
    from cnn_archs.result_files import list_results
    from cnn_archs.training.build import Member, build_trainer

    resolved = resolve(configs.load_config(experiment, ["seeds=1", f"steps={steps + 1}"]))
    planned = plan.make_plan(
        resolved, devices.find_device("cpu"), 1, list_results(verdicts.RESULTS)
    )
    run = build_trainer(Member(resolved))
    run.run_steps()  # compiles
    turns = []
    for _ in range(steps // STEPS_PER_TURN):
        start = time.perf_counter()
        for _ in range(STEPS_PER_TURN):
            run.run_steps()
        turns.append(time.perf_counter() - start)
    share = steps / (steps + 1)
    expected = {e["source"]: share * e["seconds"][0] for e in planned["time"]["expected"]}
    return {"steps": steps, "measured": min(turns) * steps / STEPS_PER_TURN, "expected": expected}


def resident_bytes(field: str) -> int:
    """Return the resident bytes of this process: VmRSS now, or VmHWM, the peak since its reset."""
    status = Path("/proc/self/status").read_text("utf-8")
    found = re.search(rf"{field}:\s+(\d+) kB", status)
    assert found
    return int(found[1]) * 1024


def send_step_memory(pipe: Any, batch: int) -> None:
    """Send the rise of the resident memory in a step, and XLA's analysis, through `pipe`."""
    import jax
    import numpy as np

    from cnn_archs import config as configs
    from cnn_archs.experiment import resolve
    from cnn_archs.planning import xla_memory
    from cnn_archs.training.placement import place_model

    keys = ["data.image_shape=(64,64,3)", f"data.batch_size={batch}", "data.mean=none"]
    config = configs.load_config("resnet_imagenet:18", [*keys, "model.bn_group=0"])
    experiment = resolve(config)
    on, made = place_model(experiment), experiment.recipe.make_rules(1.0)
    of_one = xla_memory.training_bytes(experiment, on, made, batch)
    jitted, (_, _, images, labels) = xla_memory.jitted_step(experiment, on, made, batch)
    key = jax.random.key(0)
    state = jax.jit(partial(xla_memory.initial_state, on.net, made))(key)
    images, labels = (np.zeros(x.shape, x.dtype) for x in (images, labels))
    compiled = jitted.lower(state, key, images, labels).compile()
    state = jax.block_until_ready(compiled(state, key, images, labels))  # starts the threads of XLA
    ctypes.CDLL(None).malloc_trim(0)
    before = resident_bytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM to VmRSS
    jax.block_until_ready(compiled(state, key, images, labels))
    pipe.send({"measured": resident_bytes("VmHWM") - before, **of_one._asdict()})


def measure_memory(batch: int) -> dict[str, Any]:
    """Run `send_step_memory` in a process of its own and return what it sent."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=send_step_memory, args=(theirs, batch))
    process.start()
    theirs.close()
    found = ours.recv()
    process.join()
    return found | {"batch": batch, "expected": found["gradients"] + found["activations"]}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure the memory of a step, and then the seconds of each experiment."""
    # Memory first, because a new process is as large as its parent.
    memory = [measure_memory(int(batch)) for batch in options.batches.split(",")]
    runs = {
        name: expected_and_measured(name, options.steps) for name in options.experiments.split(",")
    }
    first = next(iter(runs.values()))
    return {
        "ratio": next(iter(first["expected"].values())) / first["measured"],
        "memory_ratio": memory[-1]["expected"] / memory[-1]["measured"],
        "runs": runs,
        "memory": memory,
    }


def table(result: dict[str, Any]) -> common.Rows:
    """Return the rows: each measurement with its estimate."""
    rows: list[tuple[str, ...]] = [("what", "measured", "expected", "by")]
    for name, run in result["runs"].items():
        label, took = f"{name}, seconds of {run['steps']} steps", f"{run['measured']:.2f}"
        rows += [(label, took, f"{s:.2f}", source) for source, s in run["expected"].items()]
    for m in result["memory"]:
        label = f"resnet18 at 64x64, {m['batch']} images, MB in a step"
        megabytes = (f"{m[key] / 1e6:.0f}" for key in ("measured", "expected"))
        rows.append((label, *megabytes, "XLA's analysis"))
    return rows


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", type=int, default=100, help="timed steps (default: 100)")
    parser.add_argument("--experiments", default="lenet5_digits,shapes", help="NAME,..., timed")
    parser.add_argument("--batches", default="16,64", help="batch sizes whose memory is measured")


if __name__ == "__main__":
    common.main(__doc__, declare, measure, table)
