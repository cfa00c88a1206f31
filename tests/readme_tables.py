"""The README's tables of results, made from result files and from what the papers print."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cnn_archs.report import printed_values, read_runs
from cnn_archs.report.table import Table
from cnn_archs.report.text import mean_sd

# Network of results/mnist -> the claim of experiments/claims.toml with its printed test error.
CLAIMS = {
    "lenet5": "lenet5-test-error",
    "lenet5_1998_map": "lenet5-test-error",
    "lenet5_1998_mean": "lenet5-test-error",
    "mlp": "notes-mlp-error",
    "cnn": "notes-cnn-error",
}


def mnist_table(folder: Path) -> str:
    """Formats the networks of results/mnist, with what a paper prints beside our test error.

    A network's results are NAME.json, or one file per seed: see `read_runs.result_files_of`.
    """
    heads = ["network", "parameters", "source", "printed", "ours", "epochs"]
    stated = printed_values.read_claims_file()
    claims = {claim["id"]: claim for claim in stated["claim"]}
    rows = [
        mnist_row(folder, name, stated["papers"], claims[CLAIMS[name]])
        for name in CLAIMS
        if read_runs.result_files_of(folder, name)
    ]
    heads.append("seconds per seed, device")
    return Table(heads, rows, words=range(len(heads))).markdown() + "\n"


def mnist_row(
    folder: Path, name: str, papers: dict[str, str], claim: dict[str, Any]
) -> tuple[str, ...]:
    cell = read_runs.read_cell_files(folder, name)
    results = [run.result for run in cell.runs]
    devices = ", ".join(dict.fromkeys(r["device"] for r in results))
    return (
        f"[{name}](results/mnist/{cell.runs[0].path.name})",
        f"{cell.first('params'):,}",
        f"{printed_values.short_reference(papers[claim['paper']])}, {claim['source']}",
        str(claim["value"]),
        mean_sd(list(cell.values(claim["metric"]).values())),
        f"{cell.first('epochs'):g}",
        f"{sum(r['seconds'] for r in results) / len(cell.seeds):,.0f}, {devices}",
    )


def protocols_table(folder: Path, protocols: Sequence[str]) -> str:
    """Formats an ensemble and its members, one column per test protocol.

    folder: holds what `evaluate --format=json` gave for each of `protocols`, and each member's
    result.json under the name of its workdir.
    """
    tested = [json.loads((folder / f"{protocol}.json").read_text()) for protocol in protocols]
    heads = [f"{p}, {t['members'][0]['views']}" for p, t in zip(protocols, tested, strict=True)]
    rows: list[Sequence[str]] = []
    for i, member in enumerate(tested[0]["members"]):
        path = folder / f"{member['workdir']}.json"
        r = json.loads(path.read_text())
        errors = (mean_sd([t["members"][i]["test"]["top1_error"]]) for t in tested)
        made = (f"{r['params']:,}", f"{r['epochs']:.1f}", f"{r['seconds']:,.0f}")
        rows.append((f"[{member['name']}]({path.relative_to(folder.parents[1])})", *made, *errors))
    means = [[t["members_mean"]["test"]["top1_error"]] for t in tested]
    rows.append(("mean of these", "", "", "", *map(mean_sd, means)))
    rows.append(
        ("ensemble of these", "", "", "", *(mean_sd(t["test"]["top1_error"]) for t in tested))
    )
    return Table(("network", "parameters", "epochs", "seconds", *heads), rows).markdown() + "\n"
