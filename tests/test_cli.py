"""A mistake of the user is one line that names the thing and the remedy, and an exit code."""

import json
import os
import re
import resource
import shutil
import time
from pathlib import Path

import pytest

from cnn_archs import cli, errors
from cnn_archs.planning.devices import find_device
from cnn_archs.run_dir import RunDir


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A current folder of its own: a run without --workdir lands there."""
    monkeypatch.chdir(tmp_path)


# Wrong command lines, and what their error says.
WRONG: dict[str, tuple[str, ...]] = {
    "": ("COMMAND", "--help"),
    "trian": ("'trian'", "did you mean 'train'?"),
    "frobnicate": ("'frobnicate'", "choose one of train, evaluate,"),
    "train --workdri=x": ("--workdri=x", "did you mean --workdir=x?", "cnn-archs train --help"),
    "train --work_dir=x": ("did you mean --workdir=x?",),
    "train --data_dir=scans": ("did you mean --config.data.data_dir=scans?",),
    "train --learning-rate 0.1": ("did you mean --config.schedule.learning_rate?",),
    "train --lr=0.1": ("did you mean --config.schedule.learning_rate=0.1?",),
    "train --epoch=2": ("did you mean --config.epochs=2?",),
    "train --zzzz=1": ("unrecognized arguments: --zzzz=1 (see cnn-archs train --help)",),
    "predict a.png --topk=3": ("did you mean --top=3?", "cnn-archs predict --help"),
    "evaluate --datadir=x": ("did you mean --data_dir=x?", "cnn-archs evaluate --help"),
    "sweep --config=degradation --epochs=2": ("did you mean --config.epochs=2?",),
    "train --format=xml": ("--format", "'xml'", "json"),
    "train --format=jsn": ("did you mean 'json'?",),
    "train surplus": ("surplus",),
    "train --config.epoch=3": ("'epoch'", "did you mean 'epochs'?"),
    "train --config.schedule.learning_rat=3": ("did you mean 'schedule.learning_rate'?",),
    "train --config.optimzer.name=adam": ("did you mean 'optimizer.name'?",),
    "train --config.optimizer.learning_rate=3": ("did you mean 'schedule.learning_rate'?",),
    "train --config.batch_size=3": ("did you mean 'data.batch_size'?",),
    "train --config.learning_rate=3": ("did you mean 'schedule.learning_rate'?",),
    "train --config.epochs": ("--config.epochs", "--config.key=value"),
    "train --config.epochs 3": ("did you mean --config.epochs=3?",),
    "train --config.epochs=many": ("--config.epochs=many", "must be a number"),
    "train --config.steps=1.5": ("--config.steps=1.5", "a whole number"),
    "train --config.deterministic=perhaps": ("--config.deterministic=perhaps", "true or false"),
    "train --config.data.pixel_range=(0,'a')": ("--config.data.pixel_range", "must be 2 values"),
    "train --config.data=digits": ("--config.data", "section"),
    "train --config.model.name=lenet": ("'lenet'", "did you mean 'lenet5'?"),
    "train --config.model.depth=3": ("'model.depth'",),
    "train --config.optimizer.name=momentun": ("'momentun'", "did you mean 'momentum'?"),
    "train --config.schedule.name=constnat": ("'constnat'", "did you mean 'constant'?"),
    "train --config.data.name=digit": ("'digit'", "did you mean 'digits'?"),
    "train --config.data.name=fashion_mnits": ("did you mean 'fashion_mnist'?",),
    "train --config.model.name=inception_module": ("inception_module", "is no classifier"),
    "train --config.data.batch_size=0": ("--config.data.batch_size=0", "from 1 to 1000000"),
    "train --config.model.num_classes=9": ("num_classes", "9 outputs", "=10"),
    "train --config.steps=-1": ("--config.steps=-1", "from 0"),
    "train --config.epochs=0": ("--config.epochs",),
    "train --config.schedule.boundaries=(1,2)": ("boundaries", "factors"),
    "train --config.schedule.unit=day": ("day", "epoch"),
    "train --config.matmul_precision=hi": ("matmul_precision", "default, high or highest"),
    "train --config=experiments/none.py": ("there is no file experiments/none.py",),
    "train --config=lenet5_digit": ("did you mean 'lenet5_digits'?",),
    "train --config=lenet5_digits:x": ("'x'", "lenet5_digits"),
    "train --workdir=/proc/none": ("/proc/none",),
    "train --workdir=file/run": ("file",),
    "evaluate": ("--workdir",),
    "evaluate --workdir=none": ("none", "config.json"),
    "evaluate --workdir=none --config.epochs=3": ("--config.epochs",),
    "predict --workdir=none a.png": ("a.png",),
    "summarize --config.model.nmae=x": ("did you mean 'model.name'?",),
    "prepare": ("DATASET",),
}


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(line, error_of):
    Path("file").write_text("not a folder")
    before = time.process_time()
    message = error_of(2, *line.split())
    assert all(word in message for word in WRONG[line]), message
    assert time.process_time() - before < 5
    assert {p.name for p in Path().iterdir()} <= {"file", "runs"}


def test_an_experiment_that_is_broken_is_named(error_of):
    Path("mine.py").write_text("from nowhere import base\n")
    message = error_of(2, "train", "--config=mine.py")
    assert "mine.py" in message and "nowhere" in message
    Path("mine.py").write_text("def get_config():\n    return 1 / 0\n")
    assert "mine.py" in error_of(2, "train", "--config=mine.py")
    Path("mine.py").write_text("")
    assert "get_config" in error_of(2, "train", "--config=mine.py")


def test_a_run_that_is_in_use_is_named_with_its_holder(error_of):
    Path("run").mkdir()
    with RunDir(Path("run")).lock():
        message = error_of(2, "train", "--workdir=run")
    assert re.search(r"run is in use by process \d+ on \S+", message)


SMALL = ("--config.model.name=mlp", "--config.model.hidden=(4,)", "--config.steps=2")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workdir of a finished run."""
    workdir = tmp_path_factory.mktemp("finished")
    assert cli.main(["train", f"--workdir={workdir}", *SMALL]) == 0
    return workdir


def test_a_folder_without_a_run_names_the_run_that_was_meant(finished, error_of):
    shutil.copytree(finished, "runs/digits")
    Path("a.png").touch()
    Path("runs/empty").mkdir()
    for line in (
        "evaluate --workdir=run/digits",
        "predict --workdir=runs/digit a.png",
        "export --workdir=digits --output=x.safetensors",
        f"figures --workdir={Path.cwd()}/rums/digits",
    ):
        assert error_of(2, *line.split()).endswith("runs/digits?")
    for line in ("evaluate --workdir=runs/empty", "evaluate --workdir=elsewhere/digits"):
        assert error_of(2, *line.split()).endswith("(no config.json)")


@pytest.mark.parametrize(
    "override, message",
    [
        ("data.name=digit", "data.name: there is no dataset 'digit'; did you mean 'digits'?"),
        ("data.data_dir=scan", "data.data_dir: there is no folder scan"),
        ("warm_start.workdir=scan", "there is no run in scan (no config.json)"),
    ],
)
def test_a_wrong_value_is_told_beside_a_finished_run(override, message, finished, error_of):
    shutil.copytree(finished, "run")
    assert error_of(2, "train", "--workdir=run", *SMALL, f"--config.{override}") == message


def test_a_finished_run_says_first_that_nothing_was_trained(finished, capsys):
    shutil.copytree(finished, "run")
    assert cli.main(["train", "--workdir=run", *SMALL]) == 0
    out, err = capsys.readouterr()
    assert err == "note: run is finished: nothing was trained\n" and "top-5 error, %" in out


def test_a_workdir_with_another_run_names_what_differs(finished, error_of):
    shutil.copytree(finished, "run")
    message = error_of(2, "train", "--workdir=run", *SMALL, "--config.seed=1")
    assert "run holds a run with another config (seed)" in message


def test_a_run_from_before_a_key_was_there_has_its_default(finished, capsys):
    config = json.loads((finished / "config.json").read_text())
    del config["data"]["image_shape"]
    (finished / "config.json").write_text(json.dumps(config))
    assert cli.main(["evaluate", f"--workdir={finished}", "--format=json"]) == 0
    assert json.loads(capsys.readouterr().out)["test"]["examples"] == 360


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("resnet20", "--config.model.bn_group=3"), "bn_group=3 does not divide the batch"),
        (("googlenet", "--config.model.num_classes=10"), "auxiliary classifiers need maps of 5x5"),
    ],
)
def test_what_only_training_refuses_leaves_no_run_behind(arguments, message, tmp_path, capsys):
    name, override = arguments
    workdir = tmp_path / "run"
    command = ["train", f"--config.model.name={name}", override, f"--workdir={workdir}"]
    assert cli.main(command) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and message in err, err
    assert not (workdir / "config.json").exists()


def test_a_damaged_config_is_named(finished, error_of):
    shutil.copytree(finished, "run")
    Path("run/config.json").write_text("{")
    for command in (("train", "--workdir=run", *SMALL), ("evaluate", "--workdir=run")):
        assert "run/config.json is damaged" in error_of(3, *command)


def test_a_checkpoint_of_another_network_names_the_leaf(finished, error_of):
    shutil.copytree(finished, "run")
    Path("run/result.json").unlink()
    config = json.loads(Path("run/config.json").read_text())
    config["model"]["hidden"] = [5]
    Path("run/config.json").write_text(json.dumps(config))
    more = ("--config.model.hidden=(5,)",)
    message = error_of(2, "train", "--workdir=run", *SMALL, *more)
    assert re.search(r"\['fc1'\]\['bias'\] is saved as float32\[1, 4\], needed as .*5\]", message)


def test_damaged_checkpoints_are_exit_code_3(finished, capsys):
    shutil.copytree(finished, "run")
    Path("run/result.json").unlink()  # else the run is finished, and nothing is read
    for file in Path("run/checkpoints").rglob("metadata"):
        file.write_text("")
    assert cli.main(["train", "--workdir=run", *SMALL]) == 3
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: every checkpoint in ") and "run/checkpoints" in last


def test_a_loss_that_is_not_finite_ends_the_run_unsaved(capsys):
    settings = ["--config.steps=40", "--config.log_every=4", "--config.checkpoint_every=0.1"]
    settings += ["--config.schedule.learning_rate=1e38"]
    assert cli.main(["train", "--workdir=run", *SMALL, *settings]) == 4
    last = capsys.readouterr().err.splitlines()[-1]
    pattern = r"error: .* not finite at step (\d+): learning rate 1e\+38, gradient norm \S+;"
    match = re.search(pattern, last)
    assert match, last
    bad = int(match[1])
    saved = [int(p.name) for p in Path("run/checkpoints").iterdir()]
    assert all(step < bad for step in saved)
    assert not Path("run/result.json").exists()


# Data.

MNIST = ("train", "--config=lenet5_1998_mnist", "--config.seeds=1", "--workdir=run")


def test_a_missing_dataset_is_exit_code_3_with_the_command_that_prepares_it(
    tmp_path, monkeypatch, error_of
):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    message = error_of(3, *MNIST)
    assert f"mnist is not in {tmp_path}" in message
    assert f"cnn-archs prepare mnist --data_dir={tmp_path}" in message


def test_a_data_dir_that_is_not_there_is_exit_code_2(error_of):
    assert "there is no folder" in error_of(2, *MNIST, "--config.data.data_dir=none")


@pytest.fixture
def copy_of_mnist(mnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder with the files of a copy of MNIST, to which $TFDS_DATA_DIR leads."""
    shutil.copytree(mnist / "mnist", tmp_path / "data" / "mnist")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    return next((tmp_path / "data" / "mnist").glob("*"))


@pytest.mark.parametrize(  # to miss the second, all of the first is read
    "split", ["train", pytest.param("test", marks=pytest.mark.slow)]
)
def test_a_missing_shard_is_named(split, copy_of_mnist, error_of):
    shard = next(copy_of_mnist.glob(f"mnist-{split}.array_record*"))
    shard.unlink()
    message = error_of(3, *MNIST)
    assert str(shard) in message and "cnn-archs prepare mnist" in message


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9999])
def test_a_cut_shard_is_named(kept, copy_of_mnist, error_of):
    shard = next(copy_of_mnist.glob("mnist-train.array_record*"))
    content = shard.read_bytes()
    shard.write_bytes(content[: int(kept * len(content))])
    message = error_of(3, *MNIST)
    assert str(copy_of_mnist) in message and "train" in message


def test_a_damaged_dataset_info_is_named(copy_of_mnist, error_of):
    (copy_of_mnist / "dataset_info.json").write_text("{")
    assert "mnist" in error_of(3, *MNIST)


# From outside.


def seconds_of_children() -> float:
    """The processor time of the processes that have ended: other work here does not count."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_help_is_quick_and_names_commands_and_exit_codes(launch):
    before = seconds_of_children()
    process = launch("--help")
    out, err = process.communicate()
    assert process.returncode == 0 and err == "" and seconds_of_children() - before < 3
    for word in ("train", "evaluate", "summarize", "predict", "prepare", "75  stopped by a signal"):
        assert word in out


def test_a_wrong_flag_is_quick(launch):
    before = seconds_of_children()
    process = launch("train", "--wrong")
    out, err = process.communicate()
    assert process.returncode == 2 and out == "" and seconds_of_children() - before < 3
    assert err.startswith("error: ") and err.count("\n") == 1


@pytest.mark.parametrize(
    "platform, line",
    [("nonsense", "train"), ("cuda", "summarize"), ("tpu", "evaluate")],
)
def test_without_a_device_of_the_kind_asked_for_the_error_is_one_line(
    platform, line, finished, launch
):
    flag = f"--workdir={finished}" if line == "evaluate" else "--config=lenet5_digits"
    process = launch(line, flag, JAX_PLATFORMS=platform)
    out, err = process.communicate()
    *notes, error = err.splitlines()  # a note if a plugin is installed, and the driver is not
    assert process.returncode == 2 and out == "", err
    assert all(note.startswith("note: ") for note in notes), err
    assert f"no device of the kind that JAX_PLATFORMS={platform} asks for" in error


def test_a_plugin_that_cannot_start_is_one_note(launch, tmp_path):
    plugin = tmp_path / "jax_plugins" / "broken_device" / "__init__.py"
    plugin.parent.mkdir(parents=True)
    plugin.write_text("def initialize():\n    raise RuntimeError('no driver\\nmore of it')\n")
    folders = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH", ""))))
    process = launch("train", "--smoke", PYTHONPATH=folders)
    _, err = process.communicate()
    (note,) = [line for line in err.splitlines() if "broken_device" in line]
    assert note.startswith("note: Jax plugin configuration error: ")
    assert note.endswith(".initialize(): no driver")
    assert process.returncode == 0 and "Traceback" not in err and "more of it" not in err, err


def test_a_batch_must_divide_over_the_devices(launch):
    flags = "--xla_force_host_platform_device_count=8"
    process = launch("train", "--config.data.batch_size=20", "--workdir=run", XLA_FLAGS=flags)
    _, err = process.communicate()
    assert process.returncode == 2 and err.count("\n") == 1
    assert "data.batch_size=20 does not split evenly over 8 devices; use 16 or 24" in err


def test_errors_have_the_exit_codes_of_the_manual():
    kinds = (errors.ConfigError, errors.DataError, errors.NotFinite, errors.Stopped)
    assert [e.code for e in kinds] == [2, 3, 4, 75]


def test_a_flag_may_have_hyphens(tmp_path, capsys):
    sweep = ["sweep", "--config=degradation:quick", "--cells=plain20", f"--workdir={tmp_path}"]
    assert cli.main([*sweep, "--dry-run", "--format=json"]) == 0
    assert [c["cell"] for c in json.loads(capsys.readouterr().out)] == ["plain20"]
    assert not list(tmp_path.iterdir())
    assert cli.parse(["submit", "--config=shapes", "--slurm.cpus-per-task=8"])[0].slurm == [
        "cpus-per-task=8"
    ]


def test_a_kind_of_device_may_be_in_upper_case():
    assert find_device("A100") == find_device("a100")
