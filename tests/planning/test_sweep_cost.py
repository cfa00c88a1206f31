"""The cost of a sweep is estimated from earlier results."""

import json
from typing import Any

import pytest

from cnn_archs import cli, models
from cnn_archs.planning import sweep_cost
from cnn_archs.planning.sweep_cost import MeasuredSpeed


def test_a_known_network_takes_what_it_took_and_one_in_between_something_in_between():
    known = [MeasuredSpeed(1_000, 50.0), MeasuredSpeed(100_000, 5.0)]
    assert sweep_cost.expected_mac_rate(1_000, known[:1]) == pytest.approx(50_000)
    assert sweep_cost.expected_mac_rate(7_777, known[:1]) == pytest.approx(
        50_000
    )  # one rate for all, then
    assert sweep_cost.expected_mac_rate(1_000, known) == pytest.approx(50_000, rel=0.01)
    assert sweep_cost.expected_mac_rate(10_000, known) == pytest.approx((50_000 * 500_000) ** 0.5)


def test_seconds_are_of_all_steps():
    model = models.create("mlp", hidden=(10,), num_classes=10)
    macs = 28 * 28 * 10 + 10 * 10
    found = sweep_cost.training_cost(model, (28, 28, 1), 300, 20, [MeasuredSpeed(macs, 100.0)])
    assert found[:3] == (macs + 20, macs, 300)
    assert found.seconds == pytest.approx(300 * 20 / 100)
    assert sweep_cost.training_cost(model, (28, 28, 1), 300, 20, []).seconds is None
    assert (
        sweep_cost.training_cost(model, (28, 28, 1), None, 20, [MeasuredSpeed(macs, 100.0)]).seconds
        is None
    )


def test_only_the_same_device_tells(tmp_path):
    for name, device in (("a", "1 x cpu"), ("b", "1 x H200")):
        result: dict[str, Any] = dict(name="mlp", dataset="digits", protocol="single")
        result |= {"device": device, "test": {"top1_error": [0.1]}, "macs": 10}
        result["images_per_second"] = 3.0
        (tmp_path / f"{name}.json").write_text(json.dumps(result))
    assert sweep_cost.measured_speeds(tmp_path.glob("*.json"), "1 x cpu") == [
        MeasuredSpeed(10, 3.0)
    ]


def test_a_dry_run_prints_the_cells_and_trains_nothing(tmp_path, capsys):
    file = tmp_path / "grid.py"
    cells = "{'a': ['lenet5_digits', 'steps=70'], 'b': ['lenet5_mnist', 'data.data_dir=/nowhere']}"
    file.write_text(f"def get_sweep(): return dict(title='t', seeds=3, cells={cells})")
    file.write_text(file.read_text().replace("/nowhere", str(tmp_path)))
    folder = tmp_path / "run"
    arguments = ["sweep", f"--config={file}", f"--workdir={folder}", "--dry_run", "--format=json"]
    assert cli.main(arguments) == 0
    a, b = json.loads(capsys.readouterr().out)
    assert (a["cell"], a["seeds"], a["params"], a["macs"]) == ("a", 3, 61_706, 416_520)
    assert a["steps"] == 70 and a["seconds"] > 0 and a["state"] == "to do"
    assert b["steps"] is None and b["seconds"] is None  # no MNIST there: how many images?
    assert not folder.exists()
