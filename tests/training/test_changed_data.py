"""A run keeps a record of its images: a resume notices any change, and uses need no images."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnn_archs import cli, load
from cnn_archs.data.datasets import fingerprint
from cnn_archs.errors import ConfigError
from cnn_archs.sweeps import grid

SETTINGS = (
    *("--config=lenet5_digits", "--config.data.name=image_folder"),
    *(
        "--config.data.image_shape=(8,8,3)",
        "--config.data.batch_size=8",
        "--config.data.mean=pixel",
    ),
    *("--config.model.name=mlp", "--config.model.hidden=(4,)", "--config.eval_every=100"),
)
CLASSES = ("cat", "dog")


def write_image(path: Path, color: int, seed: int) -> None:
    """Write an image of 9 x 9 pixels of noise, in which one color is slightly the strongest."""
    pixels = np.random.default_rng(seed).integers(0, 240, (9, 9, 3), np.uint8)
    pixels[..., color] += 5
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_folder(where: Path, parts: dict[str, int], kind: str) -> Path:
    """Write a folder of images. parts: images of each class by part. kind: suffix of the files."""
    for part, count in parts.items():
        for label, name in enumerate(CLASSES):
            for i in range(count):
                write_image(where / part / name / f"{i}.{kind}", label, 100 * label + i)
    return where


def train(folder: Path, run: Path, steps: int, *more: str) -> int:
    place = (f"--workdir={run}", f"--config.data.data_dir={folder}", f"--config.steps={steps}")
    return cli.main(["train", *SETTINGS, "--config.model.num_classes=2", *place, *more])


class Begun:
    """A run of three steps and its folder of images, in copies that a test may change.

    resume: goes on to the sixth step.
    """

    def __init__(self, folder: Path, run: Path, *settings: str):
        self.folder, self.run, self.settings = folder, run, settings

    def resume(self, *more: str) -> int:
        return train(self.folder, self.run, 6, *self.settings, *more)

    def copy(self, where: Path) -> "Begun":
        shutil.copytree(self.folder, where / "images")
        shutil.copytree(self.run, where / "run")
        for name in ("config.json", "data.json"):  # as if the run had begun with the copy
            file = where / "run" / name
            text = file.read_text().replace(str(self.folder), str(where / "images"))
            file.write_text(text)
        return Begun(where / "images", where / "run", *self.settings)


def begin(where: Path, parts: dict[str, int], kind: str, *settings: str) -> Begun:
    begun = Begun(write_folder(where / "images", parts, kind), where / "run", *settings)
    assert train(begun.folder, begun.run, 3, *settings) == 0
    return begun


@pytest.fixture(scope="module")
def with_val(tmp_path_factory: pytest.TempPathFactory) -> Begun:
    """Bitmaps of one size: a replaced file has as many bytes as before."""
    return begin(tmp_path_factory.mktemp("with_val"), {"train": 6, "val": 4}, "bmp")


@pytest.fixture(scope="module")
def undivided(tmp_path_factory: pytest.TempPathFactory) -> Begun:
    """A folder without a test part, from which validation images are held out too."""
    return begin(
        tmp_path_factory.mktemp("undivided"), {"train": 15}, "png", "--config.data.holdout=4"
    )


@pytest.fixture
def begun(with_val: Begun, tmp_path: Path) -> Begun:
    return with_val.copy(tmp_path)


def swap(a: Path, b: Path) -> None:
    kept = a.with_name("kept")
    a.rename(kept)
    b.rename(a)
    kept.rename(b)


def rename_a_class(folder: Path) -> None:
    for part in ("train", "val"):
        (folder / part / "cat").rename(folder / part / "zebra")


Change = Callable[[Path], object]
CHANGES: dict[str, tuple[Change, str]] = {
    "added": (
        lambda f: write_image(f / "train/cat/new.bmp", 0, 50),
        "train has 13 images, not 12; 1 new (train/cat/new.bmp)",
    ),
    "removed": (
        lambda f: (f / "train/dog/5.bmp").unlink(),
        "train has 11 images, not 12; 1 gone (train/dog/5.bmp)",
    ),
    "replaced by one of the same name and size": (
        lambda f: write_image(f / "train/cat/2.bmp", 0, 51),
        "train has 12 images, but not the same ones; 1 replaced (train/cat/2.bmp)",
    ),
    "classes swapped": (
        lambda f: swap(f / "train/cat", f / "train/dog"),
        "12 replaced (first train/cat/0.bmp); train/cat/0.bmp is what train/dog/0.bmp was",
    ),
    "class renamed": (rename_a_class, "its classes are now dog, zebra, not cat, dog"),
    "class added": (
        lambda f: write_image(f / "train/ant/0.bmp", 0, 52),
        "its classes are now ant, cat, dog, not cat, dog",
    ),
    "moved to another class": (
        lambda f: (f / "train/cat/1.bmp").rename(f / "train/dog/new.bmp"),
        "1 new (train/dog/new.bmp); 1 gone (train/cat/1.bmp)",
    ),
    "test image replaced": (
        lambda f: write_image(f / "val/cat/2.bmp", 0, 53),
        "test has 8 images, but not the same ones; 1 replaced (val/cat/2.bmp)",
    ),
    "another test part": (
        lambda f: shutil.copytree(f / "val", f / "test"),
        "they are from 'test', not from 'val'",
    ),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_resume_refuses_changed_images(kind, begun, capsys):
    change, says = CHANGES[kind]
    change(begun.folder)
    before = (begun.run / "data.json").read_bytes()
    capsys.readouterr()
    assert begun.resume() == 3
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and says in errors[0]
    assert f"the images of {begun.folder} are not those that {begun.run} was trained" in errors[0]
    assert ("--accept_changed_data" in errors[0]) == ("its classes are now" not in errors[0])
    assert (begun.run / "data.json").read_bytes() == before
    assert (begun.run / "result.json").is_file()


def test_images_that_were_moved_and_copied_are_the_same(begun, tmp_path):
    moved = shutil.copytree(begun.folder, tmp_path / "elsewhere", copy_function=shutil.copy)
    shutil.rmtree(begun.folder)
    assert train(moved, begun.run, 6) == 0
    assert json.loads((begun.run / "result.json").read_text())["steps"] == 6


def test_an_accepted_change_is_in_the_record_and_in_the_history(begun, capsys):
    write_image(begun.folder / "train/cat/new.bmp", 0, 50)
    assert begun.resume("--accept_changed_data") == 0
    what = "train has 13 images, not 12; 1 new (train/cat/new.bmp)"
    assert f"goes on with changed images: {what}" in capsys.readouterr().err
    record = json.loads((begun.run / "data.json").read_text())
    assert record["splits"]["train"]["images"] == 13
    assert record["changes"] == [{"step": 3, "what": what}]
    parts = json.loads((begun.run / "result.json").read_text())["made"]["parts"]
    assert [part.get("changed_data") for part in parts] == [None, record["changes"]]
    assert begun.resume() == 0  # nothing has changed since
    assert json.loads((begun.run / "data.json").read_text()) == record


def files_of_splits(run: Path, changes: int) -> dict[str, set[str]]:
    found = fingerprint.load(run / f"data_files_{changes}.json.gz")
    return {split: set(names) for split, names in found.items()}


@pytest.mark.slow
def test_images_stay_in_their_splits_whatever_is_added_or_removed(undivided, tmp_path, capsys):
    begun = undivided.copy(tmp_path)
    first = files_of_splits(begun.run, 0)
    assert {split: len(names) for split, names in first.items()} == dict(train=20, val=4, test=6)
    write_image(begun.folder / "train/cat/0a.png", 0, 60)
    gone = {next(iter(sorted(first[split]))) for split in ("train", "val", "test")}
    for name in gone:
        (begun.folder / name).unlink()
    assert begun.resume() == 3
    assert begun.resume("--accept_changed_data") == 0
    second = files_of_splits(begun.run, 1)
    assert second == {
        "train": first["train"] - gone | {"train/cat/0a.png"},
        "val": first["val"] - gone,
        "test": first["test"] - gone,
    }
    write_image(begun.folder / "train/dog/0a.png", 1, 61)
    capsys.readouterr()
    assert cli.main(["evaluate", f"--workdir={begun.run}", "--format=json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["test"]["examples"] == 5  # the new one is not tested on
    assert "the images are not those" not in err


def test_a_run_of_an_older_version_gets_its_record_at_the_next_start(begun, capsys):
    (begun.run / "data.json").unlink()
    assert begun.resume() == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if "has no record" in line]
    assert len(notes) == 1 and f"{begun.run}, at step 3, has no record of its images" in notes[0]
    assert json.loads((begun.run / "data.json").read_text())["classes"] == list(CLASSES)


@pytest.mark.slow
def test_a_new_class_takes_the_next_output_if_there_is_one(tmp_path, capsys):
    outputs = "--config.model.num_classes=4"
    begun = begin(tmp_path, {"train": 4, "val": 2}, "bmp", outputs)
    for part in ("train", "val"):
        write_image(begun.folder / part / "ant/0.bmp", 2, 70)
    assert begun.resume() == 3
    assert "--accept_changed_data" in capsys.readouterr().err
    assert begun.resume("--accept_changed_data") == 0
    record = json.loads((begun.run / "data.json").read_text())
    assert record["classes"] == ["cat", "dog", "ant"]
    assert begun.resume() == 0
    ant = str(begun.folder / "val/ant/0.bmp")
    assert cli.main(["predict", f"--workdir={begun.run}", ant, "--format=json"]) == 0


def test_a_finished_run_needs_nothing_but_its_folder(begun, tmp_path, monkeypatch, capsys):
    image = shutil.copy(begun.folder / "val/dog/0.bmp", tmp_path / "dog.bmp")
    new = begun.folder.rename(tmp_path / "new")
    shutil.rmtree(new / "train")
    run = f"--workdir={begun.run}"
    capsys.readouterr()
    assert cli.main(["predict", run, str(image), "--format=json"]) == 0
    assert {row["class"] for row in json.loads(capsys.readouterr().out)[0]["top"]} == set(CLASSES)
    assert load(begun.run).step == 3
    assert cli.main(["evaluate", run]) == 2
    assert f"there is no folder {begun.folder}" in (err := capsys.readouterr().err)
    assert "--data_dir=DIR" in err and err.count("\n") == 1
    before = json.loads((begun.run / "result.json").read_text())["test"]
    for protocol in ("single", "mirror"):
        asked = (f"--data_dir={new}", f"--protocol={protocol}", "--format=json")
        assert cli.main(["evaluate", run, *asked]) == 0
        out, err = capsys.readouterr()
        assert "changed_data" not in json.loads(out) and not err
        if protocol == "single":
            assert json.loads(out)["test"] == before
    assert cli.main(["figures", run, f"--data_dir={new}"]) == 0
    capsys.readouterr()
    assert cli.main(["evaluate", run, f"--data_dir={new}", "--split=train"]) == 3


def test_evaluate_says_that_images_have_changed_and_refuses_other_classes(begun, capsys):
    write_image(begun.folder / "val/cat/new.bmp", 0, 80)
    capsys.readouterr()
    assert cli.main(["evaluate", f"--workdir={begun.run}", "--format=json"]) == 0
    out, err = capsys.readouterr()
    what = "test has 9 images, not 8; 1 new (val/cat/new.bmp)"
    assert json.loads(out)["changed_data"] == what
    assert err == f"note: the images are not those that {begun.run} was trained with: {what}\n"
    rename_a_class(begun.folder)
    assert cli.main(["evaluate", f"--workdir={begun.run}"]) == 3
    assert "train has no class 'zebra'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_folder_that_was_relative_is_found_from_another_one(begun, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.rmtree(begun.run)
    assert train(Path("images"), Path("run"), 3) == 0
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert cli.main(["evaluate", "--workdir=../run"]) == 0


def test_a_damaged_record_is_named(begun, capsys):
    (begun.run / "data.json").write_text('{"classes": 3}')
    capsys.readouterr()
    assert cli.main(["evaluate", f"--workdir={begun.run}"]) == 3
    err = capsys.readouterr().err
    assert err.startswith(f"error: damaged data: {begun.run / 'data.json'} (remove it")
    assert err.count("\n") == 1


def test_seeds_that_were_trained_on_other_images_are_not_merged(begun):
    first = json.loads((begun.run / "result.json").read_text())
    other = json.loads(json.dumps(first))
    assert grid.concat_seeds([first, other])["seeds"] == [0, 0]
    other["made"]["data"]["train"]["digest"] = "of other images"
    with pytest.raises(ConfigError, match="seeds 0 and 0 of one cell were trained on other images"):
        grid.concat_seeds([first, other])


def test_members_of_an_ensemble_have_the_same_images(undivided, tmp_path, capsys):
    """Two runs on one folder, between whose starts an image of the part taken out has gone."""
    first = undivided.copy(tmp_path)
    gone = sorted(files_of_splits(first.run, 0)["test"])[0]
    (first.folder / gone).unlink()
    second = tmp_path / "second"
    assert train(first.folder, second, 1, *first.settings) == 0
    capsys.readouterr()
    assert cli.main(["evaluate", f"--workdir={first.run},{second}"]) == 2
    err = capsys.readouterr().err
    assert "all runs of an ensemble must have the same images in test" in err
