"""Folders whose images are all of one size: held in memory, with the channels that they have."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

import cnn_archs
from cnn_archs import cli
from cnn_archs import config as configs
from cnn_archs.data.loading import one_size
from cnn_archs.errors import ConfigError, DataError
from cnn_archs.experiment import Experiment, resolve

MLP = ("--config.model.name=mlp", "--config.model.hidden=(4,)", "--config.data.batch_size=8")


def make(folder, mode="L", size=(30, 28), kind="png", classes="ab", images=6):
    """Write a folder of images of `size`, width and height; return {path: pixels}."""
    rng, written = np.random.default_rng(0), {}
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(images):
            noise = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
            path = folder / name / f"{i}.{kind}"
            image = Image.fromarray(noise).convert(mode)
            image.save(path)
            written[str(path)] = np.asarray(image)
    return written


def resolved(folder, *more, name="image_folder", experiment="lenet5_mnist") -> Experiment:
    """Resolve an experiment on a folder that it does not name."""
    flags = [f"data.name={name}", f"data.data_dir={folder}", *more]
    return resolve(configs.load_config(experiment, flags))


def splits(experiment):
    return experiment.dataset.splits(experiment.inputs.crop)


@pytest.mark.parametrize(
    "mode, kind, channels",
    [
        ("L", "png", 1),
        ("L", "jpg", 1),
        ("L", "pgm", 1),
        ("L", "tif", 1),
        ("L", "gif", 1),  # a palette of grays
        ("1", "png", 1),
        ("LA", "png", 1),
        ("I;16", "png", 1),
        ("RGB", "png", 3),
        ("RGB", "jpg", 3),
        ("P", "png", 3),
        ("RGBA", "png", 3),
        ("L", "webp", 3),  # WebP has no gray
    ],
)
def test_the_input_follows_from_the_images(tmp_path, mode, kind, channels):
    make(tmp_path, mode if mode != "I;16" else "L", kind=kind, images=2)
    if mode == "I;16":
        for path in tmp_path.glob("*/*"):
            deep = np.asarray(Image.open(path)).astype(np.uint16) * 257
            Image.fromarray(deep).save(path)
    experiment = resolved(tmp_path)
    assert experiment.image_shape == (28, 30, channels)
    assert experiment.dataset.stored_shape == (28, 30, channels) and experiment.dataset.in_memory


def test_one_image_in_colors_gives_all_three_channels(tmp_path):
    make(tmp_path)
    make(tmp_path / "b", "RGB", classes=["below"], images=1)
    assert resolved(tmp_path).image_shape == (28, 30, 3)


def test_a_stated_shape_decides_about_channels_and_size(tmp_path):
    make(tmp_path, "RGB")
    gray = resolved(tmp_path, "data.image_shape=28,30,1")
    assert gray.dataset.in_memory and gray.dataset.stored_shape == (28, 30, 1)
    other = resolved(tmp_path, "data.image_shape=28,28,1")
    assert not other.dataset.in_memory and other.dataset.stored_shape == (0, 0, 1)
    padded = resolved(tmp_path, "data.pad=1", "data.image_shape=30,32,3")
    assert padded.dataset.in_memory and padded.image_shape == (30, 32, 3)
    halved = resolved(tmp_path, "data.downsample=2", experiment="mlp_mnist")
    assert halved.image_shape == (14, 15, 3)
    assert splits(halved)["train"].images.shape == (10, 14, 15, 3)
    with pytest.raises(ConfigError, match="to 3 channels, or to 1 in gray"):
        resolved(tmp_path, "data.image_shape=28,30,4")


def test_what_does_not_fit_the_network_is_one_line(tmp_path):
    make(tmp_path, "RGB", size=(28, 28), images=2)
    with pytest.raises(ConfigError, match=r"not 28x28 with padding 0: --config.model.padding=2$"):
        resolved(tmp_path, experiment="lenet5_digits")
    with pytest.raises(ConfigError, match=r"takes 32x32x1 images, not \(32, 32, 3\)"):
        resolved(tmp_path, experiment="lenet5_1998_mnist")


def test_two_sizes_are_named_unless_the_network_has_one(tmp_path):
    make(tmp_path / "train")
    make(tmp_path / "val", size=(29, 28))  # the test images count too
    with pytest.raises(ConfigError) as e:
        resolved(tmp_path)
    assert f"{tmp_path}/train/a/0.png has 30x28 pixels" in str(e.value)
    assert f"{tmp_path}/val/a/0.png has 29x28 pixels: set the size" in str(e.value)
    assert not resolved(tmp_path, "data.image_shape=28,28,1").dataset.in_memory


def test_more_than_memory_holds_is_streamed_and_only_one_header_is_read(tmp_path, monkeypatch):
    make(tmp_path)
    monkeypatch.setattr(one_size, "MAX_BYTES", 12 * 28 * 30 - 1)
    with pytest.raises(ConfigError, match="would take 0.0 GB in memory: set the size"):
        resolved(tmp_path)
    assert not resolved(tmp_path, "data.image_shape=28,30,1").dataset.in_memory


def test_every_pixel_and_label_arrives(tmp_path):
    pixels = make(tmp_path / "train") | make(tmp_path / "Valid", images=3)
    found = splits(resolved(tmp_path))
    assert {name: len(split) for name, split in found.items()} == {"train": 12, "test": 6}
    for split in found.values():
        assert split.records.classes == ("a", "b")
        for i, image in enumerate(split.images):
            record = split.records[i]
            np.testing.assert_array_equal(image[..., 0], pixels[record.name])
            assert split.classes[split.labels[i]] == record.name.split("/")[-2]


def test_a_damaged_image_is_named_or_left_out_and_counted(tmp_path):
    make(tmp_path)
    (tmp_path / "a" / "3.png").write_bytes((tmp_path / "a" / "3.png").read_bytes()[:-30])
    with pytest.raises(DataError, match=r"a/3.png.*on_corrupt=skip"):
        splits(resolved(tmp_path))
    found = splits(resolved(tmp_path, "data.on_corrupt=skip"))
    assert sum(map(len, found.values())) == 11
    assert sum(split.damaged for split in found.values()) == 1
    for split in found.values():
        assert len(split.records) == len(split.labels) == len(split.images)
        assert not any(split.records[i].name.endswith("a/3.png") for i in range(len(split)))


def test_a_prepared_folder_has_the_same_images_even_with_some_held_out(tmp_path):
    make(tmp_path / "images")
    command = ["prepare", "small", f"--image_folder={tmp_path}/images", f"--data_dir={tmp_path}"]
    assert cli.main(command) == 0
    few = ("data.holdout=2", "data.examples=4")
    folder = splits(resolved(tmp_path / "images", *few))
    prepared = splits(resolved(tmp_path, *few, name="small"))
    assert {n: len(s) for n, s in folder.items()} == {"train": 4, "val": 2, "test": 2}
    for name, split in folder.items():
        np.testing.assert_array_equal(split.images, prepared[name].images)
        np.testing.assert_array_equal(split.labels, prepared[name].labels)
    images, labels = cnn_archs.data.load("small", "test", tmp_path)
    np.testing.assert_array_equal(images, folder["test"].images)
    np.testing.assert_array_equal(labels, folder["test"].labels)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return the folder of 20 gray images and the flags of a run on it, trained for 4 steps."""
    where = tmp_path_factory.mktemp("trained")
    make(where / "images", images=10)
    flags = ("--config.data.name=image_folder", f"--config.data.data_dir={where}/images", *MLP)
    assert cli.main(["train", *flags, "--config.steps=4", f"--workdir={where}/run"]) == 0
    return where, flags


def test_a_run_on_it_keeps_its_test_images_and_needs_no_images_to_predict(trained, capsys):
    where, _ = trained
    record = json.loads((where / "run/data.json").read_text())
    assert record["stored_shape"] == [28, 30, 1] and record["chosen"]
    assert record["splits"]["test"]["images"] == 4
    shutil.copytree(where / "images", where / "moved")
    shutil.copy(where / "moved/a/0.png", where / "moved/a/00.png")  # would divide them otherwise
    Image.new("L", (50, 40)).save(where / "moved/b/00.png")
    capsys.readouterr()
    evaluate = ["evaluate", f"--workdir={where}/run", f"--data_dir={where}/moved", "--format=json"]
    assert cli.main(evaluate) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["test"] == json.loads((where / "run/result.json").read_text())["test"]
    assert "resized" not in err and "not those" not in err  # new images are no test images
    for path in (where / "moved").glob("*/*.png"):
        Image.open(path).resize((60, 56)).save(path)
    assert cli.main(evaluate) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["test"]["examples"] == 4 and "are resized to 30x28 pixels" in err
    (where / "images").rename(where / "gone")
    assert cli.main(["predict", f"--workdir={where}/run", f"{where}/gone/a/1.png"]) == 0
    (where / "gone").rename(where / "images")


@pytest.mark.slow
def test_a_run_that_was_streamed_goes_on_streamed(trained, tmp_path, monkeypatch):
    where, flags = trained
    flags = (*flags, "--config.data.image_shape=28,30,1", f"--workdir={tmp_path}")
    with monkeypatch.context() as older:
        older.setattr(one_size, "survey", lambda *_: one_size.Survey(None))
        assert cli.main(["train", *flags, "--config.steps=2"]) == 0
    assert json.loads((tmp_path / "data.json").read_text())["stored_shape"] == [0, 0, 1]
    assert cli.main(["train", *flags, "--config.steps=3"]) == 0
    assert json.loads((tmp_path / "result.json").read_text())["steps"] == 3
