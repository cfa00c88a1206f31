import importlib.util
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "lenet_cpu.py"
TORCH_PYTHON = os.environ.get("CNN_ARCHS_TORCH_PYTHON", "")


@pytest.mark.slow
@pytest.mark.skipif(
    not TORCH_PYTHON and importlib.util.find_spec("torch") is None,
    reason="no torch: pip install '.[bench]', or set CNN_ARCHS_TORCH_PYTHON to a Python with it",
)
def test_a_small_run_prints_one_json_object_with_the_ratio():
    done = subprocess.run(
        [
            sys.executable,
            str(BENCHMARK),
            f"--torch_python={TORCH_PYTHON or sys.executable}",
            "--images=640",
            "--epochs=2",
            "--format=json",
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "TFDS_DATA_DIR": "/nowhere"},  # random images
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["ratio"] == pytest.approx(result["ours"] / result["torch"])
    assert math.isfinite(result["ratio"])
    assert result["ratio"] > 0
    assert result["first_loss_difference"] < 1e-4
    assert result["params"] == 61_706
    assert result["data"] == "random"
    assert len(result["epochs"]) == 2
    for epoch in result["epochs"]:
        assert all(epoch[side]["seconds"] > 0 for side in ("ours", "torch"))
        # The same batches from the same weights: after a few steps they still agree.
        assert epoch["ours"]["first_loss"] == pytest.approx(epoch["torch"]["first_loss"], abs=1e-3)
    assert {"cpu", "cores"} <= result["machine"].keys()
    assert {"jax", "torch"} <= result["versions"].keys()
