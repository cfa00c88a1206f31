import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "augment.py"


@pytest.mark.slow
def test_a_small_run_prints_one_json_object_with_the_ratio():
    settings = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}  # those of tests are slow
    done = subprocess.run(
        [sys.executable, str(BENCHMARK), "--batch=16", "--repeats=2", "--format=json"],
        capture_output=True,
        text=True,
        env={**settings, "JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["ratio"] == pytest.approx(result["seconds"] / result["resnet20_step_seconds"])
    assert 0 < result["ratio"] < 0.2
    rates = result["images_per_second"]
    assert rates["pad, crop, mirror"] == pytest.approx(16 / result["seconds"])
    assert len(rates) > 8
    assert all(math.isfinite(rate) and rate > 0 for rate in rates.values())
