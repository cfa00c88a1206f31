"""Compare what `plan` expects with what then happens, on this machine's CPU.

python benchmarks/plan.py [--experiments=lenet5_digits,shapes] [--steps=100] [--batches=16,64]
    [--format=json] [--write]
Goal: ratio 0.5 to 2, memory_ratio 0.7 to 1.1. Linux only.

Time: experiments whose data is embedded are begun, and once their step is compiled, `steps` of it
are timed, ten at a time; the fastest ten count, since other processes only ever slow them down.
ratio: expected / measured seconds of the first experiment, by the best of what `plan` knows.
Memory: in a process of its own a ResNet-18 is trained at 64x64; after a first step, and once what
is free went back to the system, how far does its resident memory rise in the next one? Beside it
the gradients, activations and temporaries of XLA's analysis. memory_ratio: expected / measured for
the larger batch.
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

AT_ONCE = 10  # steps


def expected_and_measured(experiment: str, steps: int) -> dict[str, Any]:
    """Seconds of `steps` steps, by each of the sources that `plan` has, and as trained."""
    from cnn_archs import config as configs
    from cnn_archs.claims import verdicts
    from cnn_archs.experiment import resolve
    from cnn_archs.planning import devices, plan
    from cnn_archs.run_dir import list_results
    from cnn_archs.training.build import Member, build_trainer

    resolved = resolve(configs.load_config(experiment, ["seeds=1", f"steps={steps + 1}"]))
    planned = plan.make_plan(
        resolved, devices.find_device("cpu"), 1, list_results(verdicts.RESULTS)
    )
    run = build_trainer(Member(resolved))
    run.run_steps()  # compiles
    tens = []
    for _ in range(steps // AT_ONCE):
        start = time.perf_counter()
        for _ in range(AT_ONCE):
            run.run_steps()
        tens.append(time.perf_counter() - start)
    share = steps / (steps + 1)
    expected = {e["source"]: share * e["seconds"][0] for e in planned["time"]["expected"]}
    return {"steps": steps, "measured": min(tens) * steps / AT_ONCE, "expected": expected}


def resident(what: str) -> int:
    """Bytes of this process: VmRSS now, or VmHWM, the most since that was reset."""
    status = Path("/proc/self/status").read_text()
    found = re.search(rf"{what}:\s+(\d+) kB", status)
    assert found
    return int(found[1]) * 1024


def train_and_watch(pipe: Any, batch: int) -> None:
    """Sends the rise of the resident memory during steps, and what the analysis says of it."""
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
    state = jax.block_until_ready(compiled(state, key, images, labels))  # starts its threads
    ctypes.CDLL(None).malloc_trim(0)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the most so far is what there is now
    jax.block_until_ready(compiled(state, key, images, labels))
    pipe.send({"measured": resident("VmHWM") - before, **of_one._asdict()})


def memory(batch: int) -> dict[str, Any]:
    """`train_and_watch`, in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=train_and_watch, args=(theirs, batch))
    process.start()
    theirs.close()
    found = ours.recv()
    process.join()
    return found | {"batch": batch, "expected": found["gradients"] + found["activations"]}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure the memory of a step, and then the seconds of each experiment."""
    # Memory first: a process is as large as its parent was.
    held = [memory(int(batch)) for batch in options.batches.split(",")]
    runs = {
        name: expected_and_measured(name, options.steps) for name in options.experiments.split(",")
    }
    first = next(iter(runs.values()))
    return {
        "ratio": next(iter(first["expected"].values())) / first["measured"],
        "memory_ratio": held[-1]["expected"] / held[-1]["measured"],
        "runs": runs,
        "memory": held,
    }


def table(result: dict[str, Any]) -> common.Rows:
    """Return the rows of the table: each measurement with what was expected of it."""
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
    parser.add_argument("--steps", type=int, default=100, help="that are timed")
    parser.add_argument("--experiments", default="lenet5_digits,shapes", help="that are timed")
    parser.add_argument("--batches", default="16,64", help="images in a step that is weighed")


if __name__ == "__main__":
    common.main(__doc__, declare, measure, table)
