"""Measure and train on an accelerator, in stages that stop in time and go on at the next call.

python benchmarks/device.py [--stages=1,2,3,4] [--minutes=9] [--output=runs/device] [--runs=DIR]
    [--against=FILE] [--torch_python=PATH] [--tiny] [--format=json] [--write]
Stage 1 times the loop of ResNet-20: with and without the CUDA graph, in float32, TF32 and bfloat16,
several seeds in turn, unrolled and vmapped, and traces 20 steps. Stage 2 trains the fastest form on
CIFAR-10 for the paper's 64,000 steps: ResNet-20, plain-20, ResNet-56, plain-56, then more seeds,
then the other depths. Stage 3 times training steps of ResNet-50, ResNet-152, VGG-D, AlexNet and
GoogLeNet beside PyTorch, if it is installed, and beside a plain step in flax and optax. Stage 4
trains LeNet-5 and the LeNet-5 of 1998 on MNIST. Goals: a ResNet-20 of 64,000 steps in a minute, and
at least the speed of the fastest other side in stage 3, on one H200.

Each case is a process of its own. A call ends after `--minutes`, or on SIGTERM: a training is saved
then, a measurement is made again. It prints what is left and exits with 75 if anything is. A case
that failed is tried once more by the next call. The results are a JSON file per stage in
`--output`; the runs are in `--runs`, OUTPUT-runs by default. `--against` compares images per second
with a file of another's: {case: images per second}, or one of ours. A device is used if jax finds
one; `--tiny` makes every stage small enough for a CPU.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import common
from device_cases import (
    STAGES,
    Case,
    has_torch,
    lenet_cases,
    loop_cases,
    step_cases,
    training_cases,
)
from device_process import Budget, run_case

from cnn_archs.errors import ConfigError, Stopped
from cnn_archs.runtime.files import write_json
from cnn_archs.runtime.json_files import read_json
from cnn_archs.runtime.signals import stop_requests

ATTEMPTS = 2  # of a case that fails
Results = dict[str, dict[str, Any]]  # stage -> case -> what was found


def stage_cases(stage: str, options: argparse.Namespace, found: Results) -> list[Case]:
    """Return the cases of a stage, in their order. found: the results so far."""
    if stage == "loop":
        return loop_cases(options.tiny)
    if stage == "training":
        return training_cases(options.tiny, found["loop"])
    if stage == "steps":
        return step_cases(options.tiny, has_torch(options.torch_python))
    return lenet_cases(options.tiny)


def remaining(options: argparse.Namespace, found: Results) -> list[Case]:
    """Return the cases that have no result: the untried ones first, then those that failed."""
    cases = [c for n in options.stages for c in stage_cases(STAGES[n], options, found)]
    tried = [(attempts(found, case), case) for case in cases]
    return [case for n in range(ATTEMPTS) for count, case in tried if count == n]


def attempts(found: Results, case: Case) -> int:
    """Return how often a case failed, or ATTEMPTS if it has a result."""
    result = found[case.stage].get(case.name, {"attempts": 0})
    return result.get("attempts", ATTEMPTS)


def run_cases(options: argparse.Namespace, found: Results) -> list[str]:
    """Run cases until the time is over, writing each result, and return what is left to do."""
    notes: dict[str, str] = {}
    with stop_requests() as stop:
        budget = Budget(60 * options.minutes, stop)
        while left := [c for c in remaining(options, found) if c.name not in notes]:
            if budget.is_over():
                break
            case = left[0]
            common.say(f"{case.name}: {budget.left():.0f} s left")
            done = run_case(case, options.runs, budget, options.torch_python)
            if "stopped" in done:
                notes[case.name] = done["stopped"]
                break
            if "error" in done:
                done["attempts"] = attempts(found, case) + 1
                notes[case.name] = f"failed: {done['error']}"
                common.say(f"{case.name}: {done['error']}")
            found[case.stage][case.name] = done
            write_stage(options.output, case.stage, found)
    return [f"{c.name}{note_of(notes, c)}" for c in remaining(options, found)]


def note_of(notes: dict[str, str], case: Case) -> str:
    """Return the note on a case in parentheses, or nothing."""
    return f" ({notes[case.name]})" if notes.get(case.name) else ""


def write_stage(output: Path, stage: str, found: Results) -> None:
    """Write the results of a stage to its file in the folder `output`."""
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / f"{stage}.json", {"cases": found[stage]})


def read_stage(output: Path, stage: str) -> dict[str, Any]:
    """Return the results of a stage that an earlier call wrote."""
    path = output / f"{stage}.json"
    return read_json(path, {"cases": dict})["cases"] if path.exists() else {}


def read_speeds(path: Path) -> dict[str, float]:
    """Read {case: images per second}, or a results file of ours, as images per second by case."""
    tree = read_json(path)
    values = tree.get("cases", tree).items()
    speeds = {k: v.get("images_per_second") if isinstance(v, dict) else v for k, v in values}
    return {name: speed for name, speed in speeds.items() if isinstance(speed, int | float)}


def share_of_peak(case: Case, flops: float, result: dict[str, Any]) -> float | None:
    """Return the share of the device's peak that a measurement reached; None if it is not known."""
    from cnn_archs.planning.devices import DEVICES, find_device, is_called

    for kind in map(find_device, DEVICES):
        if is_called(result["device"], kind):
            return flops * result["images_per_second"] / kind.peak(case.dtype, case.precision)
    return None


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run what is left, as far as the time goes, and return all results and what is left then."""
    options.runs = options.runs or options.output.with_name(f"{options.output.name}-runs")
    speeds = read_speeds(options.against) if options.against else {}
    found = {stage: read_stage(options.output, stage) for stage in STAGES.values()}
    left = run_cases(options, found)
    common.say(f"left: {'; '.join(left) or 'nothing'}")
    rows = []
    for case in [c for n in options.stages for c in stage_cases(STAGES[n], options, found)]:
        result = found[case.stage].get(case.name)
        if result:
            rows.append(row_of(case, result, found[case.stage], speeds.get(case.name)))
    devices = sorted({row["device"] for row in rows if row.get("device")})
    versions: dict[str, str] = {}
    for row in rows:
        versions |= row.pop("versions", {})
    return {
        "rows": rows,
        "left": left,
        "machine": {"device": ", ".join(devices)} if devices else {},
        "versions": versions,
    }


def row_of(
    case: Case, result: dict[str, Any], stage: dict[str, Any], other: float | None
) -> dict[str, Any]:
    """Return the row of a case. stage: the results of its stage. other: another's images/s."""
    row = {"case": case.name, **result}
    if "images_per_second" not in result:
        return row
    if other:
        row["against"] = result["images_per_second"] / other
    ours = stage.get(case.beside, {})
    if "images_per_second" in ours:
        row["ours"] = ours["images_per_second"] / result["images_per_second"]
    flops = result.get("flops_per_image") or ours.get("flops_per_image")
    if flops:
        row["share_of_peak"] = share_of_peak(case, flops, result)
    return row


def table(result: dict[str, Any]) -> common.Rows:
    """Return the rows: speed, share of the peak, memory, and what else there is to say."""
    heads = ("case", "images/s", "% of peak", "memory, GB", "ours / this", "this / the other's")
    rows: list[tuple[str, ...]] = [(*heads, "result")]
    for row in result["rows"]:
        cells = (
            cell(row, "images_per_second", ",.0f"),
            cell(row, "share_of_peak", ".1f", 100),
            cell(row, "peak_bytes", ".1f", 1e-9),
            cell(row, "ours", ".2f"),
            cell(row, "against", ".2f"),
        )
        rows.append((row["case"], *cells, outcome(row)))
    return rows


def cell(row: dict[str, Any], key: str, form: str, factor: float = 1.0) -> str:
    """Format a number of a row, times `factor`; "" if it has none."""
    return "" if row.get(key) is None else f"{factor * row[key]:{form}}"


def outcome(row: dict[str, Any]) -> str:
    """Return the test error and the time of a training, the launches of a trace, or the error."""
    if "error" in row:
        return row["error"]
    if "trace" in row:
        return f"{row['trace']['launches_per_step']:.0f} launches a step"
    if "result" in row:
        errors = ", ".join(f"{100 * e:.2f}" for e in row["result"]["test"]["top1_error"])
        return f"{errors} % test error, {row['result']['seconds']:.0f} s"
    return ""


def stage_numbers(text: str) -> list[int]:
    """Parse `1,3` -> [1, 3]. Raises ArgumentTypeError for a number that is no stage."""
    if not set(text.split(",")) <= set(map(str, STAGES)):
        raise argparse.ArgumentTypeError(f"{text}: give some of {','.join(map(str, STAGES))}")
    return [int(number) for number in text.split(",")]


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stages", type=stage_numbers, default=list(STAGES), help="default: all")
    parser.add_argument("--minutes", type=float, default=9.0, help="of this call (default: 9)")
    parser.add_argument(
        "--output", type=Path, default=Path("runs/device"), help="results (default: runs/device)"
    )
    parser.add_argument("--runs", type=Path, help="trained runs (default: OUTPUT-runs)")
    parser.add_argument("--against", type=Path, metavar="FILE", help="another's images per second")
    parser.add_argument(
        "--torch_python", default=sys.executable, help="Python interpreter with torch"
    )
    parser.add_argument("--tiny", action="store_true", help="small cases, for a test on a CPU")


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "")  # jax chooses, unlike in the other benchmarks
    try:
        result = common.main(__doc__, declare, measure, table)
    except (ConfigError, Stopped) as e:
        sys.exit(f"error: {e}")
    if result["left"]:
        sys.exit(Stopped.code)
