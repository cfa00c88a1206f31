"""The benchmark of the input runs, and says what it should."""

import importlib.util

import pytest
from PIL import Image
from running import run


def test_a_small_run_prints_one_json_object_with_the_ratio(tmp_path):
    for i in range(20):
        path = tmp_path / "train" / "ab"[i % 2] / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (50 + i, 60), (10 * i, 0, 0)).save(path)
    small = ("--rounds=1", "--steps=1", "--threads=2", "--batches=100")
    result = run("input", str(tmp_path), *small)
    speed = result["images_per_second"]
    expected = 2 * speed["bare_on_one_core"] / speed["ours"]
    assert (
        result["ratio"] == pytest.approx(expected) == pytest.approx(1 / result["fraction_of_bare"])
    )
    everywhere = speed["bare_on_all_cores"] / speed["ours"]
    assert result["ratio_to_bare_everywhere"] == pytest.approx(everywhere)
    assert result["ratio_to_pillow"] > 0 and result["cpu_ratio"] > 0
    if importlib.util.find_spec("torchvision") is None:
        assert result["ratio_to_torchvision"] is None and speed["torchvision"] is None
    assert result["machine"]["threads"] == 2
    memory = result["memory"]
    assert memory["batches"] == 100
    assert memory["first_mb"] <= memory["most_mb"] >= memory["last_mb"]
