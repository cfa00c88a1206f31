"""Time the tracing and the compilation of a training step, by the depth of the network.

python benchmarks/compile.py [--networks=20,56,110,110:scan,1202:scan] [--format=json] [--write]
Goal: `ratio`, the seconds of 1202 layers with `scan_blocks` / those of 110 unrolled, is at most 1.

Networks are the residual nets for CIFAR-10; with `:scan` the units of a stage are one loop
(`model.scan_blocks`). The compilation cache is off. *Begin* is the time from the config to the
first weights. *Compile* is the time that jax reports for its backend until the end of the first
step. *Trace* is the rest of that step without its arithmetic, for which the time of the second step
is subtracted. The batch is small, because none of these depends on its size.
"""

import argparse
import os
import time
from typing import Any

import common

COMPILED = "/jax/core/compile/backend_compile_duration"


def row_of(network: str, batch: int) -> dict[str, Any]:
    """Time one network, `DEPTH` or `DEPTH:scan`, at a batch of `batch` images."""
    import jax
    from our_step import assemble_run, random_images

    depth, _, scan = network.partition(":")
    compiled: list[float] = []

    def listen(event: str, duration_secs: float, **_: str | int) -> None:
        if event == COMPILED:
            compiled.append(duration_secs)

    plain = ("data.mean=none", "crop.name=none", "mirror=false", "steps=1000", "model.bn_group=0")
    overrides = [*plain, f"data.batch_size={batch}", f"model.scan_blocks={bool(scan)}"]
    split = random_images((32, 32, 3), 10, 10 * batch)
    started = time.perf_counter()
    run = assemble_run(f"resnet_cifar10:{depth}", overrides, split)
    begin = time.perf_counter() - started
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        first, second = (common.timed(run.run_steps, 1)[0].seconds for _ in range(2))
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    row = {"network": network, "begin": begin, "compile": sum(compiled)}
    row["trace"] = max(first - second - sum(compiled), 0.0)
    common.say(f"{network}: " + ", ".join(f"{k} {v:.1f}" for k, v in row.items() if k != "network"))
    return row


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Time all networks, one row each."""
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"  # jax reads it when it is imported
    rows = [row_of(network, options.batch) for network in options.networks.split(",")]
    whole = {row["network"]: row["trace"] + row["compile"] for row in rows}
    compared = whole.keys() >= {"110", "1202:scan"}
    ratio = whole["1202:scan"] / whole["110"] if compared else None
    return {"ratio": ratio, "rows": rows, "batch": options.batch}


def table(result: dict[str, Any]) -> common.Rows:
    """Return the rows: seconds by depth."""
    rows: list[tuple[str, ...]] = [("residual net", "begin, s", "trace, s", "compile, s")]
    for row in result["rows"]:
        depth, _, scan = row["network"].partition(":")
        label = f"{depth} layers, scan_blocks" if scan else f"{depth} layers"
        seconds = (f"{row[key]:.1f}" for key in ("begin", "trace", "compile"))
        rows.append((label, *seconds))
    return rows


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--networks",
        default="20,56,110,110:scan,1202:scan",
        help="DEPTH[:scan],... (default: %(default)s)",
    )
    parser.add_argument("--batch", type=int, default=4, help="images per step (default: 4)")


if __name__ == "__main__":
    common.main(__doc__, declare, measure, table)
