"""Results as a person reads them: from results, never from a device."""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cnn_archs.analysis import collect
from cnn_archs.run_dir import RunDir


def mean_sd(values: Sequence[float], scale: float = 100.0, digits: int = 2) -> str:
    """`1.23 ± 0.04 (5)`: mean, standard deviation (n - 1), number of values; scaled to percent."""
    scaled = [scale * v for v in values]
    mean = statistics.fmean(scaled)
    if len(scaled) == 1:
        return f"{mean:.{digits}f}"
    return f"{mean:.{digits}f} ± {statistics.stdev(scaled):.{digits}f} ({len(scaled)})"


def aligned(rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """`rows` as text: the first `left` columns flush left, the others flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        (
            c.ljust(w) if i < left else c.rjust(w)
            for i, (c, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
    return "\n".join("  ".join(line).rstrip() for line in lines)


def markdown(rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """`rows`, the first of them the heads, as a table in Markdown."""
    rule = ["---" if i < left else "---:" for i in range(len(rows[0]))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], rule, *rows[1:]))


def result_table(result: dict[str, Any]) -> str:
    """The splits of a result, a line each."""
    rows = [("", "images", "top-1 error, %", "top-5 error, %", "loss")]
    labels = {
        "train": "train, running average",
        "train_eval": "train",
        "val": "held out",
        "val_average": "held out, averaged weights",
        "test": "test",
        "test_average": "test, averaged weights",
    }
    networks = result.get("members", [])
    others = [k for k, v in result.items() if is_columns(v) and k not in labels]
    for split in (*labels, *others):
        if split in result:
            label = labels.get(split, split)
            if networks:
                label += f", ensemble of {len(networks)}"
            rows.append(row_of(label, result[split]))
            rows += [
                row_of(f"  {m['name']}, seed {m['seed']}, {m['workdir']}", m[split])
                for m in networks
            ]
    head = f"{result['name']} on {result['dataset']}, {protocol_of(result)}"
    if "params" in result:
        head += (
            f": {result['params']:,} parameters, {result['macs']:,} multiply-adds\n"
            f"{result['steps']:,} steps in {result['seconds']:.0f} s, "
            f"{result['images_per_second']:,.0f} images/s on {result['device']}"
        )
    return f"{head}\n\n{aligned(rows)}"


def cells_table(done: Mapping[str, Mapping[str, Any]]) -> str:
    """The results of a sweep's cells, a line each: errors in percent."""
    rows: list[tuple[str, ...]]
    rows = [("cell", "seeds", "test error, %", "train error, %", "steps", "seconds a seed")]
    for name, r in done.items():
        errors = (mean_sd(r[split]["top1_error"]) for split in ("test", "train_eval"))
        seconds = f"{r['seconds'] / len(r['seeds']):,.0f}"
        rows.append((name, str(len(r["seeds"])), *errors, f"{r['steps']:,}", seconds))
    return aligned(rows)


def robustness_table(found: dict[str, Any]) -> str:
    """A table for each kind of warp: error against amount."""
    parts = []
    for name, kind in found.items():
        errors = (mean_sd(of_seeds) for of_seeds in kind["top1_error"])
        rows = [(f"{name}, {kind['unit']}", "top-1 error, %")]
        rows += [(f"{a:g}", e) for a, e in zip(kind["amounts"], errors, strict=True)]
        parts.append(aligned(rows))
    return "\n\n".join(parts)


def is_columns(value: Any) -> bool:
    """Is it a split's part of a result?"""
    return isinstance(value, dict) and "top1_error" in value


def row_of(label: str, r: dict[str, Any]) -> tuple[str, str, str, str, str]:
    """A line of `result_table`. r: of several networks, lists; of one, numbers."""
    values = {k: v if isinstance(v, list) else [v] for k, v in r.items() if k != "examples"}
    errors = (mean_sd(values["top1_error"]), mean_sd(values["top5_error"]))
    return (label, f"{r['examples']:,}", *errors, mean_sd(values["loss"], 1, 4))


def protocol_of(result: Mapping[str, Any]) -> str:
    """How the networks were tested: what all numbers of a result_table have in common."""
    said = f"protocol {result['protocol']}"
    if result["protocol"] != "single":
        said += f", {result['views']} views of each image"
    if "scales" in result:
        said += f", shorter side {', '.join(map(str, result['scales']))}"
    if "precise_stats" in result:
        said += f", batch statistics of {result['precise_stats']:,} training images"
    return said


def files_table(workdir: Path) -> str:
    """The paths that a run left, and what they are."""
    return aligned([(str(path), what) for path, what in RunDir(workdir).contents()], left=2)


# Network -> (source, what it prints as test error in percent), in the order of the README's table.
PRINTED = {
    "lenet5": ("LeCun et al. 1998, III.B", "0.95"),
    "lenet5_1998_map": ("LeCun et al. 1998, III.B", "0.95"),
    "lenet5_1998_mean": ("LeCun et al. 1998, III.B", "0.95"),
    "mlp": ("lecture notes", "2.14"),
    "cnn": ("lecture notes", "0.99"),
}


def results_table(folder: Path) -> str:
    """The README's table of results/mnist, in Markdown: paper | ours.

    A network's results are NAME.json, or a file a seed: see `collect.files_of`.
    """
    heads = (
        "network",
        "parameters",
        "source",
        "printed",
        "ours",
        "epochs",
        "seconds a seed, device",
    )
    rows: list[Sequence[str]] = [heads]
    for name, (source, printed) in PRINTED.items():
        if collect.files_of(folder, name):
            cell = collect.cell_of_files(folder, name)
            every = [run.result for run in cell.runs]
            ours = mean_sd(list(cell.values("test.top1_error").values()))
            devices = ", ".join(dict.fromkeys(r["device"] for r in every))
            seconds = f"{sum(r['seconds'] for r in every) / len(cell.seeds):,.0f}, {devices}"
            link = f"[{name}](results/mnist/{cell.runs[0].path.name})"
            made = (f"{cell.first('params'):,}", source, printed, ours)
            rows.append((link, *made, f"{cell.first('epochs'):g}", seconds))
    return markdown(rows, left=len(heads)) + "\n"


def protocols_table(folder: Path, protocols: Sequence[str]) -> str:
    """The README's table of an ensemble and its members, in Markdown: a column a protocol.

    folder: of what `evaluate --format=json` gave for each of `protocols`, and of each member's
    result.json, under the name of its workdir.
    """
    tested = [json.loads((folder / f"{protocol}.json").read_text()) for protocol in protocols]
    heads = [f"{p}, {t['members'][0]['views']}" for p, t in zip(protocols, tested, strict=True)]
    rows: list[Sequence[str]] = [("network", "parameters", "epochs", "seconds", *heads)]
    for i, member in enumerate(tested[0]["members"]):
        path = folder / f"{member['workdir']}.json"
        r = json.loads(path.read_text())
        errors = (mean_sd([t["members"][i]["test"]["top1_error"]]) for t in tested)
        made = (f"{r['params']:,}", f"{r['epochs']:.1f}", f"{r['seconds']:,.0f}")
        rows.append((f"[{member['name']}]({path.relative_to(folder.parents[1])})", *made, *errors))
    for label, of in (
        ("mean of these", lambda t: [t["members_mean"]["test"]["top1_error"]]),
        ("ensemble of these", lambda t: t["test"]["top1_error"]),
    ):
        rows.append((label, "", "", "", *(mean_sd(of(t)) for t in tested)))
    return markdown(rows) + "\n"


def benchmark_setting(result: Mapping[str, Any]) -> str:
    """One line that says on what a benchmark's result was measured."""
    machine, versions = result["machine"], result["versions"]
    said = [f"{machine['cores']} cores of {machine['cpu']}, load {machine['load_before']:.1f}"]
    if "threads" in machine:
        said.append(f"{machine['threads']} threads")
    shown = {"jaxlib": "jaxlib", "torch": "PyTorch", "python": "Python"}
    said += [f"{label} {versions[key]}" for key, label in shown.items() if key in versions]
    return "; ".join([*said, f"commit {versions['git_commit'][:9]}"])


def benchmark_tables(folder: Path) -> str:
    """The README's tables of results/benchmarks, in Markdown: one for each file in `folder`."""
    parts = []
    for path in sorted(folder.glob("*.json")):
        result = json.loads(path.read_text())
        link = f"[`benchmarks/{path.stem}.py`](results/benchmarks/{path.name})"
        head = f"{link}: {benchmark_setting(result)}."
        parts.append(f"{head}\n\n{markdown(result['table'])}\n")
    return "\n".join(parts)
