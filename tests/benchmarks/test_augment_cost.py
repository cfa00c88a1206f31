"""The benchmark of augmentation runs, and says what each kind costs."""

import math

import pytest
from running import run


def check(result, batch):
    assert result["ratio"] == pytest.approx(result["seconds"] / result["resnet20_step_seconds"])
    rates = result["images_per_second"]
    assert rates["pad, crop, mirror"] == pytest.approx(batch / result["seconds"])
    assert len(rates) > 8 and "distortions" in rates
    assert all(math.isfinite(rate) and rate > 0 for rate in rates.values())


def test_a_small_run_prints_one_json_object_with_the_ratio():
    check(run("augment", "--batch=4", "--repeats=1"), 4)


@pytest.mark.slow
def test_padding_cropping_and_mirroring_are_a_small_part_of_a_step():
    result = run("augment", "--batch=16", "--repeats=2", fast_code=True)
    check(result, 16)
    assert 0 < result["ratio"] < 0.2
