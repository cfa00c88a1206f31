"""Each command names a damaged file of a run in an error of one line."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import cnn_archs
from cnn_archs import cli
from cnn_archs.errors import ConfigError, DataError
from cnn_archs.run_dir import RunDir
from cnn_archs.sweep_dir import SweepDir
from cnn_archs.sweeps import grid, sweep_file, worker

KEYS = (
    *("model.name=mlp", "model.hidden=(4,)", "steps=2", "diagnose_every=1.0"),
    *("data.mean=pixel", "eval_batch_size=360"),
)
SWEEP = f"""
def get_sweep():
    cell = ["lenet5_digits", *{KEYS}]
    return dict(title="t", seeds=1, cells=dict(small=cell), after=["robustness"])
"""
RUN = "sweep/small/seed0"
SAME = ("--config=lenet5_digits", *(f"--config.{key}" for key in KEYS))
COMMANDS = {
    "claims": ("claims", "--results=results"),
    "dry run": ("sweep", "--config=grid.py", "--workdir=sweep", "--dry_run"),
    "ensemble": ("evaluate", f"--workdir=other,{RUN}"),
    "evaluate": ("evaluate", f"--workdir={RUN}"),
    "export": ("export", f"--workdir={RUN}", "--output=weights.safetensors"),
    "figures": ("figures", f"--workdir={RUN}"),
    "plan": ("plan", *SAME, f"--workdir={RUN}"),
    "predict": ("predict", f"--workdir={RUN}", "image.png"),
    "report": ("report", RUN),
    "report of a result": ("report", "results/mnist/lenet5.json"),
    "report of the sweep": ("report", "sweep"),
    "robustness": ("evaluate", "--robustness", f"--workdir={RUN}"),
    "submit": ("submit", *SAME, f"--workdir={RUN}", "--dry_run"),
    "submit of the sweep": ("submit", "--sweep=grid.py", "--workdir=sweep", "--dry_run"),
    "sweep": ("sweep", "--config=grid.py", "--workdir=sweep"),
    "train": ("train", *SAME, f"--workdir={RUN}"),
    "warm start": ("train", *SAME, f"--config.warm_start.workdir={RUN}", "--workdir=new"),
}
SWEEPS = ("dry run", "report", "report of the sweep", "submit of the sweep", "sweep")
READERS = {  # file -> the commands that read it
    f"{RUN}/config.json": (
        *SWEEPS,
        *("ensemble", "evaluate", "export", "figures", "predict", "robustness", "submit"),
        *("train", "warm start"),
    ),
    f"{RUN}/result.json": (*SWEEPS, "plan"),
    f"{RUN}/robustness.json": SWEEPS,
    f"{RUN}/statistics.npz": (
        *("ensemble", "evaluate", "figures", "predict", "robustness", "train"),
    ),
    "sweep/sweep.json": ("report of the sweep",),
    "results/mnist/lenet5.json": ("claims", "report of a result"),
}
PAIRS = [(file, command) for file, commands in READERS.items() for command in commands]
DAMAGES = {
    "cut": lambda content: content[len(content) // 3 :],
    "no UTF-8": lambda content: b"\xff\xfe" + content,
    "a list": lambda content: b"[1]\n",
    "empty": lambda content: b"",
    "zeros": lambda content: bytes(len(content)),
    "an archive": lambda content: b"PK\x03\x04" + content[: len(content) // 2],
    "deep": lambda content: b"[" * 100_000,
    "not a number": lambda content: b'{"name": NaN}',
}
LOGS = ("metrics.jsonl", "diagnostics.jsonl")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Make a folder with a finished sweep of one cell and a copied result in results/mnist."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "grid.py").write_text(SWEEP)
    stated = sweep_file.load_sweep(str(folder / "grid.py"))
    (cell,) = grid.list_cells(stated, folder / "sweep")
    names = ("experiment", "overrides", "after")
    worker.train_cells([{n: getattr(cell, n) for n in names} | {"workdir": str(cell.run.path)}])
    SweepDir(folder / "sweep").write_spec(stated)
    shutil.copytree(folder / RUN, folder / "other")
    (folder / "results" / "mnist").mkdir(parents=True)
    shutil.copy(folder / RUN / "result.json", folder / "results" / "mnist" / "lenet5.json")
    Image.new("L", (8, 8)).save(folder / "image.png")
    return folder


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    """Change to a copy of the folder `made`."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)


def error_of(capsys, command: str) -> str:
    """Return the one line with which a command ends on damaged data."""
    assert cli.main(COMMANDS[command]) == 3
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1, err
    return err


# Each pair has one kind of damage, and `make test-slow` all of them.
FAULTS = [
    pytest.param(*pair, damage, marks=() if (i - k) % len(DAMAGES) == 0 else pytest.mark.slow)
    for i, pair in enumerate(PAIRS)
    for k, damage in enumerate(DAMAGES)
]


@pytest.mark.parametrize("file, command, damage", FAULTS)
def test_a_damaged_file_is_one_line_that_names_it(file, command, damage, here, capsys):
    if command == "train":  # else it is finished, and its result is printed
        RunDir(Path(RUN)).remove_result()
    path = Path(file)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    assert f"{file} is damaged: " in error_of(capsys, command)


# The others take long, or do not know this network.
SOUND = [c for c in COMMANDS if c not in ("claims", "export", "plan")]


@pytest.mark.parametrize("command", SOUND)
def test_a_sound_folder_is_read_by_each_command(command, here):
    code = 2 if command == "submit of the sweep" else 0  # all of it is trained
    assert cli.main(COMMANDS[command]) == code


WANTED = {
    "config.json": ("data", "model"),
    "result.json": (
        *("dataset", "images_per_second", "macs", "name", "params", "protocol", "seconds"),
        *("seeds", "steps", "test"),
    ),
}


@pytest.mark.parametrize("value", ["missing", "null"])
@pytest.mark.parametrize("file, key", [(f, k) for f, keys in WANTED.items() for k in keys])
def test_a_key_that_is_missing_or_of_another_type_is_named(file, key, value, here, capsys):
    path = Path(RUN) / file
    tree = json.loads(path.read_text())
    assert key in tree
    tree[key] = None
    if value == "missing":
        del tree[key]
    path.write_text(json.dumps(tree))
    said = {"missing": f"it has no {key}", "null": f"{key} is None"}[value]
    assert error_of(capsys, "report") == f"error: {path} is damaged: {said}\n"


def places(tree, path=()):
    """Yield the path of each value in a tree of JSON, of lists only the first element."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree[:1])
    for key, value in items:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


VALUES: tuple[Any, ...] = (None, True, -1, 0, 10**30, 2.5, "x", [], [None], {}, {"x": []})
REPORTED = ("config.json", "environment.json", "result.json", "robustness.json", "../../sweep.json")


def damages(tree, dice, count):
    """Yield (what was done, copy of `tree` with one value replaced or missing)."""
    every = list(places(tree))
    for _ in range(count):
        path, copy = dice.choice(every), json.loads(json.dumps(tree))
        inner = copy
        for key in path[:-1]:
            inner = inner[key]
        value = dice.choice([*VALUES, "missing"])
        if value == "missing" and isinstance(inner, dict):
            del inner[path[-1]]
        else:
            inner[path[-1]] = value
        yield f"{'.'.join(map(str, path))} is {value!r}", copy


@pytest.mark.parametrize("count", [4, pytest.param(150, marks=pytest.mark.slow)])
@pytest.mark.parametrize("file", REPORTED)
def test_a_report_of_any_other_value_is_made_or_is_one_line(file, count, here, capsys):
    if file == "environment.json":
        RunDir(Path(RUN)).remove_result()
    path, wrong = Path(RUN) / file, []
    whole = path.read_text()
    for said, tree in damages(json.loads(whole), random.Random(file), count):
        path.write_text(json.dumps(tree))
        try:
            code = cli.main(["report", "sweep"])
        except Exception as e:
            wrong.append(f"{said}: {type(e).__name__}: {e}")
            continue
        err = capsys.readouterr().err
        if (
            code not in (0, 3)
            or err.count("\n") != (code == 3)
            or code == 3
            and path.name not in err
        ):
            wrong.append(f"{said}: {code}, {err}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("command", ["report", "report of the sweep", "train"])
@pytest.mark.parametrize("log", LOGS)
def test_of_a_damaged_log_the_sound_lines_are_read_and_the_loss_is_said(log, command, here, capsys):
    path = Path(RUN) / log
    first, *others = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + b"\0" * 50 + b"\n" + b"".join(others) + first[:20])
    if command == "train":
        RunDir(Path(RUN)).remove_result()
    assert cli.main(COMMANDS[command]) == 0
    count = len(others) + 3
    said = f"2 of {count} lines are damaged or cut off (lines 2 to {count}) and are left out"
    assert capsys.readouterr().err.splitlines().count(f"{path}: {said}") == 1
    kept = [first, *others] if command == "train" else None
    assert kept is None or path.read_bytes() == b"".join(kept)


def test_checkpoints_without_their_config_are_refused(here, capsys):
    (Path(RUN) / "config.json").unlink()
    before = {path: path.stat().st_mtime_ns for path in Path(RUN).rglob("*") if path.is_file()}
    for command in ("ensemble", "evaluate", "export", "figures", "predict", "robustness", "train"):
        error = error_of(capsys, command)
        assert f"{RUN} has checkpoints but no config.json" in error, command
    assert {p: p.stat().st_mtime_ns for p in Path(RUN).rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("key", ["title", "seeds", "cells"])
def test_a_sweep_without_what_it_is_of_is_damaged(key, here, capsys):
    stated = json.loads(Path("sweep/sweep.json").read_text())
    del stated[key]
    Path("sweep/sweep.json").write_text(json.dumps(stated))
    error = error_of(capsys, "report of the sweep")
    assert error == f"error: sweep/sweep.json is damaged: it has no {key}\n"


TRIES = '{"error": "e", "code": 4, "tries": "2"}'


@pytest.mark.parametrize("command", ["dry run", "report", "sweep"])
@pytest.mark.parametrize("content", ["{", '{"code": 4}', '{"error": "e", "code": "4"}', TRIES])
def test_a_damaged_note_of_a_failure_is_named(content, command, here, capsys):
    RunDir(Path(RUN)).remove_result()
    (Path(RUN) / "failed.json").write_text(content)
    assert f"{RUN}/failed.json is damaged: " in error_of(capsys, command)


def test_what_cannot_be_merged_is_named(here, capsys):
    result = json.loads((Path(RUN) / "result.json").read_text())
    del result["made"]
    (Path(RUN) / "result.json").write_text(json.dumps(result))
    assert cli.main(COMMANDS["sweep"]) == 3
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "error: sweep/small is damaged: KeyError: 'made'"


def test_a_damaged_run_cannot_be_loaded(here):
    (Path(RUN) / "config.json").write_text("{}")
    with pytest.raises(DataError, match=f"^{RUN}/config.json is damaged: "):
        cnn_archs.load(RUN)
    shutil.rmtree(Path(RUN) / "checkpoints")
    (Path(RUN) / "config.json").unlink()
    with pytest.raises(ConfigError, match=r"^there is no run in .*seed0 \(no config.json\)$"):
        cnn_archs.load(RUN)


def test_a_folder_without_a_run_is_empty_to_each_reader(tmp_path):
    run = RunDir(tmp_path / "none")
    assert not (run.has_config() or run.has_checkpoints() or run.has_result())
    assert run.metrics() == run.diagnostics() == run.contents() == []
    assert run.environment() == {} and run.failure() is None and run.filters() == b""
    assert run.newest_step() == 0
    with pytest.raises(DataError, match=r"^cannot read .*result\.json: No such file"):
        run.result()


def test_what_was_written_is_read_back(tmp_path):
    run = RunDir(tmp_path / "cell" / "seed3")
    run.write_failure({"error": "the loss is not finite", "code": 4, "tries": 1})
    assert run.failure() == {"error": "the loss is not finite", "code": 4, "tries": 1}
    run.remove_failure()
    assert run.failure() is None
    found = {"shift": {"unit": "pixels", "amounts": [1.0], "top1_error": [[0.5]]}}
    run.write_evaluation("robustness", found)
    assert run.has_evaluation("robustness") and run.evaluation("robustness") == found
    errors = dict(top1_error=0.5, examples=10)
    run.metrics_file.write_text(
        "".join(
            json.dumps(dict(step=1, split=s, seed=0, epoch=0.5, loss=1.0, **errors)) + "\n"
            for s in ("train", "test")
        )
    )
    assert [line["split"] for line in run.metrics()] == ["train", "test"]
    for step in ("8", "24", "damaged-32"):
        (run.checkpoints / step).mkdir(parents=True)
    assert run.newest_step() == 24
    sweep = SweepDir(tmp_path)
    assert sweep.run("cell", 3) == run
    assert [r.path.name for r in sweep.runs("cell", 2)] == ["seed0", "seed1", "seed3"]


def test_the_parts_of_a_sweep_are_locked_one_by_one(tmp_path):
    sweep = SweepDir(tmp_path)
    with sweep.lock(0, 2), sweep.lock(1, 2):
        assert sweep.other_locks(2) == []
        assert {path.name for path in sweep.other_locks(12)} == {"part0of2.lock", "part1of2.lock"}
        with pytest.raises(ConfigError, match="in use by process"), sweep.lock(1, 2):
            pass
