"""Count what a loop of training steps launches on an NVIDIA GPU, in programs compiled for one."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import as_a_user

SCRIPT = Path(__file__).with_name("cuda_program.py")
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("jax_cuda13_plugin") is None,
    reason="jax has no plugin for CUDA here: pip install '.[cuda13]', or make test-newest",
)
LAUNCHES = re.compile(r"k(CustomKernel|Kernel|Convolution|Copy|Gemm|CuDnn|CustomCall|Memzero)\b")


def compiled(*overrides):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *overrides],
        env={**as_a_user(), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""},
        capture_output=True,
        text=True,
        timeout=1_800,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    return json.loads(done.stdout.splitlines()[-1])


def body(thunks):
    """Return the lines of the body of the only loop in the thunks."""
    lines = thunks.splitlines()
    (start,) = (i for i, line in enumerate(lines) if line.strip() == "body:")
    indent = len(lines[start + 1]) - len(lines[start + 1].lstrip())
    inside = [line for line in lines[start + 1 :] if len(line) - len(line.lstrip()) >= indent]
    return inside


def test_a_step_of_resnet20_is_few_launches_in_one_graph():
    found = compiled()
    lines = found["thunks"].splitlines()
    assert lines[0].startswith("000: kCommandBuffer"), lines[0]
    assert found["thunks"].count("kCommandBuffer") == 1
    assert all(line.startswith(" ") for line in lines[1:] if "condition" not in line)
    assert found["thunks"].count("kWhile") == 1
    step = body(found["thunks"])
    assert 100 < len(step) <= 250
    assert sum("kConvolution" in line for line in step) == 56


def test_two_seeds_are_written_out_and_keep_fast_gradients_of_their_kernels():
    found = compiled("seeds=2", "model.blocks=(1,1,1)")
    step = body(found["thunks"])
    assert sum("kConvolution" in line for line in step) == 2 * (3 * 7 - 1)
    assert found["hlo"].count('custom_call_target="__cudnn$convBackwardFilter"') == 2 * 7
    assert "feature_group_count" not in found["hlo"]
