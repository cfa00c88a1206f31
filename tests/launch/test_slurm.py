"""Jobs of a real SLURM end with the numbers of an undisturbed run, whatever happens to them.

Slow, and skipped where SLURM cannot run. Each test waits for what SLURM takes its time for.
"""

import json
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import one_machine
import pytest
from one_machine import Cluster
from run_logs import log_lines

from cnn_archs import cli

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(one_machine.missing()), reason=one_machine.missing()),
]
RUN = (
    "--config.model.name=mlp",
    "--config.model.hidden=(8,)",
    "--config.log_every=50",
    "--config.eval_every=2",
    "--config.checkpoint_every=2",  # 90 steps
)
SHORT = (*RUN, "--config.steps=900")
LONG = (*RUN, "--config.steps=40000", "--config.checkpoint_every=100", "--config.eval_every=100")
SWEEP = """
def get_sweep():
    mlp = ["lenet5_digits", "model.name=mlp", "steps=8000", "checkpoint_every=4.0"]
    cells = {f"width{w}": [*mlp, f"model.hidden=({w},)"] for w in (8, 9)}
    return dict(title="two widths", seeds=2, cells=cells)
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    started = Cluster(tmp_path_factory.mktemp("slurm"))
    try:
        started.start()
        yield started
    finally:
        started.stop()


@pytest.fixture
def submit(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., dict[str, Any]]:
    """Return submit(*flags) -> the output of `submit --format=json`."""
    for key, value in cluster.environment.items():
        monkeypatch.setenv(key, value)

    def submit(*flags: object) -> dict[str, Any]:
        assert cli.main(["submit", "--format=json", *map(str, flags)]) == 0
        return json.loads(capsys.readouterr().out)

    return submit


@pytest.fixture(scope="module")
def alone(launch, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return alone(command, *flags) -> the workdir of an undisturbed run, which is made once."""
    made: dict[tuple[str, ...], Path] = {}

    def alone(*command: str) -> Path:
        if command not in made:
            made[command] = tmp_path_factory.mktemp("alone") / "run"
            process = launch(*command, f"--workdir={made[command]}")
            _, said = process.communicate(timeout=600)
            assert process.returncode == 0, said
        return made[command]

    return alone


def check_same(workdir: Path, other: Path) -> None:
    """Assert that two runs have the same numbers, bit by bit, apart from measured times."""
    assert log_lines(workdir) == log_lines(other)
    results = [json.loads((w / "result.json").read_text()) for w in (workdir, other)]
    for result in results:
        for key in ("seconds", "compile_seconds", "images_per_second", "made"):
            del result[key]
    assert results[0] == results[1]
    steps = f"checkpoints/{results[0]['steps']}/notes/metadata"
    notes = [json.loads((w / steps).read_text())["digests"] for w in (workdir, other)]
    assert notes[0] == notes[1]


def reached(workdir: Path, step: int) -> bool:
    """Return whether the run has saved that step."""
    names = [p.name for p in workdir.glob("checkpoints/*")]
    return max((int(name) for name in names if name.isdigit()), default=0) >= step


def end_of(cluster: Cluster, number: str, seconds: float = 300) -> dict[str, str]:
    """Wait for the end of a job, which may be requeued before, and return its state."""
    last = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")

    def ended() -> bool:
        cluster.hurry(number)
        return cluster.job(number)["JobState"] in last

    cluster.wait(ended, seconds)
    return cluster.job(number)


def restarted(cluster: Cluster, number: str) -> None:
    """Wait until a job has been requeued."""
    cluster.wait(lambda: cluster.job(number)["Restarts"] == "1", 180)


def log_of(job: dict[str, Any]) -> str:
    return Path(job["jobs"][0]["stderr"]).read_text()


def said(cluster: Cluster, job: dict[str, Any], text: str) -> None:
    """Wait until the first process of a job has printed a text; it may still be saving."""
    cluster.wait(lambda: text in log_of(job), 30)


def test_one_experiment_over_two_nodes(cluster, submit, alone, tmp_path):
    job = submit("--config=lenet5_digits", f"--workdir={tmp_path}/run", "--nodes=2", *SHORT)
    assert end_of(cluster, job["job"])["JobState"] == "COMPLETED", log_of(job)
    made = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert made["processes"] == 2 and made["command"] == job["command"]
    check_same(tmp_path / "run", alone("train", "--processes=2", *SHORT))


def test_a_node_that_dies_costs_no_number(cluster, submit, alone, tmp_path):
    workdir = tmp_path / "run"
    job = submit("--config=lenet5_digits", f"--workdir={workdir}", "--nodes=2", *SHORT)
    cluster.wait(lambda: reached(workdir, 180), 120)
    cluster.lose("n2")
    restarted(cluster, job["job"])
    cluster.revive("n2")
    assert end_of(cluster, job["job"])["JobState"] == "COMPLETED", log_of(job)
    check_same(workdir, alone("train", "--processes=2", *SHORT))


def test_a_job_waits_for_what_lives_on_on_a_lost_node(cluster, submit, alone, tmp_path):
    workdir = tmp_path / "run"
    job = submit("--config=lenet5_digits", f"--workdir={workdir}", *LONG)
    cluster.wait(lambda: reached(workdir, 4400), 120)
    node = cluster.job(job["job"])["NodeList"]
    cluster.lose(node, dead=False)
    alive = cluster.processes_of(node)
    one_machine.tell(alive, signal.SIGSTOP)  # or it might end too soon for this test
    restarted(cluster, job["job"])
    cluster.hurry(job["job"])
    cluster.wait(lambda: cluster.job(job["job"])["JobState"] == "RUNNING", 60)
    time.sleep(3)
    assert cluster.job(job["job"])["JobState"] == "RUNNING"  # it waits
    assert not (workdir / "result.json").exists()
    one_machine.tell(alive, signal.SIGKILL)
    assert end_of(cluster, job["job"])["JobState"] == "COMPLETED", log_of(job)
    assert "in use" not in log_of(job)
    cluster.revive(node)
    check_same(workdir, alone("train", *LONG))


def test_before_its_time_is_up_a_job_saves_and_goes_on(cluster, submit, tmp_path):
    """SLURM looks at limits once a minute, and may send the signal a minute early."""
    workdir = tmp_path / "run"
    flags = (f"--workdir={workdir}", f"--hours={2 / 60}")
    job = submit("--config=lenet5_digits", *flags, *LONG, "--config.steps=10000000")
    restarted(cluster, job["job"])
    said(cluster, job, "stopped by a signal at step")
    saved = re.search(r"at step (\d+) of 10000000; saved", log_of(job))
    assert saved
    step = int(saved[1])
    assert reached(workdir, step) and "TIME LIMIT" not in log_of(job)
    cluster.wait(lambda: cluster.job(job["job"])["JobState"] == "PENDING", 60)
    cluster.hurry(job["job"])
    cluster.wait(lambda: reached(workdir, step + 1), 90)
    cluster.run("scancel", job["job"])
    end_of(cluster, job["job"])


def test_a_job_that_makes_room_for_another_goes_on_after_it(cluster, submit, alone, tmp_path):
    workdir = tmp_path / "run"
    job = submit("--config=lenet5_digits", f"--workdir={workdir}", "--slurm.exclusive", *LONG)
    cluster.wait(lambda: reached(workdir, 4400), 120)
    other = ("--partition=urgent", "--nodes=2", "--exclusive", "--output=/dev/null")
    cluster.run("sbatch", *other, "--wrap=sleep 1")
    restarted(cluster, job["job"])
    said(cluster, job, "stopped by a signal at step")
    assert end_of(cluster, job["job"])["JobState"] == "COMPLETED", log_of(job)
    check_same(workdir, alone("train", *LONG))


def test_a_canceled_job_saves_and_stays_away(cluster, submit, tmp_path):
    workdir = tmp_path / "run"
    job = submit("--config=lenet5_digits", f"--workdir={workdir}", *LONG)
    cluster.wait(lambda: reached(workdir, 4400), 120)
    cluster.run(*job["cancel"].split())
    assert end_of(cluster, job["job"])["JobState"] == "CANCELLED"
    said(cluster, job, "stopped by a signal at step")
    assert cluster.job(job["job"])["Restarts"] == "0"


def test_what_fails_is_not_tried_again(cluster, submit, tmp_path):
    flags = ("--config.schedule.learning_rate=1e38", "--config.log_every=4")
    job = submit("--config=lenet5_digits", f"--workdir={tmp_path}/run", *SHORT, *flags)
    ended = end_of(cluster, job["job"])
    assert ended["JobState"] == "FAILED" and ended["ExitCode"] == "4:0"
    assert ended["Restarts"] == "0" and "not finite" in log_of(job)


def test_a_sweep_is_an_array_whose_jobs_are_stopped_alone(cluster, submit, alone, tmp_path):
    file, folder = tmp_path / "widths.py", tmp_path / "run"
    file.write_text(SWEEP)
    job = submit(f"--sweep={file}", f"--workdir={folder}", "--jobs=2")
    assert [j["id"] for j in job["jobs"]] == [f"{job['job']}_0", f"{job['job']}_1"]
    cluster.wait(lambda: reached(folder / "width8" / "seed0", 179), 120)
    cluster.run("scancel", "--signal=USR2", job["jobs"][0]["id"])
    restarted(cluster, job["jobs"][0]["id"])
    for each in job["jobs"]:
        assert end_of(cluster, each["id"])["JobState"] == "COMPLETED", Path(
            each["stderr"]
        ).read_text()
    assert "cells trained; saved" in log_of(job)
    undisturbed = alone("sweep", f"--config={file}")
    for name in ("width8", "width9"):
        for seed in (0, 1):
            check_same(folder / name / f"seed{seed}", undisturbed / name / f"seed{seed}")
        assert json.loads((folder / name / "result.json").read_text())["seeds"] == [0, 1]


def test_what_sbatch_gets_is_what_a_dry_run_prints(cluster, submit, tmp_path, monkeypatch, capsys):
    flags = ("--config=lenet5_digits", f"--workdir={tmp_path}/run", *SHORT, "--slurm.begin=now+9")
    printed = submit(*flags, "--dry_run")["script"]
    job = submit(*flags)
    cluster.run("scancel", job["job"])
    assert (tmp_path / "run" / "jobs" / f"{job['job']}_submission.sh").read_text() == printed
    assert cli.main(["submit", *flags, "--slurm.partition=none"]) == 2
    assert capsys.readouterr().err == "error: sbatch: invalid partition specified: none\n"
