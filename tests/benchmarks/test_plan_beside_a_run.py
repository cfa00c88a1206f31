"""The estimates of `plan` are near what happens on this machine."""

import pytest
from running import run

RESNET18 = 11_689_512  # parameters: torchvision's


def test_a_small_run_prints_one_json_object_with_the_ratios():
    result = run("plan", "--experiments=lenet5_digits", "--steps=10", "--batches=2")
    (timed,) = result["runs"].values()
    assert timed["measured"] > 0
    assert result["ratio"] == next(iter(timed["expected"].values())) / timed["measured"]
    (held,) = result["memory"]
    assert held["params"] == 4 * RESNET18 and held["measured"] > 0
    assert result["memory_ratio"] == held["expected"] / held["measured"]


@pytest.mark.slow
def test_seconds_and_memory_are_within_a_factor_of_what_is_measured():
    result = run("plan", "--steps=50", fast_code=True)
    assert 1 / 4 < result["ratio"] < 4  # another machine's speed, and others' work on this one
    assert 0.5 < result["memory_ratio"] < 1.5
    small, large = result["memory"]
    assert small["batch"] < large["batch"] and small["measured"] < large["measured"]
    assert small["params"] == large["params"] == 4 * RESNET18
