"""The memory of a training step: the benchmark runs, and docs/devices.md has its table."""

import pytest
from pages import page, table
from running import run


def test_a_small_run_counts_parameters_and_what_remat_saves():
    result = run("memory", "--networks=resnet20", "--batch=4", "--side=32")
    rows = {(row["dtype"], row["remat"]): row["left"] for row in result["rows"]}
    params, image = 4 * 269_722, 4 * 4 * 32 * 32 * 3  # bytes
    assert params + image <= rows["float32", True] < rows["float32", False]
    assert rows["bfloat16", False] < rows["float32", False]
    assert result["ratio"] == rows["float32", True] / rows["float32", False]


@pytest.mark.slow
def test_the_table_of_the_page():
    result = run("memory")
    assert 0 < result["ratio"] < 0.2
    lines = table(page("devices"), "memory").splitlines()[2:]
    printed = [line.strip("| ").split(" | ") for line in lines]
    found = {
        (r["network"], r["dtype"], r["remat"]): f"{r['left'] / 1e9:.1f}" for r in result["rows"]
    }
    assert len(printed) == 4
    for network, dtype, kept, again, *_ in printed:
        name = network.strip("`")
        assert (found[name, dtype, False], found[name, dtype, True]) == (kept, again)
