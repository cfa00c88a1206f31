"""A trace has exactly the steps of its window, and what XLA ran in them."""

import dataclasses
import json
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from cnn_archs import config as configs
from cnn_archs.errors import Stopped
from cnn_archs.experiment import resolve
from cnn_archs.report.text import files_table
from cnn_archs.runtime.signals import stop_requests
from cnn_archs.training import loop
from cnn_archs.training.profiler import StepTrace
from cnn_archs.training.trainer import Trainer


def experiment(*more):
    few = ["data.batch_size=100", "eval_batch_size=400", "model.hidden=(3,)"]
    return resolve(configs.load_config("lenet5_digits", ["model.name=mlp", *few, *more]))


def traces(workdir):
    """Return ({step: [start, end]}, [[name of what XLA ran, start]]), in ns, for each trace."""
    script = Path(__file__).with_name("traced.py")
    done = subprocess.run([sys.executable, script, workdir], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2_000:]
    found = json.loads(done.stdout)
    return [({int(k): v for k, v in x["steps"].items()}, x["ran"]) for x in found]


def test_a_trace_has_the_steps_asked_for_and_what_xla_ran_in_each(tmp_path, capsys):
    loop.train(experiment("steps=5", "profile=(2,4)"), tmp_path)
    ((steps, ran),) = traces(tmp_path)
    assert sorted(steps) == [2, 3]
    for start, end in steps.values():
        assert any("dot" in name and start <= at <= end for name, at in ran)
    assert "profile: nothing" not in capsys.readouterr().err
    assert str(tmp_path / "profile") in files_table(tmp_path)


def test_a_window_that_the_run_does_not_reach_is_told(tmp_path, capsys):
    nothing = "profile: no step is traced, since this run makes only steps"
    loop.train(experiment("steps=2", "profile=(6,9)"), tmp_path)
    assert f"{nothing} 0 to 1\n" in capsys.readouterr().err
    assert not (tmp_path / "profile").exists()
    trace = StepTrace(range(10, 20), tmp_path)
    assert trace.misses_all(20, 30)  # the run resumes after the window
    assert trace.misses_all(0, 10)  # the run ends before it
    assert not trace.misses_all(19, 30) and not trace.misses_all(0, 11)


def test_what_was_traced_is_kept_when_a_signal_ends_the_run(tmp_path, monkeypatch):
    original = Trainer.run_steps

    def told(run, clock):
        original(run, clock)
        if run.step == 2:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Trainer, "run_steps", told)
    with stop_requests() as stop, pytest.raises(Stopped):
        loop.train(experiment("steps=4", "profile=(1,6)"), tmp_path, stop=stop)
    assert [sorted(steps) for steps, _ in traces(tmp_path)] == [[1]]


def test_a_step_that_is_traced_is_a_dispatch_of_its_own():
    """On accelerators, one call makes many steps otherwise."""
    required = [f.name for f in dataclasses.fields(Trainer) if f.default is dataclasses.MISSING]
    fields: dict[str, Any] = dict.fromkeys(required)
    settings = dict(
        total_steps=1000,
        seed_slices=(),
        profiled_steps=range(10, 13),
        periods={"log": Fraction(100)},
    )
    run = Trainer(**fields | settings)
    reached = [run.profile_limit()]
    while reached[-1] < run.total_steps:
        run.step = reached[-1]
        reached.append(run.profile_limit())
    assert reached == [10, 11, 12, 13, 1000]
