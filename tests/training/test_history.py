"""The history of a run is saved with it and listed in its result; changes are reported."""

import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path

import pytest

from cnn_archs import cli
from cnn_archs.training import history, loop

ROOT = Path(__file__).resolve().parent.parent.parent
MLP = ("--config=lenet5_digits", "--config.model.name=mlp", "--config.model.hidden=(8,)")
SAID = "with other software or hardware"


@pytest.fixture
def train(tmp_path, monkeypatch, capfd):
    """Return train(steps, **changed facts) -> (parts in its result, lines that report a change)."""
    environment = loop.describe_environment

    def run(steps, **otherwise):
        monkeypatch.setattr(loop, "describe_environment", lambda _: {**environment(), **otherwise})
        flags = (f"--workdir={tmp_path}/run", f"--config.steps={steps}")
        assert cli.main(["train", *MLP, *flags]) == 0
        said = [line for line in capfd.readouterr().err.splitlines() if SAID in line]
        made = json.loads((tmp_path / "run" / "result.json").read_text())["made"]
        return made["parts"], said

    return run


def test_a_run_of_one_process_has_one_part_that_says_what_made_it(train):
    (part,), said = train(5)
    head = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    assert part["first_step"] == 0 and part["git_commit"].rstrip("+") == head
    assert part["jax"] == importlib.metadata.version("jax")
    assert part["jaxlib"] == importlib.metadata.version("jaxlib")
    assert part["python"] == platform.python_version() and part["backend"] == "cpu"
    assert part["cpus"] == len(os.sched_getaffinity(0)) and part["processor"]
    assert not said


@pytest.mark.slow
def test_a_process_that_is_as_the_last_goes_on_with_its_part(train):
    first, _ = train(5)
    assert train(9) == (first, [])


@pytest.mark.slow
def test_another_commit_or_number_of_cores_begins_a_part_and_is_said_once(train):
    (first,), _ = train(5, git_commit="a", cpus=1)
    parts, said = train(9, git_commit="b", cpus=2)
    assert parts == [first, {**first, "first_step": 5, "git_commit": "b", "cpus": 2}]
    assert said == [
        f"this run resumes at step 5 {SAID} (git_commit a -> b, cpus 1 -> 2): its results may "
        "not be bit for bit those of a run that was never stopped"
    ]
    parts, said = train(12, git_commit="b", cpus=1)  # compared with the last part, not the first
    assert [p["first_step"] for p in parts] == [0, 5, 9] and "(cpus 2 -> 1)" in said[0]


def test_a_run_that_is_at_its_end_has_no_part_of_who_evaluates_it_again(train):
    first, _ = train(5, git_commit="a")
    assert train(5, git_commit="b") == (first, [])


@pytest.mark.slow
def test_the_first_part_of_a_run_that_kept_none_is_unknown(train, tmp_path):
    train(5)
    saved = tmp_path / "run" / "checkpoints" / "5"
    notes = json.loads((saved / "notes" / "metadata").read_text())
    assert notes.pop("parts")
    (saved / "notes" / "metadata").write_text(json.dumps(notes))
    (saved / "sha256.json").unlink()  # which has the digest of that file
    parts, (said,) = train(9, git_commit="b")
    assert parts[0] == {"first_step": 0, "git_commit": "unknown"}
    assert (parts[1]["first_step"], parts[1]["git_commit"]) == (5, "b") and len(parts) == 2
    assert "git_commit unknown -> b" in said


def test_runs_that_are_trained_together_keep_their_own_parts(capsys):
    facts = dict.fromkeys(history.FACTS, 1)
    old, new = {"first_step": 0, **facts}, {"first_step": 5, **facts, "cpus": 2}
    other = {"first_step": 3, **facts, "cpus": 2}
    found = history.extend_histories([[], [old], [old, other]], new, [[], [], []])
    assert found == [[new], [old, new], [old, other]]
    assert capsys.readouterr().err.count("cpus 1 -> 2") == 1
