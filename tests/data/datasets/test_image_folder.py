"""Folders of images: both layouts, the test part, and one-line errors for what is wrong."""

import io
import os
import shutil
import tempfile
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
from PIL import Image

from cnn_archs.data.datasets import image_files, image_folder, sources
from cnn_archs.data.loading import decode
from cnn_archs.errors import ConfigError, DataError


def image(color, kind="JPEG"):
    file = io.BytesIO()
    Image.new("RGB", (12, 9), (color, color, color)).save(file, kind)
    return file.getvalue()


def put(path, color=0, kind="JPEG"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(image(color, kind))


def a_folder_a_class(root, counts, part="train"):
    for label, (name, count) in enumerate(counts.items()):
        for i in range(count):
            put(root / part / name / f"{i}.jpg", 100 * label + i)
    return root


def kaggles(root, counts, part="train"):
    for label, (name, count) in enumerate(counts.items()):
        for i in range(count):
            put(root / part / f"{name}.{i}.jpg", 100 * label + i)
    return root


LAYOUTS = [a_folder_a_class, kaggles]
BOTH = pytest.mark.parametrize("layout", LAYOUTS)


@BOTH
def test_classes_are_the_sorted_names(tmp_path, layout):
    layout(tmp_path, {"dog": 3, "cat": 5})
    assert sources.class_names("image_folder", str(tmp_path)) == ("cat", "dog")
    assert sources.dataset_spec("image_folder", str(tmp_path)) == ((0, 0, 3), 2)


@BOTH
def test_images_and_labels_belong_together(tmp_path, layout):
    layout(tmp_path, {"cat": 3, "dog": 4})
    layout(tmp_path, {"cat": 1, "dog": 2}, "test")
    for split, count in (("train", 7), ("test", 3)):
        found = sources.open_records("image_folder", split, str(tmp_path))
        assert len(found) == count and found.classes == ("cat", "dog")
        assert found.labels is not None and found.labels.dtype == np.int32
        for i in range(count):
            record = found[i]
            assert record.label == found.labels[i]
            assert decode.decode(record.encoded, "x")[0, 0, 0] // 100 == record.label
            assert record.name.startswith(str(tmp_path / split))


@BOTH
@pytest.mark.parametrize(
    "part", ["test", "val", "validation", "valid", "dev", "testing", "Test", "VAL", "Valid"]
)
def test_the_test_part_may_have_several_names(tmp_path, layout, part):
    layout(tmp_path, {"cat": 3, "dog": 4}, "train" if part.islower() else "Train")
    layout(tmp_path, {"cat": 1, "dog": 2}, part)
    assert len(sources.open_records("image_folder", "test", str(tmp_path))) == 3
    assert len(sources.open_records("image_folder", "train", str(tmp_path))) == 7


def test_test_comes_before_val(tmp_path):
    a_folder_a_class(tmp_path, {"cat": 3, "dog": 4})
    a_folder_a_class(tmp_path, {"cat": 1, "dog": 1}, "val")
    a_folder_a_class(tmp_path, {"cat": 5, "dog": 5}, "test")
    assert len(sources.open_records("image_folder", "test", str(tmp_path))) == 10


@BOTH
@pytest.mark.parametrize("unlabeled", ["test", "test1"])
def test_without_labels_a_fixed_fifth_of_each_class_is_the_test_part(tmp_path, layout, unlabeled):
    layout(tmp_path, {"cat": 20, "dog": 35})
    for i in range(5):
        put(tmp_path / unlabeled / f"{i}.jpg")
    train, test = (
        sources.open_records("image_folder", s, str(tmp_path)) for s in ("train", "test")
    )
    assert train.labels is not None and test.labels is not None
    assert np.bincount(train.labels).tolist() == [16, 28]
    assert np.bincount(test.labels).tolist() == [4, 7]
    names = [{part[i].name for i in range(len(part))} for part in (train, test)]
    assert not names[0] & names[1] and len(names[0] | names[1]) == 55
    again = sources.open_records("image_folder", "test", str(tmp_path))
    assert (again.index == test.index).all()
    assert not (np.diff(test.index) == 1).all()  # drawn at random, not cut off at one end


def test_all_kinds_of_images_count_and_other_files_do_not(tmp_path):
    for i, kind in enumerate(["JPEG", "PNG", "BMP", "WEBP", "GIF"]):
        put(tmp_path / "train" / "a" / f"{i}.{kind}", kind=kind)
    put(tmp_path / "train" / "a" / "x.jpg")
    put(tmp_path / "train" / "b" / "below" / "images" / "y.jpeg")
    put(tmp_path / "train" / "b" / "._y.jpeg")
    (tmp_path / "train" / "b" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "train" / "notes.txt").write_text("x")
    (tmp_path / "train" / ".ipynb_checkpoints").mkdir()
    found = image_folder.list_images(str(tmp_path), "train")
    assert found and np.bincount(found.labels).tolist() == [6, 1] and found.classes == ("a", "b")


def test_the_order_does_not_depend_on_the_file_system(tmp_path):
    for name in ("b", "a", "c", "10", "9"):
        put(tmp_path / "train" / "k" / f"{name}.jpg")
    put(tmp_path / "train" / "l" / "0.jpg")
    found = image_folder.list_images(str(tmp_path), "train")
    assert found
    names = [path.rsplit("/", 1)[1] for path in found.paths]
    assert names == ["10.jpg", "9.jpg", "a.jpg", "b.jpg", "c.jpg", "0.jpg"]


# --- What is not read ------------------------------------------------------------------------


def test_images_of_every_suffix_are_read_in_any_case(tmp_path):
    suffixes = [*image_files.IMAGE_SUFFIXES, ".JPG", ".Jfif", ".TIFF"]
    for i, suffix in enumerate(suffixes):
        put(tmp_path / "train" / "a" / f"{i}{suffix}")
    put(tmp_path / "train" / "b" / "0.jpg")
    found = image_folder.list_images(str(tmp_path), "train")
    assert found and np.bincount(found.labels).tolist() == [len(suffixes), 1]


def test_what_is_left_out_is_counted_and_named_in_one_line(tmp_path):
    a_folder_a_class(tmp_path, {"cat": 3, "dog": 3})
    a_folder_a_class(tmp_path, {"cat": 1, "dog": 1}, "val")
    a_folder_a_class(tmp_path, {"cat": 1, "dog": 1}, "valid")
    for i in range(5):
        put(tmp_path / "train" / "cat" / "deep" / f"{i}.heic")
    put(tmp_path / "train" / "cat" / ".hidden.jpg")
    put(tmp_path / "loose.jpg")
    (tmp_path / "val" / "bird").mkdir()
    (note,) = image_folder.reading_notes(str(tmp_path))
    assert note.startswith(f"9 files or folders are left out of {tmp_path}: loose.jpg, train/cat/")
    left_out = image_folder.list_images(str(tmp_path), "test")
    assert left_out and left_out.left_out == [f"{tmp_path}/val/bird/"]


def test_a_folder_that_is_read_whole_has_nothing_to_say(tmp_path):
    a_folder_a_class(tmp_path, {"cat": 3, "dog": 3})
    a_folder_a_class(tmp_path, {"cat": 1, "dog": 1}, "val")
    assert image_folder.reading_notes(str(tmp_path)) == []
    (tmp_path / "val" / "dog" / "0.jpg").unlink()
    assert image_folder.reading_notes(str(tmp_path)) == [
        f"{tmp_path}/val has no images of 1 of the 2 classes: dog"
    ]


def test_a_test_part_without_labels_gives_way_to_one_with_labels(tmp_path):
    a_folder_a_class(tmp_path, {"cat": 3, "dog": 3})
    a_folder_a_class(tmp_path, {"unknown": 4}, "test")
    a_folder_a_class(tmp_path, {"cat": 1, "dog": 2}, "val")
    assert len(sources.open_records("image_folder", "test", str(tmp_path))) == 3
    (note,) = image_folder.reading_notes(str(tmp_path))
    assert "1 file or folder is left out" in note and "test/ (it has no labeled images)" in note


@BOTH
def test_without_parts_all_is_divided_and_that_is_said(tmp_path, layout):
    layout(tmp_path, {"cat": 10, "dog": 5}, ".")
    train, test = (
        sources.open_records("image_folder", s, str(tmp_path)) for s in ("train", "test")
    )
    assert (len(train), len(test)) == (12, 3) and train.classes == ("cat", "dog")
    (note,) = image_folder.reading_notes(str(tmp_path))
    assert "a fixed fifth of each class is set aside" in note


def test_links_are_followed_and_circles_end(tmp_path):
    a_folder_a_class(tmp_path, {"cat": 3, "dog": 3})
    put(tmp_path / "elsewhere" / "x.jpg")
    put(tmp_path / "elsewhere" / "deeper" / "y.jpg")
    cat = tmp_path / "train" / "cat"
    (cat / "more").symlink_to(tmp_path / "elsewhere")
    (cat / "up").symlink_to(tmp_path / "train")
    (cat / "self").symlink_to(cat)
    (tmp_path / "elsewhere" / "back").symlink_to(cat)
    (cat / "link.jpg").symlink_to(tmp_path / "elsewhere" / "x.jpg")
    (tmp_path / "train" / "bird").symlink_to(tmp_path / "elsewhere" / "deeper")
    found = image_folder.list_images(str(tmp_path), "train")
    assert found and np.bincount(found.labels).tolist() == [1, 6, 3]
    circles = [f"{path} (a link to a folder that is read already)" for path in (
        f"{cat}/more/back/", f"{cat}/self/", f"{cat}/up/"
    )]  # fmt: skip
    assert found.left_out == circles


@pytest.mark.parametrize("kind", ["pipe", "nothing", "itself", "device", "folder below"])
def test_what_is_no_regular_file_is_refused_when_it_is_read(tmp_path, kind):
    a_folder_a_class(tmp_path, {"cat": 3, "dog": 3})
    a_folder_a_class(tmp_path, {"cat": 1, "dog": 1}, "test")
    odd = tmp_path / "train" / "cat" / "9.jpg"
    if kind == "pipe":
        os.mkfifo(odd)
    elif kind != "folder below":
        target = {"nothing": "gone.jpg", "itself": "9.jpg", "device": "/dev/zero"}[kind]
        odd.symlink_to(target)
    else:
        put(odd / "0.jpg")
    found = sources.open_records("image_folder", "train", str(tmp_path))
    assert len(found) == 7
    if kind == "folder below":
        assert found[3].name == str(odd / "0.jpg")
        return
    with pytest.raises(DataError, match="cannot read .*cat/9.jpg: "):
        found[3]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become a user without permission")
def test_a_folder_that_cannot_be_read_is_an_error():
    root = Path(tempfile.mkdtemp())
    try:
        root.chmod(0o755)
        a_folder_a_class(root, {"cat": 3, "dog": 3})
        put(root / "train" / "cat" / "below" / "0.jpg")
        (root / "train" / "cat" / "below").chmod(0o700)
        os.seteuid(65534)
        assert f"cannot read the folder {root}/train/cat/below: Permission" in complaint(
            root, DataError
        )
    finally:
        os.seteuid(0)
        shutil.rmtree(root)


def test_names_that_look_the_same_are_one_class(tmp_path):
    composed = [normalize("NFC", name) for name in ("고양이", "école")]
    decomposed = [normalize("NFD", name) for name in composed]
    for part, names in (("train", composed), ("val", decomposed), ("train", decomposed)):
        a_folder_a_class(tmp_path, dict.fromkeys(names, 3), part)
    train, test = (
        sources.open_records("image_folder", s, str(tmp_path)) for s in ("train", "test")
    )
    assert train.classes == ("école", "고양이") and (len(train), len(test)) == (12, 6)
    assert train.labels is not None and np.bincount(train.labels).tolist() == [6, 6]


def test_names_that_are_not_utf8_are_classes_and_files_as_others(tmp_path):
    odd = os.fsdecode(b"caf\xe9")
    a_folder_a_class(tmp_path, {odd: 3, "dog\n\x1b[31m": 3})
    found = sources.open_records("image_folder", "train", str(tmp_path))
    assert found.classes == (odd, "dog\n\x1b[31m")
    put(tmp_path / "train" / odd / "x.heic")
    (note, _) = image_folder.reading_notes(str(tmp_path))
    assert r"train/caf\udce9/x.heic" in note and note.isprintable()


# --- What is wrong -----------------------------------------------------------------------------


def complaint(root, error, split="train"):
    with pytest.raises(error) as e:
        sources.open_records("image_folder", split, str(root))
    assert "\n" not in str(e.value)
    return str(e.value)


def test_no_folder_named():
    assert "--config.data.data_dir=DIR" in complaint("", ConfigError)


def test_a_folder_that_is_not_there(tmp_path):
    assert f"there is no folder {tmp_path / 'x'}" in complaint(tmp_path / "x", ConfigError)


@pytest.mark.parametrize("part", ["test", "valid", "seg_train", "Validation", "test1"])
def test_a_part_without_a_train_part_is_not_taken_for_a_class(tmp_path, part):
    a_folder_a_class(tmp_path, {"cat": 3, "dog": 3}, part)
    put(tmp_path / "other" / "0.jpg")
    message = complaint(tmp_path, DataError)
    assert f"has no folder train, and {tmp_path / part} is named like a part" in message


def test_two_folders_for_one_part(tmp_path):
    a_folder_a_class(tmp_path, {"cat": 3, "dog": 3})
    a_folder_a_class(tmp_path, {"cat": 1, "dog": 1}, "val")
    a_folder_a_class(tmp_path, {"cat": 1, "dog": 1}, "Val")
    assert "are both named like the part val" in complaint(tmp_path, DataError)


def test_an_empty_folder(tmp_path):
    (tmp_path / "train").mkdir()
    assert "neither folders of classes nor images" in complaint(tmp_path, DataError)


@BOTH
def test_one_class_only(tmp_path, layout):
    layout(tmp_path, {"cat": 3})
    assert "only one class, cat" in complaint(tmp_path, DataError)


def test_a_class_without_images(tmp_path):
    a_folder_a_class(tmp_path, {"cat": 3, "dog": 3})
    (tmp_path / "train" / "bird").mkdir()
    assert "bird has no images" in complaint(tmp_path, DataError)


def test_no_images_at_all(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "train" / name).mkdir(parents=True)
    assert "has no images" in complaint(tmp_path, DataError)


def test_a_name_that_tells_no_class(tmp_path):
    kaggles(tmp_path, {"cat": 3, "dog": 3})
    put(tmp_path / "train" / "17.jpg")
    assert "is unknown: name it CLASS.NUMBER" in complaint(tmp_path, DataError)


def test_both_layouts_at_once(tmp_path):
    a_folder_a_class(tmp_path, {"cat": 3, "dog": 3})
    put(tmp_path / "train" / "cat.0.jpg")
    assert "cat.0.jpg is in no folder of a class" in complaint(tmp_path, DataError)


@BOTH
def test_a_class_that_only_the_test_part_has(tmp_path, layout):
    layout(tmp_path, {"cat": 3, "dog": 3})
    layout(tmp_path, {"cat": 3, "bird": 1}, "test")
    assert "train has no class 'bird'" in complaint(tmp_path, DataError, "test")


def test_too_few_images_to_divide(tmp_path):
    a_folder_a_class(tmp_path, {"cat": 1, "dog": 1})
    assert "too few images" in complaint(tmp_path, DataError, "test")


def test_no_other_split(tmp_path):
    a_folder_a_class(tmp_path, {"cat": 3, "dog": 3})
    assert "no split 'challenge'" in complaint(tmp_path, ConfigError, "challenge")


def test_it_is_not_loaded_whole(tmp_path):
    a_folder_a_class(tmp_path, {"cat": 3, "dog": 3})
    with pytest.raises(ConfigError, match="differ in size"):
        sources.load_split("image_folder", "train", str(tmp_path))


def test_a_file_that_went_away_is_named(tmp_path):
    a_folder_a_class(tmp_path, {"cat": 3, "dog": 3})
    a_folder_a_class(tmp_path, {"cat": 1, "dog": 1}, "test")
    found = sources.open_records("image_folder", "train", str(tmp_path))
    (tmp_path / "train" / "cat" / "1.jpg").unlink()
    with pytest.raises(DataError, match="cannot read .*cat/1.jpg: No such file"):
        found[1]


# --- Images without labels ---------------------------------------------------------------------


def test_kaggles_test_images_come_in_the_order_of_their_numbers(tmp_path):
    for i in (10, 9, 1, 100, 2):
        put(tmp_path / f"{i}.jpg")
    (tmp_path / "readme.txt").write_text("x")
    (tmp_path / "below").mkdir()
    found = image_folder.list_unlabeled(str(tmp_path))
    assert found.paths == [str(tmp_path / f"{i}.jpg") for i in (1, 2, 9, 10, 100)]
    assert found.left_out == [f"{tmp_path}/readme.txt", f"{tmp_path}/below/"]


def test_other_names_come_in_their_order(tmp_path):
    for name in ("b", "a", "10"):
        put(tmp_path / f"{name}.jpg")
    found = image_folder.list_unlabeled(str(tmp_path))
    assert [Path(path).stem for path in found.paths] == ["10", "a", "b"]


def test_no_images_to_predict(tmp_path):
    with pytest.raises(DataError, match="has no images"):
        image_folder.list_unlabeled(str(tmp_path))
    with pytest.raises(ConfigError, match="there is no folder"):
        image_folder.list_unlabeled(str(tmp_path / "x"))
