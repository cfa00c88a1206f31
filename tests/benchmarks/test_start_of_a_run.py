"""The benchmark of the start runs, and says how long each part of it takes."""

import pytest
from running import run


def test_a_small_run_prints_one_json_object_with_the_ratio():
    result = run("start", "--rounds=1")
    seconds = result["seconds"]
    # The first imports no jax, and a training imports it and does more.
    assert 0 < seconds["import cnn_archs"] < seconds["import jax"] < seconds["first step, warm"]
    parts = (seconds["first step, cold"] / 10, seconds["first step, warm"] / 5)
    assert result["ratio"] == pytest.approx(max(parts))


@pytest.mark.slow
def test_programs_that_are_kept_are_found_again():
    seconds = run("start", "--rounds=3", fast_code=True)["seconds"]
    assert seconds["first step, warm"] < seconds["first step, cold"]
