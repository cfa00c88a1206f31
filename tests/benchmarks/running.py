"""Runs a benchmark as a user does, and reads its JSON."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def run(name: str, *flags: str, fast_code: bool = False, **environment: str) -> dict[str, Any]:
    """The result of benchmarks/NAME.py --format=json; its exit code is 0.

    fast_code: compiled as for a user, without the flags with which tests compile quickly.
    """
    there = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS" or not fast_code}
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), *flags, "--format=json"],
        capture_output=True,
        text=True,
        env={**there, "JAX_PLATFORMS": "cpu", **environment},
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert {"cpu", "cores", "load_before"} <= result["machine"].keys()
    assert {"jax", "jaxlib", "python", "git_commit"} <= result["versions"].keys()
    assert result["made"]["command"][0] == f"{name}.py"
    heads, *rows = result["table"]
    assert rows and all(len(row) == len(heads) for row in rows)
    return result
