"""One main for all benchmarks, with timed turns and written results.

A benchmark calls `main` with three functions: `declare(parser)` adds options, `measure(options)`
returns a JSON object, and `table(result)` formats it as rows of strings, the first of which are the
heads. Printed results name the machine and the versions. `--write` writes the JSON to
results/benchmarks/ and the tables of all results there to docs/speed.md.

No import of jax or torch stands at the top: a benchmark sets their environment first, and a process
that runs one side of a comparison has only the packages of that side.
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
    """Seconds per unit of work: by the clock, and processor time of this process on all cores."""

    seconds: float
    cpu_seconds: float


def timed(run: Callable[[], Value], units: int) -> tuple[Turn, Value]:
    """Call `run`, which does `units` units of work, once -> (its time per unit, its result)."""
    cpu, clock = time.process_time(), time.perf_counter()
    value = run()
    seconds, cpu_seconds = time.perf_counter() - clock, time.process_time() - cpu
    return Turn(seconds / units, cpu_seconds / units), value


def alternate(
    sides: Mapping[str, Callable[[], Turn]], rounds: int, unit: str
) -> dict[str, list[Turn]]:
    """Run the sides in turns, one of each per round, so that all meet the same disturbances.

    unit: the unit of work, for the line that each round prints on stderr.
    Returns the turns of each side.
    """
    turns: dict[str, list[Turn]] = {name: [] for name in sides}
    for i in range(rounds):
        for name, side in sides.items():
            turns[name].append(side())
        last = ", ".join(f"{name} {found[-1].seconds:.4f}" for name, found in turns.items())
        say(f"round {i + 1} of {rounds}: seconds per {unit}: {last}")
    return turns


def median(turns: Iterable[Turn]) -> Turn:
    """Return the median of the clock's seconds and the median of the processor's."""
    seconds, cpu_seconds = zip(*turns, strict=True)
    return Turn(statistics.median(seconds), statistics.median(cpu_seconds))


def say(line: str) -> None:
    """Print a line of progress on stderr."""
    print(line, file=sys.stderr, flush=True)


def main(
    document: str | None,
    declare: Callable[[argparse.ArgumentParser], None],
    measure: Callable[[argparse.Namespace], dict[str, Any]],
    table: Callable[[dict[str, Any]], Rows],
    packages: Sequence[str] = (),
) -> dict[str, Any]:
    """Run a benchmark as a program, on a CPU unless JAX_PLATFORMS is set, and return its result.

    document: the docstring of the benchmark, whose first line is the description in --help.
    packages: further packages whose versions the result records.
    """
    from cnn_archs.runtime import compilation_cache

    name = Path(sys.argv[0]).stem
    parser = argparse.ArgumentParser(description=(document or "").partition("\n")[0])
    declare(parser)
    parser.add_argument(
        "--format",
        choices=("table", "json"),
        default="table",
        help="output format (default: table)",
    )
    parser.add_argument(
        "--write", action="store_true", help=f"also write results/benchmarks/{name}.json"
    )
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
    return result


def text(result: dict[str, Any]) -> str:
    """Format a result for a terminal: its table, the machine and the versions."""
    return f"{table_of(result).text()}\n{describe_setting(result)}"


def table_of(result: Mapping[str, Any]) -> Any:
    """Return the Table of a result."""
    from cnn_archs.report.table import Table

    heads, *rows = result["table"]
    return Table(heads, rows)


def describe_setting(result: Mapping[str, Any]) -> str:
    """Format the machine and the versions of a result in one line."""
    machine, versions = result["machine"], result["versions"]
    parts = [f"{machine['cores']} cores of {machine['cpu']}, load {machine['load_before']:.1f}"]
    if "device" in machine:
        parts.insert(0, machine["device"])
    if "threads" in machine:
        parts.append(f"{machine['threads']} threads")
    labels = {"jaxlib": "jaxlib", "torch": "PyTorch", "python": "Python"}
    parts += [f"{label} {versions[key]}" for key, label in labels.items() if key in versions]
    return "; ".join([*parts, f"commit {versions['git_commit'][:9]}"])


def page_tables(folder: Path) -> str:
    """Format the tables of docs/speed.md, one per result file in `folder`."""
    parts = []
    for path in sorted(folder.glob("*.json")):
        result = json.loads(path.read_text("utf-8"))
        link = f"[`benchmarks/{path.stem}.py`](../results/benchmarks/{path.name})"
        parts.append(f"{link}: {describe_setting(result)}.\n\n{table_of(result).markdown()}\n")
    return "\n".join(parts)


def write(name: str, result: dict[str, Any]) -> None:
    """Write a result to results/benchmarks/ and rewrite the tables of docs/speed.md."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    page = ROOT / "docs" / "speed.md"
    before, rest = page.read_text("utf-8").split("<!-- benchmarks -->\n")
    after = rest.split("<!-- /benchmarks -->")[1]
    tables = page_tables(RESULTS)
    page.write_text(f"{before}<!-- benchmarks -->\n{tables}<!-- /benchmarks -->{after}", "utf-8")


def machine() -> dict[str, Any]:
    """Describe the machine, and how busy it is."""
    return {
        "cpu": processor(),
        "cores": cores(),
        "load_average": os.getloadavg()[0],
        "platform": platform.platform(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Return the versions of Python, PACKAGES and `packages`, and the commit."""
    from cnn_archs.runtime.environment import git_commit, package_version

    found = {name: package_version(name) for name in (*PACKAGES, *packages)}
    return {**found, "python": platform.python_version(), "git_commit": git_commit()}


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    """Return the name of the CPU, or of the machine type if the system does not give one."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text("utf-8").splitlines() if cpuinfo.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
