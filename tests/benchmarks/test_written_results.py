"""The results that benchmarks wrote under results/ are whole, and stand in docs/speed.md."""

import json
import re

import common
import pytest
from pages import page, table
from running import ROOT

RESULTS = ROOT / "results" / "benchmarks"


def test_each_result_is_of_a_benchmark_and_says_what_made_it():
    for path in RESULTS.glob("*.json"):
        result = json.loads(path.read_text())
        assert (ROOT / "benchmarks" / f"{path.stem}.py").is_file()
        assert result["made"]["command"][0] == f"{path.stem}.py"
        assert "--write" in result["made"]["command"]
        assert re.fullmatch(r"[0-9a-f]{40}\+?", result["versions"]["git_commit"])


def test_the_page_of_speed_has_the_tables_of_all_results():
    assert table(page("speed"), "benchmarks") == common.page_tables(RESULTS)


def test_a_result_becomes_a_line_and_a_table(tmp_path):
    result = {
        "machine": {"cpu": "a processor", "cores": 2, "load_before": 0.04, "threads": 2},
        "versions": {"jaxlib": "1.2", "python": "3.13", "git_commit": "0123456789abcdef"},
        "table": [["network", "s"], ["lenet5", "0.5"]],
    }
    (tmp_path / "train_step.json").write_text(json.dumps(result))
    assert common.page_tables(tmp_path) == (
        "[`benchmarks/train_step.py`](../results/benchmarks/train_step.json): "
        "2 cores of a processor, load 0.0; 2 threads; jaxlib 1.2; Python 3.13; commit 012345678."
        "\n\n"
        "| network | s |\n| --- | ---: |\n| lenet5 | 0.5 |\n"
    )
    assert common.page_tables(tmp_path / "nowhere") == ""


@pytest.mark.parametrize("name", [p.stem for p in (ROOT / "benchmarks").glob("*.py")])
def test_make_bench_runs_every_benchmark_and_writes_its_result(name):
    lines = (ROOT / "Makefile").read_text().split("\nbench:")[1].splitlines()
    is_program = "common.main(" in (ROOT / "benchmarks" / f"{name}.py").read_text()
    run_here = [line for line in lines if f"benchmarks/{name}.py" in line]
    assert bool(run_here) == is_program and all("--write" in line for line in run_here)
