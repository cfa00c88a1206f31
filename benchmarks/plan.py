"""What `plan` expects beside what then happens, on this machine's CPU.

python benchmarks/plan.py [--format=json] [--steps=100]
Expected: ratio 0.5 to 2, memory_ratio 0.7 to 1.1. Linux only.

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
import json
import multiprocessing
import platform
import re
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from cnn_archs.environment import commit, version

AT_ONCE = 10  # steps
EXPERIMENTS = ("lenet5_digits", "shapes")
BATCHES = (16, 64)  # images


def expected_and_measured(experiment: str, steps: int) -> dict[str, Any]:
    """Seconds of `steps` steps, by each of the sources that `plan` has, and as trained."""
    from cnn_archs import config as configs
    from cnn_archs.analysis import claims, kinds, plan
    from cnn_archs.train.assemble import Part, assemble

    config = configs.load(experiment, ["seeds=1", f"steps={steps + 1}"])
    planned = plan.plan(config, kinds.find("cpu"), 1, claims.RESULTS.glob("*/*.json"))
    run = assemble(Part(config))
    run.advance()  # compiles
    tens = []
    for _ in range(steps // AT_ONCE):
        start = time.perf_counter()
        for _ in range(AT_ONCE):
            run.advance()
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
    from cnn_archs.analysis import program
    from cnn_archs.setup import network
    from cnn_archs.train.assemble import placed, rules

    keys = ["data.image_shape=(64,64,3)", f"data.batch_size={batch}", "data.mean=none"]
    config = configs.load("resnet_imagenet:18", [*keys, "model.bn_group=0"])
    on, made = placed(config, network(config)), rules(config, 1.0)
    of_one = program.training(config, on, batch)
    jitted, (_, _, images, labels) = program.step_of(config, on, batch)
    key = jax.random.key(0)
    state = jax.jit(partial(program.begun, on.net, made))(key)
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


def table(result: dict[str, Any]) -> str:
    """The result as a person reads it."""
    lines = []
    for name, run in result["runs"].items():
        by = ", ".join(f"{seconds:.2f} by {source}" for source, seconds in run["expected"].items())
        lines.append(f"{name}, {run['steps']} steps: {run['measured']:.2f} s; expected {by}")
    for m in result["memory"]:
        megabytes = (f"{m[key] / 1e6:.0f}" for key in ("measured", "expected"))
        lines.append(
            f"resnet18 at 64x64, {m['batch']} images: {' MB in a step; expected '.join(megabytes)}"
        )
    lines.append(f"ratio {result['ratio']:.2f}, memory_ratio {result['memory_ratio']:.2f}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100, help="that are timed")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    arguments = parser.parse_args()
    held = [memory(batch) for batch in BATCHES]  # first: a process is as large as its parent was
    runs = {name: expected_and_measured(name, arguments.steps) for name in EXPERIMENTS}
    first = next(iter(runs.values()))
    result = {
        "ratio": next(iter(first["expected"].values())) / first["measured"],
        "memory_ratio": held[-1]["expected"] / held[-1]["measured"],
        "runs": runs,
        "memory": held,
        "machine": platform.platform(),
        "versions": {name: version(name) for name in ("cnn-archs", "jax")}
        | {"git_commit": commit()},
    }
    as_json = arguments.format == "json"
    print(table(result), file=sys.stderr if as_json else sys.stdout)
    if as_json:
        print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
