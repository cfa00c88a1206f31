"""Prepared datasets, read back without TensorFlow."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnn_archs import cli
from cnn_archs.data.datasets import sources, tfds_source
from cnn_archs.data.prepare import shards
from cnn_archs.data.prepare.prepare import NOTHING_TO_PREPARE
from cnn_archs.errors import DataError, Stopped

TENSORFLOW = importlib.util.find_spec("tensorflow") is not None
TINY = Path(__file__).resolve().parents[2] / "tiny_dataset.py"


@pytest.mark.skipif(TENSORFLOW, reason="TensorFlow is installed here")
def test_prepare_without_tensorflow_names_the_extra(capsys, tmp_path):
    assert cli.main(["prepare", "svhn_cropped", f"--data_dir={tmp_path / 'new'}"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "cnn-archs[prepare]" in error
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "name, says",
    [("digits", "scikit-learn"), ("shapes", "nothing"), ("image_folder", "NAME --image_folder")],
)
def test_our_own_datasets_need_no_preparation(name, says, capsys):
    assert cli.main(["prepare", name]) == 2
    assert says in capsys.readouterr().err


# A folder of images.

TRAIN = (  # on images of any size, two steps of a network of two layers
    *("--config.data.image_shape=(12,12,3)", "--config.data.batch_size=4"),
    *("--config.crop.name=inception", "--config.crop.evaluate=14"),
    *("--config.model.name=mlp", "--config.model.hidden=(4,)", "--config.model.num_classes=2"),
    "--config.steps=2",
)


def folder_of(root, parts, kinds=("JPEG", "PNG", "GIF", "BMP", "WEBP")):
    """Write 7 images of `cat` and 5 of `dog` for each part, in all formats that are read."""
    random = np.random.default_rng(len(parts))
    for part in parts:
        for name, count in (("cat", 7), ("dog", 5)):
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                kind = kinds[i % len(kinds)]
                pixels = random.integers(0, 256, (20 + i, 30, 3), np.uint8)
                Image.fromarray(pixels).save(root / part / name / f"é {i}.{kind.lower()}", kind)
    return root


def prepare(name, images, where):
    return cli.main(["prepare", name, f"--image_folder={images}", f"--data_dir={where}"])


def records(*where):
    """Return (label, image) for each example of both splits."""
    splits = [sources.open_records(where[0], split, str(where[1])) for split in ("train", "test")]
    return [
        [(r.label, r.encoded) for r in map(split.__getitem__, range(len(split)))]
        for split in splits
    ], splits[0].classes


@pytest.mark.parametrize("parts", [("train",), ("train", "val")])
def test_a_prepared_folder_has_its_images_in_its_order(parts, tmp_path):
    images = folder_of(tmp_path / "images", parts)
    assert prepare("pets", images, tmp_path) == 0
    assert records("pets", tmp_path) == records("image_folder", images)
    assert sources.dataset_spec("pets", str(tmp_path)) == ((0, 0, 3), 2)


@pytest.mark.slow
def test_training_on_it_is_training_on_the_folder(tmp_path):
    images = folder_of(tmp_path / "images", ("train", "test"), kinds=("JPEG",))
    assert prepare("pets", images, tmp_path) == 0
    found = []
    for name, where in (("pets", tmp_path), ("image_folder", images)):
        data = (f"--config.data.name={name}", f"--config.data.data_dir={where}")
        assert cli.main(["train", f"--workdir={tmp_path / 'run' / name}", *data, *TRAIN]) == 0
        notes = tmp_path / "run" / name / "checkpoints" / "2" / "notes" / "metadata"
        found.append(json.loads(notes.read_text())["digests"])
    assert found[0] == found[1]


def test_a_folder_that_changed_is_not_mixed_with_what_was_begun(tmp_path, capsys, monkeypatch):
    images = folder_of(tmp_path / "images", ("train",), kinds=("BMP",))

    def stopped(*_):
        raise Stopped("here")

    with monkeypatch.context() as patch:
        patch.setattr(shards, "write_shard", stopped)
        assert prepare("pets", images, tmp_path) == 75
    with pytest.raises(
        DataError, match=r"pets is half prepared: .* 0 of 2 shards; resume with: .*pets"
    ):
        sources.open_records("pets", "train", str(tmp_path))
    changed = images / "train" / "cat" / "é 0.bmp"
    os.utime(changed, (1e9, 1e9))  # as many bytes of another image
    assert prepare("pets", images, tmp_path) == 3
    unfinished = tmp_path / "pets" / "1.0.0.incomplete"
    assert f"{unfinished} was begun from other images" in capsys.readouterr().err
    shutil.rmtree(unfinished)
    assert prepare("pets", images, tmp_path) == 0


def test_a_source_that_changed_since_is_not_taken_for_prepared(tmp_path, capsys):
    images = folder_of(tmp_path / "images", ("train",), kinds=("BMP",))
    assert prepare("pets", images, tmp_path) == 0 == prepare("pets", images, tmp_path)
    cat = images / "train" / "cat"
    (cat / "é 0.bmp").rename(tmp_path / "kept.bmp")
    shutil.copy(cat / "é 1.bmp", cat / "new.bmp")
    capsys.readouterr()
    assert prepare("pets", images, tmp_path) == 3
    path = tmp_path / "pets" / "1.0.0"
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"error: {path} was prepared from a source that has changed since: 1 new "
        "(train/cat/new.bmp); 1 gone (train/cat/é 0.bmp); remove that folder and run this command "
        "again to prepare it anew"
    )
    (path / "source.json.gz").unlink()  # as older versions wrote it: the counts are compared
    assert prepare("pets", images, tmp_path) == 0
    (cat / "new.bmp").unlink()
    capsys.readouterr()
    assert prepare("pets", images, tmp_path) == 3
    assert " images of train, not " in capsys.readouterr().err


def test_a_file_that_is_no_image_is_named(tmp_path, capsys):
    images = folder_of(tmp_path / "images", ("train",))
    broken = images / "train" / "dog" / "broken.jpg"
    broken.write_bytes(b"<html>")
    assert prepare("pets", images, tmp_path) == 3
    note, error = capsys.readouterr().err.splitlines()
    assert "a fixed fifth of each class is set aside" in note and str(broken) in error


def test_what_prepare_leaves_out_is_said_and_odd_names_are_stored(tmp_path, capsys):
    images = folder_of(tmp_path / "images", ("train", "valid"))
    cat = images / "train" / "cat"
    for name in ("x.heic", ".hidden.jpg"):
        (cat / name).write_bytes(b"x")
    shutil.copy(next(cat.glob("*.jpeg")), cat / os.fsdecode(b"caf\xe9\n.jpg"))
    assert prepare("pets", images, tmp_path) == 0
    (note,) = (line for line in capsys.readouterr().err.splitlines() if "left out" in line)
    assert note.startswith("note: 2 files or folders are left out") and "train/cat/x.heic" in note


def test_a_pipe_and_a_class_that_tfds_cannot_name_are_refused(tmp_path, capsys):
    images = folder_of(tmp_path / "images", ("train", "val"))
    os.mkfifo(images / "train" / "cat" / "pipe.jpg")
    assert prepare("pets", images, tmp_path) == 3
    assert "pipe.jpg: it is a pipe, not a regular file" in capsys.readouterr().err
    shutil.move(images / "train" / "cat", images / "train" / "c\nat")
    assert prepare("others", images, tmp_path) == 3
    assert "cannot store the name of the class c\\nat" in capsys.readouterr().err


def test_a_name_that_is_taken_or_unfit_is_refused(tmp_path, capsys):
    images, others = (folder_of(tmp_path / name, ("train",)) for name in ("images", "others"))
    assert prepare("pets", images, tmp_path) == 0
    for name, source, says in (
        ("mnist", images, "mnist is a dataset of tfds"),
        ("My pets", images, "lower-case letters"),
        ("../pets", images, "lower-case letters"),
        ("pets", others, f"from other images (Images: {images})"),
        ("pets", tmp_path / "none", "--image_folder: there is no folder"),
    ):
        capsys.readouterr()
        assert prepare(name, source, tmp_path) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and says in error
    assert sorted(p.name for p in tmp_path.iterdir()) == ["images", "others", "pets"]


# What tfds prepares.


@pytest.mark.slow
@pytest.mark.skipif(not TENSORFLOW, reason="needs TensorFlow: pip install '.[prepare]'")
def test_a_dataset_is_prepared_and_read_back(tmp_path):
    prepare = (
        f"import sys; sys.path.insert(0, {str(TINY.parent)!r}); import tiny_dataset; "
        "from cnn_archs.cli import main; "
        f"sys.exit(main(['prepare', 'tiny_dataset', '--data_dir={tmp_path}', '--format=json']))"
    )
    subprocess.run([sys.executable, "-c", prepare], check=True)
    read = (
        f"import sys; sys.path.insert(0, {str(TINY.parent)!r}); import tiny_dataset; "
        "from cnn_archs.data.datasets import sources; "
        f"s = sources.load_split('tiny_dataset', 'train', {str(tmp_path)!r}); "
        "assert s.images.shape == (7, 4, 5, 3) and sorted(s.labels) == [0, 0, 0, 1, 1, 1, 1]; "
        "assert all((i == 10 * l).all() for i, l in zip(s.images, s.labels)); "
        f"assert sources.dataset_spec('tiny_dataset', {str(tmp_path)!r}) == ((4, 5, 3), 2); "
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", read], check=True)


def test_known_datasets_are_described_without_any_data(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert sources.dataset_spec("mnist") == ((28, 28, 1), 10)
    assert sources.dataset_spec("cifar100") == ((32, 32, 3), 100)


def test_every_dataset_that_is_not_of_tfds_says_what_prepare_makes_of_it():
    assert set(NOTHING_TO_PREPARE) == set(tfds_source.NOT_OF_TFDS)
