"""MNIST, CIFAR-10 and their like, from every form in which people have them, without TensorFlow."""

import contextlib
import io
import json
import os
import pickle
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import originals
import pytest
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordReader
from PIL import Image
from tensorflow_datasets.core.features import image_feature
from tensorflow_datasets.image_classification import cifar, mnist
from tensorflow_datasets.proto import tf_example_pb2

from cnn_archs import cli
from cnn_archs.data.prepare import original_files
from cnn_archs.data.prepare.array_sets import ARRAY_SETS
from cnn_archs.data.prepare.original_files import read_original
from cnn_archs.data.prepare.published import ArrayImage
from cnn_archs.data.prepare.shards import in_tfds_order
from cnn_archs.errors import DataError

LIKE_MNIST = ("mnist", "fashion_mnist", "kmnist")


def prepare(name: str, source: Path, where: Path) -> int:
    return cli.main(["prepare", name, f"--from={source}", f"--data_dir={where}"])


def records(folder: Path) -> dict[str, list[dict[str, tuple[list[bytes], list[int]]]]]:
    """Return the fields of each example of each file of a dataset, in order."""
    found = {}
    for path in folder.glob("*.array_record-*"):
        found[path.name] = [
            {
                key: (list(value.bytes_list.value), list(value.int64_list.value))
                for key, value in tf_example_pb2.Example.FromString(r).features.feature.items()
            }
            for r in ArrayRecordReader(str(path)).read_all()
        ]
    return found


def png(encoder: object, image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image.squeeze()).save(file, "PNG")
    return file.getvalue()


def prepare_by_tfds(name: str, local: Path, where: Path, monkeypatch) -> Path:
    """Let tfds' own builder prepare a dataset from unpacked files in `local`.

    Only what tfds does with TensorFlow is replaced: opening files and encoding a PNG.
    """

    def downloaded(manager: object, urls: str | dict[str, str]) -> str | dict[str, str]:
        if isinstance(urls, str):
            return str(local)
        return {k: str(local / u.rpartition("/")[2].removesuffix(".gz")) for k, u in urls.items()}

    files = SimpleNamespace(io=SimpleNamespace(gfile=SimpleNamespace(GFile=open)))
    monkeypatch.setattr(mnist, "tf", files)
    monkeypatch.setattr(cifar, "tf", files)
    monkeypatch.setattr(mnist, "_TRAIN_EXAMPLES", originals.COUNTS["train"])
    monkeypatch.setattr(mnist, "_TEST_EXAMPLES", originals.COUNTS["test"])
    monkeypatch.setattr(image_feature._ImageEncoder, "_encode_image", png)
    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", downloaded)
    tfds.disable_progress_bar()
    builder = tfds.builder(name, data_dir=str(where), file_format="array_record")
    with contextlib.redirect_stdout(io.StringIO()):
        builder.download_and_prepare()
    return Path(builder.data_path)


def put_original(name: str, folder: Path) -> tuple[Path, Path]:
    """Write the files that tfds reads. Returns their folder, and what tfds takes for it."""
    if name in LIKE_MNIST:
        put = originals.put(folder, originals.idx_files(name))
        return put, put
    top = "cifar-10-batches-bin" if name == "cifar10" else "cifar-100-binary"
    put = originals.put(folder / top, originals.cifar_files(name))
    for field, names in ARRAY_SETS[name].names.items():
        meta = {"label": "fine_label_names.txt", "coarse_label": "coarse_label_names.txt"}[field]
        lines = "\n".join(names) + "\n\n"
        (put / ("batches.meta.txt" if name == "cifar10" else meta)).write_text(lines)
    return put, folder


@pytest.mark.parametrize("name", ARRAY_SETS)
def test_it_is_what_tfds_own_builder_writes(name, tmp_path, monkeypatch, capsys):
    source, local = put_original(name, tmp_path / "original")
    assert prepare(name, source, tmp_path / "ours") == 0
    said = capsys.readouterr()
    ours = Path(said.out.split(" is in ")[1].split(": train")[0])
    assert "note: train has 15 of " in said.err
    theirs = prepare_by_tfds(name, local, tmp_path / "theirs", monkeypatch)
    assert ours.relative_to(tmp_path / "ours") == theirs.relative_to(tmp_path / "theirs")
    of_ours = records(ours)
    assert sum(map(len, of_ours.values())) == 21 and of_ours == records(theirs)
    names = {p.name for p in theirs.iterdir()}
    assert {p.name for p in ours.iterdir()} == {*names, "source.json.gz"}
    for file in names:
        if file.endswith(".labels.txt") or file == "features.json":
            assert (ours / file).read_text() == (theirs / file).read_text()
    about = [json.loads((f / "dataset_info.json").read_text()) for f in (ours, theirs)]
    assert about[0] == {k: v for k, v in about[1].items() if k != "downloadSize"}


def test_the_order_is_that_of_the_whole_dataset():
    test = [ArrayImage(str(i), b"", {}) for i in range(10_000)]
    first = [int(e.name) for e in in_tfds_order("test", test)[:3]]
    assert first == [9933, 5669, 163]  # of tfds' cifar10 3.0.2


def same(name: str, source: Path) -> None:
    """Check that `source` is read as the arrays of `originals`."""
    for split, found in read_original(ARRAY_SETS[name], source).items():
        images, labels = originals.arrays_of(name)[split]
        assert found.images.dtype == np.uint8 and (found.images == images).all()
        assert found.labels.keys() == labels.keys()
        assert all((found.labels[field] == labels[field]).all() for field in labels)


@pytest.mark.parametrize("name", LIKE_MNIST)
def test_the_idx_files_are_found_where_people_have_them(name, tmp_path):
    files = originals.idx_files(name)
    own = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "kmnist": "KMNIST"}
    for other in LIKE_MNIST:  # torchvision's folder of several datasets
        content = files if other == name else originals.idx_files(other)
        originals.put(tmp_path / "data" / own[other] / "raw", content, packed=other == name)
    same(name, tmp_path / "data")
    same(name, tmp_path / "data" / own[name])
    same(name, tmp_path / "data" / own[name] / "raw")
    same(name, tmp_path / "data" / own[name] / "raw" / "t10k-labels-idx1-ubyte.gz")
    dotted = {file.replace("-idx", ".idx"): content for file, content in files.items()}
    same(name, originals.put(tmp_path / "dotted", dotted))


def test_arrays_are_found_by_the_usual_names(tmp_path):
    train, test = originals.arrays_of("mnist").values()
    pixels, label = train.images[..., 0], train.labels["label"]
    of_test = test.images[..., 0], test.labels["label"]
    keys = ("x_train", "y_train", "x_test", "y_test")
    each: list[tuple[tuple[str, ...], tuple[np.ndarray, ...]]] = [
        (keys, (pixels, label, *of_test)),
        (("train_images", "train_labels", "test_images", "test_labels"), (pixels, label, *of_test)),
        (("trainX", "trainy", "testX", "testy"), (train.images, label[:, None], *of_test)),
        (keys, (pixels.reshape(15, 784).astype(np.float64), label.astype(np.uint8), *of_test)),
    ]
    for names, values in each:
        named: dict[str, np.ndarray] = dict(zip(names, values, strict=True))
        (tmp_path / "any.npz").write_bytes(originals.npz(named))
        same("mnist", tmp_path / "any.npz")
        same("mnist", tmp_path)
    (tmp_path / "any.npz").unlink()
    parts = ("train-imgs", "train-labels", "test-imgs", "test-labels")  # as KMNIST is published
    train, test = originals.arrays_of("kmnist").values()
    of_kmnist = (train.images, train.labels["label"], test.images, test.labels["label"])
    for part, value in zip(parts, of_kmnist, strict=True):
        (tmp_path / f"kmnist-{part}.npz").write_bytes(originals.npz({"arr_0": value}))
    same("kmnist", tmp_path)
    for name in ("cifar10", "cifar100"):
        found = originals.arrays_of(name)
        arrays = {f"y_{split}": of.labels["label"][:, None] for split, of in found.items()}
        for axes in ((0, 1, 2, 3), (0, 3, 1, 2)):
            images = {f"x_{split}": of.images.transpose(axes) for split, of in found.items()}
            (tmp_path / "cifar.npz").write_bytes(originals.npz({**arrays, **images}))
            same(name, tmp_path / "cifar.npz")


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_is_read_from_its_archives_and_folders(name, tmp_path):
    stem = {"cifar10": "cifar-10", "cifar100": "cifar-100"}[name]
    binary, python = originals.cifar_files(name), originals.cifar_files(name, 2)
    (tmp_path / f"{stem}-binary.tar.gz").write_bytes(originals.packed(originals.tar(binary)))
    same(name, tmp_path)
    (tmp_path / "mine").write_bytes(originals.packed(originals.tar(python)))  # by any name
    same(name, tmp_path / "mine")
    (tmp_path / "plain.tar").write_bytes(originals.tar(python))
    same(name, tmp_path / "plain.tar")
    top = f"{stem}-batches-py" if name == "cifar10" else f"{stem}-python"
    same(name, originals.put(tmp_path / "data" / top, python))
    same(name, tmp_path / "data")
    same(name, originals.put(tmp_path / "binary", binary))
    keras = tmp_path / "keras" / f"{stem}-python-target"
    originals.put(keras / f"{stem}-python", python)
    same(name, tmp_path / "keras")
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        folder = originals.put(tmp_path / "again", originals.cifar_files(name, protocol))
        same(name, folder)


def test_a_dataset_from_another_source_is_the_same_or_has_changed(tmp_path, capsys):
    idx, _ = put_original("mnist", tmp_path / "idx")
    assert prepare("mnist", idx, tmp_path) == 0
    found = originals.arrays_of("mnist")
    arrays = {f"x_{split}": of.images for split, of in found.items()}
    arrays |= {f"y_{split}": of.labels["label"] for split, of in found.items()}
    (tmp_path / "mnist.npz").write_bytes(originals.npz(arrays))
    assert prepare("mnist", tmp_path / "mnist.npz", tmp_path) == 0
    assert cli.main(["prepare", "mnist", f"--data_dir={tmp_path}"]) == 0  # nothing is downloaded
    changed = {**arrays, "y_test": (arrays["y_test"] + 1) % 10}
    (tmp_path / "mnist.npz").write_bytes(originals.npz(changed))
    capsys.readouterr()
    assert prepare("mnist", tmp_path / "mnist.npz", tmp_path) == 3
    assert "has changed since: 1 replaced (images and labels of test)" in capsys.readouterr().err


class Calls:
    """Unpickled, it calls os.system."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def link(kind: bytes) -> tarfile.TarInfo:
    found = tarfile.TarInfo("x/data_batch_1")
    found.type, found.linkname = kind, "/etc/passwd"
    return found


def bomb(megabytes: int) -> bytes:
    """Return the start of a file that unpacks to so many million zeros."""
    return originals.packed(bytes(megabytes * 10**6))


def refusals(tmp_path: Path):
    """Yield (dataset, content of a file, what the error says)."""
    python, binary = originals.cifar_files("cifar10", 2), originals.cifar_files("cifar10")
    pickled = python["test_batch"]
    called = tmp_path / "called"

    def archive(**changed):
        return originals.packed(originals.tar({**python, **changed}))

    yield "cifar10", archive(**{"../../escaped": b"x"}), "leads outside"
    yield "cifar10", archive(**{"/escaped": b"x"}), "leads outside"
    yield "cifar10", archive(extra=link(tarfile.SYMTYPE)), "is not a regular file"
    yield "cifar10", archive(extra=link(tarfile.LNKTYPE)), "is not a regular file"
    yield "cifar10", archive(extra=link(tarfile.CHRTYPE)), "is not a regular file"
    yield "cifar10", archive(**{"a/test_batch": pickled}), "two files test_batch"
    yield "cifar10", archive(test_batch=pickle.dumps(Calls(called))), "names posix.system"
    yield "cifar10", archive(test_batch=pickle.dumps({"data": Calls(called)}, 0)), "posix.system"
    yield "cifar10", archive(test_batch=b"\x80\x02r\xff\xff\xff\xff."), "damaged data"
    yield "cifar10", archive(test_batch=b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7fx."), "damaged data"
    yield "cifar10", archive(test_batch=pickled[:-900]), "test_batch: "
    yield "cifar10", archive(test_batch=b""), "damaged data"
    yield "cifar10", archive(test_batch=pickle.dumps([1])), "no dictionary"
    yield "cifar10", archive(test_batch=pickle.dumps({"data": 1})), "no labels"
    objects = {"data": np.array(["x"], object), "labels": [1]}
    yield "cifar10", archive(test_batch=pickle.dumps(objects)), "without its bytes"
    yield "cifar10", archive()[:-2000], "damaged data"
    yield "cifar10", originals.packed(originals.tar({"x": b"y"})), "no files of cifar10"
    del python["data_batch_3"]
    yield "cifar10", archive(), "no data_batch_3"
    cut = {**binary, "data_batch_2.bin": binary["data_batch_2.bin"][:-1]}
    yield "cifar10", originals.packed(originals.tar(cut)), "no whole number of records"
    high = {**binary, "test_batch.bin": b"\x0a" + binary["test_batch.bin"][1:]}
    yield "cifar10", originals.packed(originals.tar(high)), "not from 0 to 9"
    yield "cifar10", b"<html>", "no files of cifar10"
    yield "cifar10", b"", "no files of cifar10"
    changes: list[tuple[dict[str, np.ndarray], str]] = [
        ({"x_train": np.zeros((2, 9, 9), np.uint8)}, "have shape (2, 9, 9)"),
        ({"x_train": np.zeros((2, 28, 28)) + 0.5}, "not whole numbers"),
        ({"x_train": np.full((2, 28, 28), np.nan)}, "go from nan"),
        ({"x_train": np.zeros((2, 28, 28))}, "from 0 to 1, and not of 0 to 255"),
        ({"x_train": np.full((2, 28, 28), 256)}, "go from 256 to 256"),
        ({"x_train": np.array([{}])}, "damaged data"),
        ({"y_train": np.zeros((2, 10))}, "label has shape (2, 10)"),
        ({"y_train": np.zeros(3)}, "2 images, but 3"),
        ({"y_train": np.full(2, "7")}, "not numbers"),
        ({"x_train": np.zeros((0, 28, 28), np.uint8), "y_train": np.zeros(0)}, "no images"),
        ({"X_train": np.zeros(2)}, "are both x_train"),
    ]
    for changed_arrays, says in changes:
        arrays: dict[str, np.ndarray] = {}
        for split in ("train", "test"):
            arrays[f"x_{split}"] = np.zeros((2, 28, 28), np.uint8)
            arrays[f"y_{split}"] = np.zeros(2, np.uint8)
        yield "mnist", originals.npz({**arrays, **changed_arrays}), says
    yield "mnist", originals.npz({"a": np.zeros(2)}), "no x_train, only a"
    file, huge = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(
        huge, {"descr": "|u1", "fortran_order": False, "shape": (10**15,)}
    )
    with zipfile.ZipFile(file, "w") as archive_of_one:
        archive_of_one.writestr("x_train.npy", huge.getvalue())
    yield "mnist", file.getvalue(), "damaged data"
    with zipfile.ZipFile(file, "w") as other:
        other.writestr("train.csv", "5,0,0")
    yield "mnist", file.getvalue(), "no files of mnist, which is read from the four files"


def test_what_is_hostile_damaged_or_of_another_kind_is_one_line(tmp_path):
    path = tmp_path / "file"
    for number, (name, content, says) in enumerate(refusals(tmp_path)):
        path.write_bytes(content)
        with pytest.raises(DataError) as e:
            read_original(ARRAY_SETS[name], path)
        line = str(e.value)
        assert says in line and str(path) in line and "\n" not in line, (number, line)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_what_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(original_files, "LIMIT", 3_000_000)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(bomb(9))
    with pytest.raises(DataError, match=r"ubyte.gz unpacks to more than 3 MB"):
        read_original(ARRAY_SETS["mnist"], path)
    zeros = originals.npz({"x_train": np.zeros(9_000_000, np.uint8)})
    (tmp_path / "mnist.npz").write_bytes(zeros)
    with pytest.raises(DataError, match=r"mnist.npz unpacks to more than 3 MB"):
        read_original(ARRAY_SETS["mnist"], tmp_path / "mnist.npz")


def test_idx_files_that_do_not_fit_are_named(tmp_path):
    files = originals.idx_files("mnist")
    images, labels = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
    for changed, says in (
        ({images: files[images][:-1]}, f"{images}: it has 11,759 values, not the 15 x 28 x 28"),
        ({images: files[images] + b"x"}, "it has 11,761 values"),
        ({images: b"\0\0\x0d\x03" + files[images][4:]}, "not an idx file of bytes"),
        ({images: b"\0\0\x08\xff" + b"\xff" * 1020}, f"{images}: "),
        ({images: b""}, "not an idx file"),
        ({images: files[labels]}, "have shape (15,)"),
        ({labels: originals.idx(np.zeros(14, np.uint8))}, "15 images, but 14"),
        ({labels: originals.idx(np.full(15, 10, np.uint8))}, "10, not from 0 to 9"),
    ):
        folder = originals.put(tmp_path / "raw", {**files, **changed})
        with pytest.raises(DataError) as e:
            read_original(ARRAY_SETS["mnist"], folder)
        assert says in str(e.value) and str(folder) in str(e.value)
    (folder / labels).unlink()
    with pytest.raises(DataError, match=f"no {labels}"):
        read_original(ARRAY_SETS["mnist"], folder)
    os.mkfifo(folder / labels)
    with pytest.raises(DataError, match="it is a pipe, not a regular file"):
        read_original(ARRAY_SETS["mnist"], folder)


def test_wrong_use_is_one_line(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for words, code, says in (
        (("mnist", f"--from={tmp_path / 'none'}"), 2, "--from: there is no file or folder"),
        (("mnist", f"--from={tmp_path / 'empty'}"), 3, "which is read from the four files *-ubyte"),
        (("svhn_cropped", f"--from={tmp_path}"), 2, "--from: only mnist, fashion_mnist"),
        (("mnist", f"--manual_dir={tmp_path}"), 2, "mnist is read with --from=PATH"),
        (("kmist",), 2, "did you mean 'kmnist'?"),
    ):
        assert cli.main(["prepare", *words, f"--data_dir={tmp_path / 'data'}"]) == code
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and says in error
