"""The report names what made a result: one run, several parts, or several seeds."""

import json
from pathlib import Path
from typing import Any

import pytest
from fake_sweep import MADE, workdir, write_json
from readme_tables import mnist_table

from cnn_archs.claims import results_page
from cnn_archs.errors import DataError
from cnn_archs.planning import devices, throughput
from cnn_archs.report import provenance, read_runs, tables
from cnn_archs.sweeps import grid

ROOT = Path(__file__).resolve().parent.parent.parent


def part(first_step, commit, cpus=2, jax="0.10.2"):
    facts = dict(git_commit=commit, python="3.11.2", jax=jax, jaxlib=jax)
    return dict(first_step=first_step, **facts, backend="cpu", processor="x", cpus=cpus)


def run(seed, *parts, seconds=60.0, error=0.1):
    """A result of one seed, whose last part is of the process that wrote it."""
    last = parts[-1]
    packages = {"jax": last["jax"], "jaxlib": last["jaxlib"], "flax": "0.12"}
    made = dict(command=["launch.py", "train"], python="3.11.2", packages=packages)
    made |= dict(cpus=last["cpus"], git_commit=last["git_commit"], parts=list(parts))
    split = {"top1_error": [error], "top5_error": [0.0], "loss": [1.0], "examples": 10}
    return {
        **dict(name="mlp", dataset="mnist", protocol="single", seeds=[seed], test=split),
        **dict(train_eval=split, steps=9, epochs=1.0, params=1, macs=1, seconds=seconds),
        **dict(images_per_second=10.0, device="2 x cpu"),
        "made": {
            **made,
            "config": {"seeds": 1, "model": {"name": "mlp"}, "data": {"name": "mnist"}},
        },
    }


def test_a_merged_result_keeps_what_made_each_seed():
    runs = [run(0, part(0, "aaa")), run(1, part(0, "aaa"), part(4, "bbb", cpus=1), seconds=70.0)]
    made = grid.concat_seeds(runs)["made"]
    assert made["config"]["seeds"] == 2
    assert [(s["seed"], s["seconds"], s["git_commit"], s["cpus"]) for s in made["by_seed"]] == [
        (0, 60.0, "aaa", 2),
        (1, 70.0, "bbb", 1),
    ]
    assert made["by_seed"][1]["parts"] == runs[1]["made"]["parts"]
    assert made["python"] == "3.11.2" and made["command"] == ["launch.py", "train"]
    assert not {"git_commit", "cpus", "parts"} & made.keys()  # which they have not alike
    assert provenance.commits_of(made) == ["aaa", "bbb"]
    assert grid.concat_seeds([runs[0]])["made"]["git_commit"] == "aaa"


def test_commits_and_versions_are_those_of_all_parts():
    made = run(0, {"first_step": 0, "git_commit": "unknown"}, part(4, "bbb", jax="0.12"))["made"]
    assert provenance.commits_of(made) == ["unknown", "bbb"]
    written = "Python 3.11.2, jax 0.12, jaxlib 0.12, flax 0.12"
    assert provenance.versions_of(made) == [written]
    made = run(0, part(0, "aaa"), part(4, "bbb", jax="0.12"))["made"]
    assert provenance.versions_of(made) == [written, "Python 3.11.2, jax 0.10.2, jaxlib 0.10.2"]
    assert provenance.commits_of({}) == provenance.versions_of({}) == []


@pytest.mark.parametrize("name", ["mnist/cnn.json", "cifar10/degradation_quick_plain20.json"])
def test_results_that_are_older_than_parts_are_read(name):
    made = json.loads((ROOT / "results" / name).read_text())["made"]
    assert "parts" not in made and provenance.commits_of(made) == [made["git_commit"]]
    (versions,) = provenance.versions_of(made)
    assert f"Python {made['python']}" in versions and f"jax {made['packages']['jax']}" in versions


def test_the_speed_of_a_run_that_changed_its_cores_is_that_of_none(tmp_path, monkeypatch):
    monkeypatch.setattr(throughput, "cores", lambda: 2)
    fields: dict[str, Any] = dict.fromkeys(devices.DeviceSpec._fields, 0)
    kind = devices.DeviceSpec(**fields | dict(name="cpu", called="cpu"))
    for name, parts in {
        "whole": (part(0, "a"), part(4, "b")),
        "mixed": (part(0, "a", cpus=1), part(4, "a")),
    }.items():
        write_json(tmp_path / "x" / f"{name}.json", run(0, *parts))
    found = throughput.measured_runs(
        sorted(tmp_path.rglob("*.json")), {"model": {"name": "cnn"}}, 1, kind
    )
    assert [m.file.split("/")[-1] for m in found] == ["whole.json"]


# Files of a seed each.


def write(folder, **files):
    for name, result in files.items():
        write_json(folder / f"{name}.json", result)
    return folder


def test_files_of_a_seed_each_are_one_cell_in_every_table(tmp_path):
    errors = {0: 0.01, 1: 0.02, 10: 0.06}
    files = {f"mlp_seed{s}": run(s, part(0, f"c{s}"), error=e) for s, e in errors.items()}
    folder = write(tmp_path / "results" / "mnist", **files, cnn=run(0, part(0, "d")))
    (found,) = read_runs.read_collections([folder])
    assert [(c.name, c.seeds) for c in found.cells] == [("cnn", [0]), ("mlp", [0, 1, 10])]
    (table,) = tables.results_tables(found)
    rows = {row[0]: dict(zip(table.heads, row, strict=True)) for row in table.rows}
    assert rows["mlp"]["test"] == "3.00 ± 2.65 (3)"
    assert [row[-1] for row in tables.runs_table(found).rows] == ["d", "c0", "c1", "c10"]
    assert "| 3.00 ± 2.65 (3) | 1 | 60, 2 x cpu |" in mnist_table(folder)
    links = "[mlp](results/mnist/mlp_seed0.json) [2](results/mnist/mlp_seed1.json) [3]("
    assert links in "".join(results_page.runs_section(tmp_path / "results"))


def test_a_seed_in_two_files_is_refused(tmp_path):
    write(tmp_path, mlp=run(1, part(0, "a")), mlp_seed1=run(1, part(0, "a")))
    with pytest.raises(DataError, match=r"mlp.json and .*mlp_seed1.json both have seed 1"):
        read_runs.read_collections([tmp_path])


def test_seeds_of_different_lengths_are_no_cell(tmp_path):
    write(tmp_path, mlp_seed0=run(0, part(0, "a")), mlp_seed1={**run(1, part(0, "a")), "steps": 8})
    with pytest.raises(DataError, match="are not seeds of one cell: they differ in steps"):
        read_runs.read_collections([tmp_path])


def test_a_run_that_two_commits_made_says_both(tmp_path):
    made = run(0, part(0, "a" * 40), part(700, "b" * 40))["made"]
    made.pop("config")  # that of another network
    folder = workdir(tmp_path / "resnet20", "resnet20", 0, 0.09, 0.01, made=made)
    (found,) = read_runs.read_collections([folder])
    assert tables.runs_table(found).rows[0][-1] == f"{'a' * 10}, {'b' * 10}"
    older = workdir(tmp_path / "older", "resnet20", 0, 0.09, 0.01)  # no more than environment.json
    (found,) = read_runs.read_collections([older])
    assert tables.runs_table(found).rows[0][-1] == MADE["git_commit"][:10]
