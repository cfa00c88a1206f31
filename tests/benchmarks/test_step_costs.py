"""The record of step costs is filled by its script, with the arithmetic of the network."""

import json
import runpy
import sys

from running import ROOT

from cnn_archs.planning import step_cost

MACS = 784 * 300 + 300 * 10


def test_a_missing_step_is_compiled_and_recorded(tmp_path, monkeypatch):
    record = tmp_path / "step_costs.json"
    monkeypatch.setattr(step_cost, "RECORD", record)
    monkeypatch.setattr(sys, "argv", ["step_costs.py", "--only=^mlp_1998_mnist:300$"])
    runpy.run_path(str(ROOT / "benchmarks" / "step_costs.py"), run_name="__main__")
    (found,) = json.loads(record.read_text()).items()
    name, cost = found
    assert name == "mlp_1998_mnist:300" and cost["macs"] == MACS
    # Forward, and the gradients of maps and of weights: a multiplication and an addition each.
    assert cost["flops"] == 6 * MACS * cost["batch"]
    weights = 4 * (MACS + 310)
    assert cost["traffic"] > 2 * weights  # they are read and written
