"""Compilation and steady steps are counted apart: in a run, its checkpoints and its result."""

import time
from typing import Any

import pytest

from cnn_archs import config
from cnn_archs.experiment import resolve
from cnn_archs.run_dir import RunDir
from cnn_archs.runtime import progress
from cnn_archs.runtime.progress import ProgressLine
from cnn_archs.training import build, loop
from cnn_archs.training.step_times import MAX_CALL_SECONDS, StepTimes

FEW = ("model.name=mlp", "model.hidden=(3,)", "data.batch_size=100", "eval_batch_size=400")
COMPILING = 0.5


def experiment(*more):
    return resolve(config.load_config("lenet5_digits", [*FEW, *more]))


def test_the_first_call_of_each_program_is_compilation():
    times = StepTimes()
    times.count("part", 1, 20.0)
    assert times.call_length(100) == 1 and times.steps_per_second(1) == 1 / 20
    times.count("part", 1, 0.0078125)
    assert times.call_length(100) == 100 and times.call_length(1000) == MAX_CALL_SECONDS * 128
    times.count("whole", 100, 30.0)
    assert times.call_length(100) == 100  # what it compiled is no reason to make short calls
    times.count("whole", 100, 1.0)
    assert (times.seconds, times.compile_seconds, times.compile_steps) == (51.0078125, 50.0, 101)
    assert times.steps_per_second(202) == pytest.approx(101 / 1.0078125)
    resumed = StepTimes.of_members([times.notes(0.75), times.notes(0.25)])
    resumed.count("whole", 100, 9.0)
    assert resumed.compile_seconds == pytest.approx(59) and resumed.compile_steps == 201
    assert resumed.steps_per_second(302) == pytest.approx(101 / 1.0078125)
    older = StepTimes.of_members([{"seconds": 3.0}])
    assert older.steps_per_second(6) == 2.0 and older.call_length(100) == 1


def test_the_seconds_of_steps_in_flight_are_those_until_the_last_has_ended():
    times = StepTimes()
    for begun, ended, running in ((0.0, 5.0, False), (7.0, 7.5, True), (8.0, 9.0, True)):
        times.start(begun)
        times.count("part", 1, times.lap(ended, running=running))
    assert times.seconds == 5.0 + (9.0 - 7.0)
    times.seconds += times.lap(9.5, running=False)
    assert times.seconds == 5.0 + (9.5 - 7.0)
    assert times.lap(20.0, running=False) == 0.0  # nothing has run since


def slow_first_call(monkeypatch):
    """Let the first call of each trainer's step take COMPILING seconds more."""
    make_steps = build.make_steps

    def made(*arguments: Any):
        step, evaluation = make_steps(*arguments)
        calls: list[int] = []

        def slow(*arguments: Any):
            if not calls:
                time.sleep(COMPILING)
            calls.append(1)
            return step(*arguments)

        return slow, evaluation

    monkeypatch.setattr(build, "make_steps", made)


@pytest.mark.slow
def test_a_result_has_both_and_a_resumed_run_adds_its_own(tmp_path, monkeypatch):
    slow_first_call(monkeypatch)
    first = loop.train(experiment("steps=20"), tmp_path)
    assert COMPILING <= first["compile_seconds"] <= first["seconds"]
    steady = first["seconds"] - first["compile_seconds"]
    assert first["images_per_second"] == pytest.approx(19 * 100 / steady)
    assert first["images_per_second"] > 20 * 100 / first["seconds"]
    assert RunDir(tmp_path).result() == first
    second = loop.train(experiment("steps=40"), tmp_path)
    assert second["compile_seconds"] >= first["compile_seconds"] + COMPILING
    steady = second["seconds"] - second["compile_seconds"]
    assert second["images_per_second"] == pytest.approx(38 * 100 / steady)


def test_progress_is_of_the_steady_steps_and_long_compilations_are_told(monkeypatch, capsys):
    now = [0.0]
    line = ProgressLine(1000, 10, 0, now=lambda: now[0])
    now[0] = 60.0
    line.tick(1, 1, 60.0)
    now[0] = 62.0
    line.tick(101, 0, 0.0)
    assert line.images_per_second(101) == 10 * 100 / 2.0
    now[0] = 72.0
    line.tick(201, 100, 10.0)  # another program
    assert line.images_per_second(201) == 10 * 100 / 2.0
    line.tick(202, 0, progress.SECONDS_PER_LINE - 0.1)
    assert capsys.readouterr().err.splitlines() == ["compiled in 60 s", "compiled in 10 s"]
