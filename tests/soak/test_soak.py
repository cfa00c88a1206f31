"""The soak: its schedule, what it would notice, and a short run of it with real faults."""

import dataclasses
import json
import shutil
import sys
import time
from typing import get_args

import pytest

from soak import __main__ as command
from soak import compare, disturb, process, schedule, subjects
from soak.episode import Played, Player, to_json
from soak.process import Ended, Running
from soak.scene import Injection
from soak.schedule import Attempt, Damage, Episode, Moment, Signals

# The tests before have started jax. Between fork and exec only system calls are made.
pytestmark = pytest.mark.filterwarnings("ignore:os.fork")

EPISODES = 1500
MANY = [schedule.episode(3, number) for number in range(EPISODES)]
FAULTS = [f for e in MANY for a in e.attempts for f in (a.before, a.during) if f]
GOOD = Ended(0, "", "", hit=True, work=1.0)


def test_a_schedule_is_a_function_of_its_seed_and_any_part_of_it_can_be_had_alone():
    assert [schedule.episode(3, number) for number in reversed(range(EPISODES))] == MANY[::-1]
    assert [schedule.episode(4, number) for number in range(EPISODES)] != MANY
    assert len({repr(e.attempts) for e in MANY}) > 0.98 * EPISODES


def test_every_fault_comes_and_each_episode_has_something_to_resume():
    assert {type(f) for f in FAULTS} == {*get_args(schedule.Before), *get_args(schedule.During)}
    damages = {(f.target, f.how) for f in FAULTS if isinstance(f, Damage)}
    assert damages == {(target, how) for target in schedule.TARGETS for how in schedule.HOWS}
    changes = {f.change for f in FAULTS if isinstance(f, schedule.ChangedData)}
    assert changes == set(schedule.CHANGES)
    signals = {f.names for f in FAULTS if isinstance(f, Signals)}
    assert signals > {(n,) for n in ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")}
    assert {e.subject for e in MANY} == set(schedule.SUBJECTS)
    assert all(isinstance(e.attempts[0].during, Signals) for e in MANY)
    assert {a.command for e in MANY for a in e.attempts} == {"train", "report", "evaluate"}


def test_what_happened_is_told_in_a_table_and_as_json():
    injections = [Injection(f, "survived", 0) for f in FAULTS]
    wrong = Injection(FAULTS[0], "refused", 1, ("it is wrong",))
    played = Played(MANY[0], (*injections, wrong), ("a leaf differs",))
    lines = command.table([played]).splitlines()
    assert len(lines) == 2 + len({schedule.kind(f) for f in FAULTS})
    assert lines[-1].endswith(f"1 x {MANY[0].subject}; 1 differ")
    replays = command.wrong_lines([played], 3)
    assert len(replays) == 2 and all("make soak SOAK='--seed=3 --only=0'" in r for r in replays)
    told = json.loads(json.dumps(to_json(played)))["injections"]
    assert len(told) == len(FAULTS) + 1 and told[-1]["findings"] == ["it is wrong"]
    for fault, entry in zip(FAULTS, told, strict=False):
        assert entry["fault"].pop("fault") == type(fault).__name__
        assert entry["fault"] == json.loads(json.dumps(dataclasses.asdict(fault)))
        assert schedule.describe(fault)


ERROR = "epoch 1: fine\nerror: a file is damaged\n"


@pytest.mark.parametrize(
    "ended, words",
    [
        (dataclasses.replace(GOOD, code=-11), "exit code -11"),
        (dataclasses.replace(GOOD, code=3, stderr="no error line\n"), "0 error lines"),
        (dataclasses.replace(GOOD, code=3, stderr=ERROR + "and more\n"), "last: and more"),
        (dataclasses.replace(GOOD, code=3, stderr=ERROR + ERROR), "2 error lines"),
        (dataclasses.replace(GOOD, stderr="Traceback (most recent call last):\n"), "Traceback"),
        (dataclasses.replace(GOOD, stdout="ValueError: x\n"), "stdout has: ValueError"),
        (dataclasses.replace(GOOD, stderr="Task exception was never retrieved\n"), "never"),
        (dataclasses.replace(GOOD, hung=True, code=-9), "it hangs"),
        (dataclasses.replace(GOOD, left=2), "2 processes live on"),
        (dataclasses.replace(GOOD, second=GOOD), "second start: exit code 0"),
    ],
)
def test_a_bad_end_is_noticed(ended, words):
    assert any(words in complaint for complaint in process.complaints(ended, (0, 3)))


def test_a_promised_end_is_not_complained_of():
    refused = dataclasses.replace(GOOD, code=3, stderr=ERROR)
    second = dataclasses.replace(GOOD, code=2, stderr="error: in use\n")
    for ended in (GOOD, refused, dataclasses.replace(GOOD, second=second)):
        assert process.complaints(ended, (0, 3)) == []


@pytest.fixture
def runs(tmp_path):
    """Return two folders of the same finished run, with just enough in them."""
    for name in ("run", "reference"):
        step = tmp_path / name / "checkpoints" / "60"
        (step / "notes").mkdir(parents=True)
        digests = {"variables": {"['params']": 1}, "training": {"['window']": 2}}
        (step / "notes" / "metadata").write_text(json.dumps({"digests": digests}))
        sha = process_sha(step / "notes" / "metadata")
        (step / "sha256.json").write_text(json.dumps({"notes/metadata": sha}))
        (tmp_path / name / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n')
        result = {"test": {"top1_error": [0.1]}, "seconds": 1.0, "made": [{"command": [name]}]}
        (tmp_path / name / "result.json").write_text(json.dumps(result))
    return tmp_path / "run", tmp_path / "reference"


def process_sha(path):
    return compare.snapshot(path.parent)[path.name]


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_equal_runs_are_equal_whatever_times_they_took(runs):
    run, reference = runs
    edit(run / "result.json", '"seconds": 1.0', '"seconds": 2.0')
    edit(run / "metrics.jsonl", '{"step": 1}', '{"step": 1, "time": 1700000000.5}')
    assert compare.differences(run, reference) == []


@pytest.mark.parametrize(
    "name, old, new, words",
    [
        ("metrics.jsonl", '{"step": 2}\n', "", "metrics.jsonl lacks 1 of 2 lines"),
        ("metrics.jsonl", "2", "3", "metrics.jsonl has other lines"),
        ("metrics.jsonl", '{"step": 1}\n', '{"step": 1}\n' * 2, "metrics.jsonl has other lines"),
        ("result.json", "0.1", "0.2", "test of result.json differs"),
        ("checkpoints/60/notes/metadata", '"variables"', '"weights"', "is not as it was written"),
        ("checkpoints/60/notes/metadata", ": 1", ": 9", "variables['params'] of step 60 differs"),
    ],
)
def test_a_difference_is_noticed(name, old, new, words, runs):
    run, reference = runs
    edit(run / name, old, new)
    found = compare.differences(run, reference)
    assert any(words in difference for difference in found), found


def test_what_is_missing_or_left_is_noticed(runs):
    run, reference = runs
    (run / ".result.json.host.1.part").touch()
    assert compare.differences(run, reference) == [".result.json.host.1.part is left"]
    (run / "result.json").unlink()
    shutil.rmtree(run / "checkpoints")
    found = compare.differences(run, reference)
    assert found[:2] == ["there is no checkpoint", "there is no result.json"]


def test_lines_may_be_lost_where_a_log_was_damaged_but_not_changed(runs):
    run, reference = runs
    edit(run / "metrics.jsonl", '{"step": 1}\n', "")
    assert compare.differences(run, reference, lost_lines=True) == []
    edit(run / "metrics.jsonl", "2", "3")
    assert compare.differences(run, reference, lost_lines=True) != []


@pytest.mark.parametrize("how", schedule.HOWS)
@pytest.mark.parametrize("target", ["metrics", "checkpoint", "older checkpoint"])
def test_damage_changes_the_file_that_it_names(target, how, runs):
    run, _ = runs
    shutil.copytree(run / "checkpoints" / "60", run / "checkpoints" / "9")
    before = compare.snapshot(run)
    changed = disturb.apply_damage(Damage(target, how, 0.7, 0.4), [run])
    after = compare.snapshot(run)
    names = [p.relative_to(run).as_posix() for p in changed]
    assert len(names) == 1 and {n for n in before if before[n] != after.get(n)} == set(names)
    step = {"checkpoint": "checkpoints/60/", "older checkpoint": "checkpoints/9/"}
    assert names[0].startswith(step.get(target, "metrics.jsonl"))
    if how == "flip" and names[0].endswith(("json", "jsonl")):
        with pytest.raises(UnicodeDecodeError):  # no reader can miss it
            changed[0].read_text(encoding="utf-8")


@pytest.mark.parametrize("change", schedule.CHANGES)
def test_each_change_of_images_changes_names_or_sizes(change, tmp_path):
    subjects.prepare(tmp_path)

    def listing():
        images = subjects.images_of(tmp_path)
        return {str(p): p.stat().st_size for p in images.rglob("*") if p.is_file()}

    before = listing()
    disturb.change_images(change, 0.4, tmp_path)
    assert listing() != before


def test_a_disk_can_be_full_and_have_room_again(tmp_path):
    disk = disturb.SmallDisk(tmp_path / "disk")
    try:
        if not disk.mounted:
            assert disk.leave(5000) == 5000  # then commands get a limit instead
            return
        assert disk.leave(40_000) == 0
        with pytest.raises(OSError, match="No space left"):
            (disk.folder / "file").write_bytes(bytes(80_000))
        disk.make_room()
        (disk.folder / "file").write_bytes(bytes(80_000))
    finally:
        disk.remove()
    assert not disk.folder.exists()


def test_a_command_that_is_idle_hangs_and_what_it_started_is_found(tmp_path, monkeypatch):
    """A process in place of a command: it starts another, which outlives it, and sleeps."""
    (tmp_path / "launch.py").write_text(
        "import subprocess, sys, time\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "time.sleep(60)\n"
    )
    monkeypatch.setattr(process, "ROOT", tmp_path)
    monkeypatch.setattr(process, "IDLE_SECONDS", 1.0)
    monkeypatch.setattr(process, "PATIENCE", 0.1)
    started = time.monotonic()
    ended = Running([], tmp_path / "output").end(hit=True)
    assert ended.hung and ended.left == 1 and time.monotonic() - started < 30


def test_a_file_without_permissions_cannot_be_read_by_commands_not_even_as_root(
    tmp_path, monkeypatch
):
    secret = tmp_path / "secret"
    secret.write_text("x")
    show = disturb.hide([secret])
    (tmp_path / "launch.py").write_text("import sys; open(sys.argv[1]).read()\n")
    monkeypatch.setattr(process, "ROOT", tmp_path)
    ended = Running([str(secret)], tmp_path / "output").end(hit=True)
    assert ended.code == 1 and "PermissionError" in ended.stderr
    show()
    assert Running([str(secret)], tmp_path / "output").end(hit=True).code == 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the soak reads /proc")
def test_the_short_run(tmp_path, monkeypatch, capsys):
    """One episode: killed in a save, then started with a flipped bit in the newest checkpoint."""
    monkeypatch.setenv("PYTHONPATH", str(process.ROOT / "tests" / "without"))  # no torch
    killed = Attempt(during=Signals(("SIGKILL",), Moment(0.0, "save", nth=4)))
    flipped = Attempt(before=Damage("checkpoint", "flip", 0.4, 0.5))
    player = Player(tmp_path / "home", command.say, brief=True)
    played = player.play(Episode(0, "digits", (killed, flipped)))
    assert played.findings() == []
    assert [i.code for i in played.injections] == [-9, 0]
    assert all(i.effect == "survived" for i in played.injections)
    assert "0 digits: SIGKILL in save 4 from 0% on: survived" in capsys.readouterr().err
