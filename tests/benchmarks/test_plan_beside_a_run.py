"""What `plan` expects is near what happens on this machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "plan.py"


@pytest.mark.slow
def test_seconds_and_memory_are_within_a_factor_of_what_is_measured():
    command = [sys.executable, str(BENCHMARK), "--format=json", "--steps=50"]
    # What makes tests quick to compile makes steps slow.
    usual = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    done = subprocess.run(command, capture_output=True, text=True, env=usual)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert 1 / 4 < result["ratio"] < 4  # another machine's speed, and others' work on this one
    assert 0.5 < result["memory_ratio"] < 1.5
    small, large = result["memory"]
    assert small["batch"] < large["batch"] and small["measured"] < large["measured"]
    assert small["params"] == large["params"] == 4 * 11_689_512
