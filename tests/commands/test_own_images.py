"""A folder of one's own images: what is told on the way from training to predictions."""

import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from pages import commands, page
from PIL import Image
from safetensors.numpy import load_file, save_file

from cnn_archs import cli
from cnn_archs import config as configs
from cnn_archs.conversion import import_weights
from cnn_archs.experiment import resolve_settings

CLASSES = ("eight", "null", "one")
MLP = (
    "--config=lenet5_mnist",
    "--config.model.name=mlp",
    "--config.model.hidden=(4,)",
    "--config.seeds=1",
)


def draw(folder: Path, classes: tuple[str, ...], count: int, size: int = 28) -> Path:
    """Write `count` gray images of each class into folders of their own."""
    rng = np.random.default_rng(0)
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 60, (size, size)) + 60 * label
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a folder with 15 `scans` of three classes, of which 12 are trained on."""
    where = tmp_path_factory.mktemp("own")
    draw(where / "scans", CLASSES, 5)
    return where


def run(capsys, *words: object) -> tuple[str, list[str]]:
    """Run a command to its end -> what it prints on stdout, and its lines on stderr."""
    capsys.readouterr()
    assert cli.main([str(word) for word in words]) == 0
    shown = capsys.readouterr()
    return shown.out, shown.err.splitlines()


def test_ten_outputs_and_a_large_batch_for_three_classes(trained, monkeypatch, capsys):
    monkeypatch.chdir(trained)
    data = ("--config.data.name=image_folder", "--config.data.data_dir=scans")
    size = ("--config.data.batch_size=32", "--config.steps=2", "--workdir=run")
    out, err = run(capsys, "train", *MLP, *data, *size)
    assert "note: 10 outputs for 3 classes: --config.model.num_classes=3" in err
    large = "the batch of 32 is larger than the training set of 12 images, so that a step is 2.7"
    assert f"note: {large} epochs: lower --config.data.batch_size" in err
    assert "top-1 error, %" in out and "top-5" not in out and "  loss" in out
    result = json.loads(Path("run/result.json").read_text())
    assert len(result["test"]["top5_error"]) == 1

    out, err = run(capsys, "evaluate", "--workdir=run")
    assert "top-1 error, %" in out and "top-5" not in out
    assert not any("outputs" in line for line in err)

    out, _ = run(capsys, "predict", "--workdir=run", "scans/one", "--format=json")
    listed = [[top["class"] for top in one["top"]] for one in json.loads(out)]
    assert len(listed) == 5 and all(sorted(classes) == sorted(CLASSES) for classes in listed)


def test_a_folder_of_folders_names_the_pattern_to_predict(tmp_path, monkeypatch, error_of):
    monkeypatch.chdir(tmp_path)
    draw(Path("photos/val"), CLASSES, 1)
    predict = ("predict", "--weights=lenet5_mnist")
    message = "has folders, not images: predict photos/val/*/"
    assert error_of(3, *predict, "photos/val") == f"photos/val {message}"
    assert error_of(3, *predict, "photos") == f"photos {message.replace('val', '*')}"
    Path("empty/below").mkdir(parents=True)
    assert error_of(3, *predict, "empty").startswith("empty has no images: 1 file or folder is")


@pytest.mark.slow
def test_published_weights_on_ones_own_photographs(tmp_path, monkeypatch, capsys, error_of):
    monkeypatch.chdir(tmp_path)
    draw(Path("photos/val"), ("ant", "bee", "cat", "dog", "emu"), 2, size=40)
    size = ("--config.data.image_shape=(32,32,3)", "--config.crop.evaluate=32")
    small = ("--config.model.width=0.0625", *size)
    five = ("--config=resnet_imagenet:18", "--config.model.num_classes=5", *small)
    run(capsys, "export", *five, "--output=r18.safetensors")
    save_file(load_file("r18.safetensors"), "r18.pth")  # without the metadata that say what it is
    import_line, evaluate_line = [line for line in commands(page("weights")) if "r18" in line]
    _, err = run(capsys, *shlex.split(import_line)[1:], *small)
    assert not any("outputs" in line for line in err)
    out, err = run(capsys, *shlex.split(evaluate_line)[1:])
    assert "resnet18 on image_folder" in out and " 10 " in out and "top-5" not in out
    assert not any("outputs" in line for line in err)

    images = ("--config.data.name=image_folder", "--config.data.data_dir=photos")
    message = error_of(3, "train", *five, *images, "--workdir=runs/trained")
    assert "photos has no folder train" in message and "evaluate needs no more than" in message

    shutil.rmtree("photos/val/emu")
    _, err = run(capsys, *shlex.split(evaluate_line)[1:])
    order = "5 outputs for 4 classes: the first 4 outputs are taken for the classes"
    assert err[0].startswith(f"note: {order}")
    config = configs.load_config(
        "resnet_imagenet:18", [word.removeprefix("--config.") for word in (*five[1:], *images)]
    )
    assert import_weights.outputs_notes(config, resolve_settings(config))[0].startswith(order)

    _, err = run(capsys, "import", "r18.pth", *five, "--workdir=runs/unsaid")
    note = "5 outputs, but imagenet2012 has 1000 classes: to evaluate or predict with this run"
    assert any(line.startswith(f"note: {note}") for line in err)
    message = error_of(2, "evaluate", "--workdir=runs/unsaid", "--data_dir=photos")
    assert "give train or import --config.model.num_classes=1000, or" in message
