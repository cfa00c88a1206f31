"""A new user sees what a training does, can try it quickly, and is told if it learned nothing."""

import json
import time
from pathlib import Path

import pytest

from cnn_archs import cli
from cnn_archs.report import text
from cnn_archs.runtime import console
from cnn_archs.training.status_lines import format_epoch

FEW = ("--config.model.name=mlp", "--config.model.hidden=(3,)", "--config.eval_batch_size=400")


def test_a_training_says_what_it_does_from_its_start_to_its_first_step(tmp_path, capsys):
    arguments = ["train", *FEW, "--config.steps=2", f"--workdir={tmp_path}/run"]
    assert cli.main(arguments) == 0
    lines = capsys.readouterr().err.splitlines()
    lines = [line for line in lines if line != "reading digits"]  # if it takes five seconds
    assert lines[:2] == [
        # 32 x 32 x 3 + 3 and 3 x 10 + 10
        "mlp (3,115 parameters) on digits (1,437 images, 32 at a time) on 1 x cpu, in "
        f"{tmp_path}/run: step 0 of 2",
        "compiling the training step",
    ]
    assert "images/s ?" not in "".join(lines) and "? left" not in "".join(lines)


def test_what_takes_long_is_told_and_nothing_else(monkeypatch, capsys):
    monkeypatch.setattr(console, "SECONDS_PER_LINE", 0.05)
    with console.status_if_slow("reading x"):
        time.sleep(0.5)
    with console.status_in_log(), console.status_if_slow("in the log"):
        time.sleep(0.2)
    with console.status_if_slow("quick"):
        pass
    time.sleep(0.2)
    assert capsys.readouterr().err == "reading x\n"


def test_smoke_makes_three_steps_on_few_images_and_leaves_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", *FEW, "--smoke", "--format=json"]) == 0
    shown = capsys.readouterr()
    result = json.loads(shown.out)
    assert (result["steps"], result["train_eval"]["examples"]) == (3, 3 * 32)
    assert result["test"]["examples"] == 100 and "guessing" not in shown.err
    assert list(tmp_path.iterdir()) == []
    folder = Path(shown.err.split(", in ")[1].split(": step")[0])
    assert folder.name == "run" and not folder.parent.exists()


@pytest.mark.parametrize("count, evaluated", [(7, 7), (40, 40), (355, 360)])
def test_a_training_evaluates_as_many_test_images_as_it_is_told(count, evaluated, tmp_path, capsys):
    arguments = ["train", *FEW, "--config.steps=1", f"--config.eval_examples={count}"]
    assert cli.main([*arguments, f"--workdir={tmp_path}", "--format=json"]) == 0
    assert json.loads(capsys.readouterr().out)["test"]["examples"] == evaluated
    if count == 40:  # the images of the run are as before, and evaluate reads all of them
        assert cli.main(["evaluate", f"--workdir={tmp_path}", "--format=json"]) == 0
        shown = capsys.readouterr()
        assert json.loads(shown.out)["test"]["examples"] == 360 and "note" not in shown.err


@pytest.mark.parametrize(
    "epoch, said",
    [(1.00209, "1"), (0.04448, "0.044"), (12.346, "12.35"), (150.25, "150.25"), (2.0, "2")],
)
def test_an_epoch_is_told_with_few_decimals(epoch, said):
    assert format_epoch(epoch) == said


def result(*errors, epochs=1.0, steps=1000):
    found = {"seeds": list(range(len(errors))), "test": {"top1_error": list(errors)}}
    return {**found, "epochs": epochs, "steps": steps}


@pytest.mark.parametrize(
    "found, classes, note",
    [
        (result(0.9), 10, "the test error is about the 90.00 % that guessing gives"),
        (result(0.8865), 10, "the test error is about the 90.00 % that"),  # always a 1 of MNIST
        (result(0.02, 0.9, 0.91), 10, "the test error of seeds 1 and 2 is about the 90.00 %"),
        (result(0.02, 0.9), 10, "the test error of seed 1 is about the 90.00 %"),
        (result(0.9, 0.9, 0.02, 0.9), 10, "the test error of seeds 0, 1 and 3 is about the 90.00"),
        (result(0.5), 2, "the test error is about the 50.00 %"),
        (result(0.87), 10, ""),
        (result(0.9, epochs=0.5), 10, ""),
    ],
)
def test_a_run_that_learned_nothing_is_told(found, classes, note):
    said = text.guessing_note(found, classes)
    assert said.startswith(note) if note else said == ""


def test_its_remedy_depends_on_the_number_of_steps():
    few, many = (text.guessing_note(result(0.9, steps=n), 10) for n in (20, 1000))
    assert many.endswith("next to nothing; try a lower --config.schedule.learning_rate")
    assert "20 steps are few: train for more --config.epochs" in few and "_rate" not in few
    assert few.endswith("with a lower --config.data.batch_size")


def test_a_network_with_dead_units_ends_with_that_line(tmp_path, capsys):
    knobs = ("--config.epochs=1", "--config.schedule.learning_rate=20", "--config.data.mean=none")
    assert cli.main(["train", *FEW, *knobs, f"--workdir={tmp_path}"]) == 0
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("note: the test error is about the 90.00 % that guessing gives")
