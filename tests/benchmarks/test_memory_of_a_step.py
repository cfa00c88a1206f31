"""The memory of a training step, as the README has it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_table_of_the_readme():
    command = [sys.executable, str(ROOT / "benchmarks" / "memory.py"), "--format=json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert 0 < result["ratio"] < 0.2
    table = (ROOT / "README.md").read_text().split("<!-- memory -->\n")[1].split("<!-- /memory")[0]
    printed = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    found = {
        (r["network"], r["dtype"], r["remat"]): f"{r['left'] / 1e9:.1f}" for r in result["rows"]
    }
    assert len(printed) == 4
    for network, dtype, kept, again, *_ in printed:
        name = network.strip("`")
        assert (found[name, dtype, False], found[name, dtype, True]) == (kept, again)
