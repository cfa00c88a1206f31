"""Measure how long a user waits for the import, for `--help`, and for the first training step.

python benchmarks/start.py [--rounds=5] [--format=json] [--write]
Goal: the first step of `cnn-archs train` on the embedded digits ends at most 10 s after the command
if nothing is compiled yet (cold), and 5 s if all is (warm). `ratio` is the larger seconds / goal.

Each is timed in a process of its own, from its start. The first step has ended when the command
prints its first line of progress; the process is then killed. A cold start has an empty compilation
cache, and the warm start after it has the same cache again. Results are medians over the rounds.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import common

GOALS = {"first step, cold": 10.0, "first step, warm": 5.0}  # seconds
LAUNCH = (sys.executable, str(common.ROOT / "launch.py"))
BRIEF = {
    "import cnn_archs": (sys.executable, "-c", "import cnn_archs"),
    "import jax": (sys.executable, "-c", "import jax"),
    "--help": (*LAUNCH, "--help"),
}


def seconds_of(command: tuple[str, ...]) -> float:
    """Return the seconds of a process from its start to its end."""
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, cwd=common.ROOT)
    return time.perf_counter() - started


def first_step(programs: Path) -> float:
    """Return the seconds from the command `train` to the end of its first step.

    programs: the folder of the compilation cache.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_COMPILATION_CACHE")}
    environment["XDG_CACHE_HOME"] = str(programs)
    with tempfile.TemporaryDirectory() as workdir:
        started = time.perf_counter()
        process = subprocess.Popen(
            [*LAUNCH, "train", "--config=lenet5_digits", f"--workdir={workdir}/run"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=common.ROOT,
            env=environment,
        )
        assert process.stderr
        said = []
        try:
            for line in process.stderr:
                said.append(line)
                if line.startswith("step 1/"):
                    return time.perf_counter() - started
        finally:
            process.kill()
            process.communicate()
    raise SystemExit(f"error: no first step: {''.join(said)}")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return the median seconds of each over the rounds."""
    found: dict[str, list[float]] = {name: [] for name in (*BRIEF, *GOALS)}
    for i in range(options.rounds):
        for name, command in BRIEF.items():
            found[name].append(seconds_of(command))
        with tempfile.TemporaryDirectory() as programs:
            for name in GOALS:
                found[name].append(first_step(Path(programs)))
        last = ", ".join(f"{name} {seconds[-1]:.2f}" for name, seconds in found.items())
        common.say(f"round {i + 1} of {options.rounds}: seconds: {last}")
    seconds = {name: statistics.median(of) for name, of in found.items()}
    ratio = max(seconds[name] / goal for name, goal in GOALS.items())
    return {"ratio": ratio, "seconds": seconds, "goals": GOALS, "rounds": options.rounds}


def table(result: dict[str, Any]) -> common.Rows:
    """Return the rows: seconds, and goals if any."""
    rows = [("from the command on", "seconds", "goal")]
    for name, seconds in result["seconds"].items():
        goal = result["goals"].get(name)
        rows.append((name, f"{seconds:.2f}", f"{goal:g}" if goal else ""))
    return rows


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=5, help="processes of each (default: 5)")


if __name__ == "__main__":
    common.main(__doc__, declare, measure, table)
