"""Give all benchmarks one main, turns that are timed one after another, written results.

A benchmark calls `main` with three functions: `declare(parser)` adds options, `measure(options)`
returns a JSON object, and `table(result)` gives that as rows of strings, the first of them the
heads. Printed results name the machine and the versions. `--write` puts the JSON into
results/benchmarks/ and the tables of all results there into the README.

Nothing here imports jax or torch before it must: a benchmark sets their environment first, and a
process that serves one side of a comparison has only that side's packages.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results" / "benchmarks"
PACKAGES = ("cnn-archs", "jax", "jaxlib", "flax", "numpy")

Value = TypeVar("Value")
Rows = Sequence[Sequence[str]]


class Turn(NamedTuple):
    """Seconds for one unit of work: of the clock, and of all cores for this process."""

    seconds: float
    cpu_seconds: float


def timed(run: Callable[[], Value], units: int) -> tuple[Turn, Value]:
    """Calls `run`, which does so many units of work, once -> its time and what it returned."""
    cpu, clock = time.process_time(), time.perf_counter()
    value = run()
    seconds, cpu_seconds = time.perf_counter() - clock, time.process_time() - cpu
    return Turn(seconds / units, cpu_seconds / units), value


def alternate(
    sides: Mapping[str, Callable[[], Turn]], rounds: int, unit: str
) -> dict[str, list[Turn]]:
    """Takes a turn with each side in every round, so that all meet the same disturbances.

    unit: what a turn's seconds are of, for the line that each round says on stderr.
    """
    turns: dict[str, list[Turn]] = {name: [] for name in sides}
    for i in range(rounds):
        for name, side in sides.items():
            turns[name].append(side())
        last = ", ".join(f"{name} {found[-1].seconds:.4f}" for name, found in turns.items())
        say(f"round {i + 1} of {rounds}: seconds a {unit}: {last}")
    return turns


def median(turns: Iterable[Turn]) -> Turn:
    """The medians of the clock's and of the CPU's seconds, each by itself."""
    seconds, cpu_seconds = zip(*turns, strict=True)
    return Turn(statistics.median(seconds), statistics.median(cpu_seconds))


def say(line: str) -> None:
    """Prints a line of progress on stderr."""
    print(line, file=sys.stderr, flush=True)


def main(
    document: str | None,
    declare: Callable[[argparse.ArgumentParser], None],
    measure: Callable[[argparse.Namespace], dict[str, Any]],
    table: Callable[[dict[str, Any]], Rows],
    packages: Sequence[str] = (),
) -> None:
    """Runs a benchmark as a program, on a CPU unless JAX_PLATFORMS says otherwise.

    packages: whose versions count, besides those of every benchmark.
    """
    from cnn_archs.runtime import compilation_cache

    name = Path(sys.argv[0]).stem
    parser = argparse.ArgumentParser(description=(document or "").partition("\n")[0])
    declare(parser)
    parser.add_argument("--format", choices=("table", "json"), default="table", help="of stdout")
    parser.add_argument("--write", action="store_true", help=f"to results/benchmarks/{name}.json")
    options = parser.parse_args()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    compilation_cache.enable_cache()
    started, load = time.monotonic(), os.getloadavg()[0]
    result = measure(options)
    result["machine"] = {**result.get("machine", {}), **machine(), "load_before": load}
    result["versions"] = {**versions(packages), **result.get("versions", {})}
    result["made"] = {"command": [Path(sys.argv[0]).name, *sys.argv[1:]]}
    result["took"] = round(time.monotonic() - started, 1)
    result["table"] = [list(row) for row in table(result)]
    print(text(result), file=sys.stderr if options.format == "json" else sys.stdout)
    if options.format == "json":
        print(json.dumps(result, indent=1))
    if options.write:
        write(name, result)


def text(result: dict[str, Any]) -> str:
    """Formats a result for a terminal: its table, and what it was measured on."""
    return f"{table_of(result).text()}\n{setting(result)}"


def table_of(result: Mapping[str, Any]) -> Any:
    """Returns the table.Table of a result."""
    from cnn_archs.report.table import Table

    heads, *rows = result["table"]
    return Table(heads, rows)


def setting(result: Mapping[str, Any]) -> str:
    """Formats the machine and the versions of a result in one line."""
    machine, versions = result["machine"], result["versions"]
    parts = [f"{machine['cores']} cores of {machine['cpu']}, load {machine['load_before']:.1f}"]
    if "threads" in machine:
        parts.append(f"{machine['threads']} threads")
    labels = {"jaxlib": "jaxlib", "torch": "PyTorch", "python": "Python"}
    parts += [f"{label} {versions[key]}" for key, label in labels.items() if key in versions]
    return "; ".join([*parts, f"commit {versions['git_commit'][:9]}"])


def readme_tables(folder: Path) -> str:
    """Formats the README's tables in Markdown, one for each result file in `folder`."""
    parts = []
    for path in sorted(folder.glob("*.json")):
        result = json.loads(path.read_text())
        link = f"[`benchmarks/{path.stem}.py`](results/benchmarks/{path.name})"
        parts.append(f"{link}: {setting(result)}.\n\n{table_of(result).markdown()}\n")
    return "\n".join(parts)


def write(name: str, result: dict[str, Any]) -> None:
    """Writes a result to results/benchmarks/ and the README's tables anew."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    readme = ROOT / "README.md"
    before, rest = readme.read_text().split("<!-- benchmarks -->\n")
    after = rest.split("<!-- /benchmarks -->")[1]
    tables = readme_tables(RESULTS)
    readme.write_text(f"{before}<!-- benchmarks -->\n{tables}<!-- /benchmarks -->{after}")


def machine() -> dict[str, Any]:
    """The machine as far as the system tells, and how busy it is."""
    return {
        "cpu": processor(),
        "cores": cores(),
        "load_average": os.getloadavg()[0],
        "platform": platform.platform(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def versions(packages: Sequence[str]) -> dict[str, str]:
    """The versions of Python, of PACKAGES and of `packages`, and the commit."""
    from cnn_archs.runtime.environment import git_commit, package_version

    found = {name: package_version(name) for name in (*PACKAGES, *packages)}
    return {**found, "python": platform.python_version(), "git_commit": git_commit()}


def cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    """The name of the CPU, as far as the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
