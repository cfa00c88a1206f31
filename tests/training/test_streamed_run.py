"""A run on a folder of images of mixed sizes, from files to figures, stopped and resumed."""

import json
import shutil
import signal

import numpy as np
import pytest
from PIL import Image
from run_logs import log_lines

from cnn_archs import cli
from cnn_archs.training import trainer

CLASSES = ("blue", "green", "red")  # as sorted
SETTINGS = (
    "--config.data.name=image_folder",
    "--config.data.image_shape=(12,12,3)",
    "--config.data.batch_size=8",
    "--config.data.holdout=6",
    "--config.data.mean=channel",
    "--config.crop.name=inception",
    "--config.crop.evaluate=14",
    "--config.mirror=true",
    "--config.color.name=pca",
    "--config.model.name=mlp",
    "--config.model.hidden=(8,)",
    "--config.model.num_classes=3",
    "--config.schedule.name=plateau",
    "--config.schedule.learning_rate=0.1",
    "--config.steps=20",
    "--config.log_every=3",
    "--config.eval_every=1.5",
    "--config.checkpoint_every=0.7",
)


def draw(path, rng, label):
    """Write a noisy image in which one color is the strongest."""
    height, width = rng.integers(15, 90, 2)
    pixels = rng.integers(0, 120, (height, width, 3))
    pixels[:, :, 2 - label] += 120
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path, quality=95)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder of 16 training and 5 test images per class, and 7 without a label."""
    where, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for label, name in enumerate(CLASSES):
        for part, count in (("train", 16), ("test", 5)):
            for i in range(count):
                draw(where / part / name / f"{i}.jpg", rng, label)
    for i in range(7):
        draw(where / "test1" / f"{i + 8}.jpg", rng, i % 3)
    return where


def train(folder, workdir, *more):
    return cli.main(
        ["train", f"--workdir={workdir}", f"--config.data.data_dir={folder}", *SETTINGS, *more]
    )


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    """Return the workdir of an uninterrupted run."""
    workdir = tmp_path_factory.mktemp("whole")
    assert train(folder, workdir) == 0
    return workdir


def digests(workdir):
    return json.loads((workdir / "checkpoints/20/notes/metadata").read_text())["digests"]


def test_every_image_counts_once_and_it_learns(whole):
    result = json.loads((whole / "result.json").read_text())
    counts = {split: result[split]["examples"] for split in ("train_eval", "val", "test")}
    assert counts == {"train_eval": 42, "val": 6, "test": 15}
    assert result["test"]["top1_error"][0] < 0.4 and result["damaged"] == 0
    assert (whole / "statistics.npz").is_file()


@pytest.mark.slow
def test_stopped_and_resumed_with_other_threads_it_ends_with_the_same_bits(
    folder, whole, tmp_path, monkeypatch
):
    original = trainer.Trainer.run_steps
    for step in (2, 8, 13):
        with monkeypatch.context() as patch:

            def run_steps(self, clock, stop=step):
                original(self, clock)
                if self.step == stop:
                    signal.raise_signal(signal.SIGTERM)

            patch.setattr(trainer.Trainer, "run_steps", run_steps)
            assert train(folder, tmp_path) == 75
    assert train(folder, tmp_path) == 0
    assert digests(tmp_path)["variables"] == digests(whole)["variables"]
    assert log_lines(tmp_path) == log_lines(whole)


@pytest.mark.slow
def test_the_number_of_threads_changes_nothing(folder, whole, tmp_path):
    assert train(folder, tmp_path, "--config.data.threads=5") == 0
    assert digests(tmp_path)["variables"] == digests(whole)["variables"]


def test_predict_writes_what_a_competition_takes(folder, whole, capsys):
    capsys.readouterr()
    assert cli.main(["predict", f"--workdir={whole}", str(folder / "test1"), "--format=csv"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head == "id,label"
    assert [row.split(",")[0] for row in rows] == [str(i) for i in range(8, 15)]
    labels = [row.split(",")[1] for row in rows]
    assert sum(name == CLASSES[i % 3] for i, name in enumerate(labels)) >= 5


def test_one_channel_has_the_images_in_gray(folder, tmp_path, capsys):
    gray = ("--config.data.image_shape=(12,12,1)", "--config.color.name=none", "--config.steps=3")
    assert train(folder, tmp_path, *gray) == 0
    image = str(folder / "test1" / "8.jpg")
    assert cli.main(["predict", f"--workdir={tmp_path}", image]) == 0
    capsys.readouterr()
    protocol = ["evaluate", f"--workdir={tmp_path}", "--protocol=mirror", "--format=json"]
    assert cli.main(protocol) == 0
    assert json.loads(capsys.readouterr().out)["test"]["examples"] == 15


def test_evaluate_gives_the_runs_own_figure(whole, capsys):
    capsys.readouterr()
    assert cli.main(["evaluate", f"--workdir={whole}", "--format=json"]) == 0
    found = json.loads(capsys.readouterr().out)["test"]
    assert found == json.loads((whole / "result.json").read_text())["test"]


def test_augment_draws_a_sheet(folder, tmp_path, capsys):
    command = ["augment", f"--config.data.data_dir={folder}", *SETTINGS, "--images=3"]
    assert cli.main([*command, "--variants=4", f"--output={tmp_path / 'a.png'}"]) == 0
    with Image.open(tmp_path / "a.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    assert pixels.shape[1] > pixels.shape[0] > 3 * 12  # 3 rows of 5
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100


@pytest.mark.parametrize("policy", ["raise", "skip"])
def test_a_damaged_image_is_named_or_skipped_and_counted(policy, folder, tmp_path, capsys):
    shutil.copytree(folder, tmp_path / "images")
    broken = tmp_path / "images/train/red/3.jpg"
    broken.write_bytes(broken.read_bytes()[:200])
    code = train(tmp_path / "images", tmp_path / "run", f"--config.data.on_corrupt={policy}")
    error = capsys.readouterr().err.splitlines()[-1]
    if policy == "raise":
        assert code == 3 and str(broken) in error
        assert "--config.data.on_corrupt=skip" in error
    else:
        assert code == 0
        result = json.loads((tmp_path / "run/result.json").read_text())
        assert result["damaged"] == 1
        assert result["train_eval"]["examples"] + result["val"]["examples"] == 47


def test_what_only_images_of_one_size_can_have_is_one_line(folder, tmp_path, capsys):
    for more, word in (
        ("--config.optimizer.name=sdlm", "sdlm"),
        ("--config.standardize.name=keras", "use only one"),
    ):
        assert train(folder, tmp_path / "run", more) == 2
        error = capsys.readouterr().err
        assert word in error and error.count("\n") == 1
