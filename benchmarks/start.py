"""How long a user waits: for the import, for `--help`, and for the first step of a training.

python benchmarks/start.py [--rounds=5] [--format=json] [--write]
Goal: the first step of `cnn-archs train` on the embedded digits 10 s after the command at most
where nothing is compiled yet (cold), and 5 s where all of it is (warm). `ratio`: seconds / goal,
the larger of the two.

Each is a process of its own, from its start on. The first step has been made once the command's
first line of progress is there; the process is then ended. A cold start has an empty folder of
compiled programs, the warm one after it has that folder again. Medians over the rounds count.
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
    """Seconds of a process from its start to its end."""
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, cwd=common.ROOT)
    return time.perf_counter() - started


def first_step(programs: Path) -> float:
    """Seconds from the command `train` to its first step. programs: the user's folder of caches."""
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
    """Seconds of each, the rounds' medians."""
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
    """Seconds, and goals where there are some."""
    rows = [("from the command on", "seconds", "goal")]
    for name, seconds in result["seconds"].items():
        goal = result["goals"].get(name)
        rows.append((name, f"{seconds:.2f}", f"{goal:g}" if goal else ""))
    return rows


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=5, help="processes of each")


if __name__ == "__main__":
    common.main(__doc__, declare, measure, table)
