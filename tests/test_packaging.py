"""`pip install .` in an empty environment gives a working cnn-archs, from any folder."""

import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"


def test_the_metadata_is_right():
    written = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project, wheel = written["project"], written["tool"]["hatch"]["build"]["targets"]["wheel"]
    inside = {name: f"cnn_archs/{name}" for name in ("experiments", "results", "weights")}
    assert wheel == {"packages": ["cnn_archs"], "force-include": inside}
    assert project["scripts"] == {"cnn-archs": "cnn_archs.__main__:run"}
    assert {"cuda13", "tpu", "prepare", "slurm", "dev"} <= set(project["optional-dependencies"])
    assert (ROOT / "LICENSE").read_text().lstrip().startswith("Apache License")
    assert (ROOT / "cnn_archs" / "py.typed").exists()


def test_import_is_fast_and_brings_no_jax():
    code = "import sys, cnn_archs; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=3)


OWN_EXPERIMENT = """
from dataclasses import dataclass
from experiments import base
from neighbor import WIDTH

@dataclass(frozen=True)
class Mine:
    width: int = WIDTH

def get_config():
    from experiments.base import config
    return config(data={"name": "digits"}, model={"name": "mlp", "hidden": (Mine().width,)})
"""
AFTER_A_LOAD = """
import sys
from pathlib import Path
import experiments.mine
before, path = dict(sys.modules), list(sys.path)
from cnn_archs.config import load_config
from cnn_archs.shipped import shipped_folder
assert load_config("experiments/own.py", []).model.hidden == (17,)
assert load_config("resnet_cifar10:20", []).model.name == "resnet20"
assert sys.path == path
ours = [n for n in sys.modules if n.partition(".")[0] in ("experiments", "neighbor")]
assert ours == ["experiments", "experiments.mine"], ours
assert all(sys.modules[name] is before[name] for name in ours)
print(shipped_folder("experiments"))
"""


@pytest.mark.parametrize("layout", ["checkout", "wheel"])
def test_a_users_own_folder_of_experiments_stays_the_users(layout, tmp_path):
    path = ROOT
    if layout == "wheel":
        path = tmp_path / "site-packages"
        shutil.copytree(ROOT / "cnn_archs", path / "cnn_archs")
        shutil.copytree(ROOT / "experiments", path / "cnn_archs" / "experiments")
    own = tmp_path / "experiments"
    own.mkdir()
    for name in ("__init__.py", "mine.py"):
        (own / name).write_text("")
    (own / "neighbor.py").write_text("WIDTH = 17")
    (own / "own.py").write_text(OWN_EXPERIMENT)
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(path)!r}]{AFTER_A_LOAD}"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stderr == ""
    folder = path / "experiments" if layout == "checkout" else path / "cnn_archs" / "experiments"
    assert done.stdout.strip() == str(folder)


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
    assert not (env / "lib" / PYTHON / "site-packages" / "experiments").exists()
    Image.new("L", (28, 28)).save(elsewhere / "black.png")
    command = [env / "bin" / "cnn-archs", "predict", "--weights=lenet5_mnist", "black.png"]
    done = subprocess.run(command, cwd=elsewhere, check=True, capture_output=True, text=True)
    assert done.stdout.startswith("black.png: ")
    command = [env / "bin" / "cnn-archs", "claims", "--format=json"]
    installed = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True)
    command = [sys.executable, ROOT / "launch.py", "claims", "--format=json"]
    checkout = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True)
    assert installed.stdout and installed.stdout == checkout.stdout
