"""The benchmark of compilation runs, and hears from jax what that took."""

import pytest
from running import run


def test_a_small_run_prints_one_json_object():
    result = run("compile", "--networks=20", "--batch=2")
    (row,) = result["rows"]
    assert row["network"] == "20" and result["ratio"] is None  # there is nothing to compare with
    assert row["compile"] > 0.1 and row["trace"] > 0.1 and row["begin"] > 0.1


@pytest.mark.slow
def test_a_loop_over_units_compiles_1202_layers_as_soon_as_110_without():
    result = run("compile", "--networks=110,1202:scan", fast_code=True)
    unrolled, looped = (row["trace"] + row["compile"] for row in result["rows"])
    assert result["ratio"] == pytest.approx(looped / unrolled) and result["ratio"] < 1
