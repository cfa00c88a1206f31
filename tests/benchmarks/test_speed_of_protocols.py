"""The benchmark of evaluation runs, and shows as many views as the papers do."""

import pytest
from running import run

VIEWS = {  # AlexNet, section 4.1; VGG, section 4.5; GoogLeNet, section 7
    **{"single": 1, "mirror": 2, "ten_crop": 10, "grid_50": 50, "grid_150": 150},
    **{"grid_144": 144, "dense": 2, "multi_scale": 10, "dense+grid_150": 160},
}


def check(result):
    rows = {row["protocol"]: row for row in result["rows"]}
    assert {name: row["views"] for name, row in rows.items()} == {n: VIEWS[n] for n in rows}
    assert all(row["seconds"] > 0 for row in rows.values())
    a_view = [row["seconds"] / row["views"] for row in rows.values()]
    assert result["ratio"] == pytest.approx(max(a_view) / rows["single"]["seconds"])
    return rows


def test_a_small_run_prints_one_json_object_with_the_ratio():
    asked = "--protocols=single,ten_crop,dense"
    assert len(check(run("evaluate", "--side=32", "--images=2", "--batch=2", asked))) == 3


@pytest.mark.slow
def test_every_protocol_is_timed():
    result = run("evaluate", "--side=32", "--images=2", "--batch=2", fast_code=True)
    assert check(result).keys() == VIEWS.keys()
