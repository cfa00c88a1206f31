"""`pip install .` in an empty environment gives a working cnn-archs, from any folder."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def test_the_metadata_is_right():
    written = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project, wheel = written["project"], written["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel == {"packages": ["cnn_archs", "experiments"]}
    assert project["scripts"] == {"cnn-archs": "cnn_archs.__main__:run"}
    assert {"cuda13", "tpu", "prepare", "slurm", "dev"} <= set(project["optional-dependencies"])
    assert (ROOT / "LICENSE").read_text().lstrip().startswith("Apache License")
    assert (ROOT / "cnn_archs" / "py.typed").exists()


def test_import_is_fast_and_brings_no_jax():
    code = "import sys, cnn_archs; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=3)


@pytest.mark.slow
def test_an_installed_copy_trains_from_another_folder(tmp_path):
    env = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", env], check=True)
    pip = [env / "bin" / "python", "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "--constraint", ROOT / "constraints.txt", ROOT], check=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    command = [env / "bin" / "cnn-archs", "train", "--config.epochs=2", "--format=json"]
    done = subprocess.run(command, cwd=elsewhere, check=True, capture_output=True, text=True)
    assert json.loads(done.stdout)["name"] == "lenet5"
    assert (elsewhere / "runs" / "lenet5_digits" / "curves.png").exists()
    command = [env / "bin" / "cnn-archs", "report", "runs", "-o", "page.html"]
    subprocess.run(command, cwd=elsewhere, check=True, capture_output=True)
    assert "<svg" in (elsewhere / "page.html").read_text()
    own = elsewhere / "own.py"
    own.write_text((ROOT / "experiments" / "lenet5_mnist.py").read_text())
    for config in ("lenet5_1998_mnist:mean", "own.py"):
        command = [env / "bin" / "cnn-archs", "summarize", f"--config={config}", "--format=json"]
        done = subprocess.run(command, cwd=elsewhere, check=True, capture_output=True, text=True)
        assert json.loads(done.stdout)["params"] in (60_000, 61_706)
