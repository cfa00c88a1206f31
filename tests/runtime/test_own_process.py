"""A process that the product starts runs the code that started it, and no file that lies about."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cnn_archs.runtime.own_process import process_command

ROOT = Path(__file__).resolve().parents[2]
STRAYS = ("jax", "numpy", "typing", "json", "dataclasses", "tensorflow", "experiments", "cnn_archs")


def put_strays(folder: Path, ran: Path, names: tuple[str, ...] = STRAYS) -> None:
    """Write modules with the names of libraries, each of which says in `ran` that it was run."""
    for name in names:
        (folder / f"{name}.py").write_text(f"open({str(ran)!r}, 'a').write(__file__ + '\\n')\n")


def run(command, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the repository, beside the installed one, whose probe finds a device of its own.

    Files with the names of libraries lie in its root.
    """
    root = tmp_path_factory.mktemp("copy")
    for name in ("cnn_archs", "experiments"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "launch.py", root)
    probe = root / "cnn_archs" / "launch" / "device_probe.py"
    probe.write_text(probe.read_text().replace('f"{count} x {', 'f"{count} copies of {'))
    put_strays(root, root / "ran.txt", STRAYS[:-2])
    return root


@pytest.mark.parametrize("variable", [pytest.param("OTHER", marks=pytest.mark.slow), "PYTHONPATH"])
def test_the_code_is_that_of_the_command_and_strays_are_not_run(variable, copy, tmp_path):
    """Also if PYTHONPATH leads to the repository, as it does where nothing is installed."""
    put_strays(tmp_path, copy / "ran.txt")
    command = [sys.executable, copy / "launch.py", "sweep", "--config=augmentation", "--dry_run"]
    for cwd in (tmp_path, copy):
        done = run(command, cwd, **{variable: str(copy), "JAX_PLATFORMS": "cpu"})
        assert done.returncode == 0, done.stderr
        assert "copies of cpu" in done.stdout
    assert not (copy / "ran.txt").exists(), (copy / "ran.txt").read_text()


SMALL = ("--config.model.name=mlp", "--config.model.hidden=(4,)", "--config.steps=2")
# srun starts the command behind its options; sbatch keeps the script.
PROGRAMS = {
    "sbatch": 'cp "${@: -1}" script.sh; echo "Submitted batch job 12"',
    "srun": 'while [ "$1" != "$PYTHON" ]; do shift; done; exec "$@"',
    "scontrol": "true",
}
TASK = {f"SLURM_{name}": "0" for name in ("NODEID", "PROCID", "LOCALID")}
TASK |= {f"SLURM_{name}": "1" for name in ("NTASKS", "NNODES", "JOB_NUM_NODES")}


@pytest.mark.slow
def test_workers_and_processes_run_no_strays(copy, tmp_path):
    """The copy has no commit; a process of the repository would say which."""
    put_strays(tmp_path, copy / "ran.txt")
    (tmp_path / "grid.py").write_text(
        "def get_sweep():\n"
        "    small = ['model.name=mlp', 'model.hidden=(4,)', 'steps=2']\n"
        "    return dict(title='t', seeds=1, cells={'a': ['lenet5_digits', *small]})\n"
    )
    launch = [sys.executable, copy / "launch.py"]
    sweep = ("sweep", "--config=grid.py", "--workdir=sweep", "--processes=1")
    done = run([*launch, *sweep], tmp_path)
    assert done.returncode == 0, done.stderr
    done = run([*launch, "train", "--workdir=run", "--processes=2", *SMALL], tmp_path)
    assert done.returncode == 0, done.stderr
    for result in ("sweep/a/seed0/result.json", "run/result.json"):
        assert json.loads((tmp_path / result).read_text())["made"]["git_commit"] == ""
    assert not (copy / "ran.txt").exists(), (copy / "ran.txt").read_text()


@pytest.mark.slow
def test_a_job_of_slurm_runs_the_same_code_and_no_strays(copy, tmp_path):
    put_strays(tmp_path, copy / "ran.txt")
    (tmp_path / "bin").mkdir()
    for name, line in PROGRAMS.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{line}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    where = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "PYTHON": sys.executable}
    submit = ["submit", "--config=lenet5_digits", "--workdir=it's a run", *SMALL]
    done = run([sys.executable, copy / "launch.py", *submit], tmp_path, **where)
    assert done.returncode == 0 and "12" in done.stdout, done.stderr
    done = run(["bash", "script.sh"], tmp_path, **where, **TASK, SLURM_JOB_ID="12")
    logs = "".join(path.read_text() for path in (tmp_path / "it's a run" / "jobs").glob("*.err"))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    result = json.loads((tmp_path / "it's a run" / "result.json").read_text())
    assert result["made"]["git_commit"] == "" and not (copy / "ran.txt").exists()


def test_a_process_reads_utf_8_whatever_the_locale_is(tmp_path):
    program = tmp_path / "speak.py"
    program.write_text("import sys\ndef speak():\n    print(sys.argv[1:], sys.flags.utf8_mode)\n")
    command = process_command("speak:speak", "é")
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, env={**os.environ, **locale}, capture_output=True, check=True)
    assert done.stdout.decode() == "['é'] 1\n"
