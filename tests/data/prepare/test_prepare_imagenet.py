"""imagenet2012 from its archives: equal to tfds' own, resumed, and refused if damaged."""

import contextlib
import importlib.util
import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import tiny_dataset
from array_record.python.array_record_module import ArrayRecordReader
from fake_imagenet import ENCODED_ANEW, TRAIN, VALIDATION, pictures, put, tar
from tensorflow_datasets.core.utils import shard_utils
from tensorflow_datasets.proto import tf_example_pb2

from cnn_archs import cli
from cnn_archs.data.datasets import sources
from cnn_archs.data.prepare import prepare, shards
from cnn_archs.errors import DataError
from cnn_archs.runtime.files import lock

SMALL_SHARDS = 4096  # bytes: 8 of train and 4 of validation
KILLED = """
import os, signal, sys
from tensorflow_datasets.core.utils import shard_utils
from cnn_archs import cli
from cnn_archs.data.prepare import prepare
shard_utils.ShardConfig.min_shard_size = int(sys.argv[1])
written = prepare.Progress.report_written
def wrote(progress, size):
    written(progress, size)
    if progress.shards == 5:
        os.kill(os.getpid(), signal.SIGKILL)
prepare.Progress.report_written = wrote
cli.main(sys.argv[2:])
"""


@pytest.fixture(autouse=True)
def many_shards(monkeypatch):
    monkeypatch.setattr(shard_utils.ShardConfig, "min_shard_size", SMALL_SHARDS)


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    return put(tmp_path_factory.mktemp("archives") / "manual")


@pytest.fixture(scope="module")
def whole(archives, tmp_path_factory):
    """Prepare a dataset without interruption, and return its folder."""
    where = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard_utils.ShardConfig, "min_shard_size", SMALL_SHARDS)
        assert run(archives, where) == 0
    return where


def line(archives, where):
    return ["prepare", "imagenet2012", f"--manual_dir={archives}", f"--data_dir={where}"]


def run(archives, where):
    return cli.main(line(archives, where))


def refused(capsys, archives, where, code=3):
    """Return the one line of error that `prepare` prints besides notes."""
    capsys.readouterr()
    assert run(archives, where) == code
    said = capsys.readouterr().err.splitlines()
    assert [s for s in said if not s.startswith("note: ")] == said[-1:]
    assert said[-1].startswith("error: ")
    return said[-1]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def finished(where):
    """Return the files of the dataset; only the lock may be beside it."""
    found = where / "imagenet2012"
    assert {path.name for path in found.iterdir()} == {"5.1.0", ".lock"}
    return contents(found / "5.1.0")


def examples(shard):
    """Return (name, label, image) for each example in a file."""
    for record in ArrayRecordReader(str(shard)).read_all():
        feature = tf_example_pb2.Example.FromString(record).features.feature
        yield (
            feature["file_name"].bytes_list.value[0].decode(),
            feature["label"].int64_list.value[0],
            feature["image"].bytes_list.value[0],
        )


def test_it_is_what_tfds_writes_of_the_same_pictures(whole, tmp_path):
    theirs = Path(tiny_dataset.prepare("plain_imagenet", tmp_path).data_path)
    ours = whole / "imagenet2012" / "5.1.0"
    of_ours, of_theirs = (
        {path.name.split("-", 1)[1]: list(examples(path)) for path in f.glob("*.array_record-*")}
        for f in (ours, theirs)
    )
    assert len(of_ours) == 12 and of_ours == of_theirs
    assert (ours / "label.labels.txt").read_text() == (theirs / "label.labels.txt").read_text()


def test_archives_that_were_incomplete_are_not_taken_for_whole(tmp_path, capsys):
    train, _ = pictures()
    some = {name: tar(train[name]) for name in list(train)[:2]}
    archives = put(tmp_path / "manual", some)
    assert run(archives, tmp_path / "data") == 0
    assert "note: train has 29 of 1,281,167 pictures" in capsys.readouterr().err
    put(archives)
    error = refused(capsys, archives, tmp_path / "data")
    assert f"has changed since: 1 replaced ({TRAIN}); remove that folder" in error
    for name in (TRAIN, VALIDATION):  # nobody has to keep the archives
        (archives / name).unlink()
    assert run(archives, tmp_path / "data") == 0
    assert "note: train has 29 of 1,281,167 pictures" in capsys.readouterr().err


def test_every_picture_is_read_with_its_label(whole):
    train, validation = pictures()
    found = sources.open_records("imagenet2012", "train", str(whole))
    assert len(found) == 48 and len(found.classes) == 1000
    label_of = {
        encoded: found.classes.index(archive.removesuffix(".tar"))
        for archive, inner in train.items()
        for encoded in inner.values()
    }
    assert {found[i].encoded: found[i].label for i in range(48)} == label_of
    test = sources.open_records("imagenet2012", "test", str(whole))
    assert {test[i].encoded for i in range(len(test))} == set(validation.values())


def test_tfds_reads_it_from_its_folder(whole):
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(whole / "imagenet2012" / "5.1.0")
    assert str(builder.info.version) == "5.1.0" and builder.info.supervised_keys
    counts = {split: info.num_shards for split, info in builder.info.splits.items()}
    assert counts == {"train": 8, "validation": 4}
    assert len(builder.as_data_source(split="train[:50%]")) == 24


def test_imagenet_itself_has_as_many_shards_as_that_of_tfds(monkeypatch):
    monkeypatch.setattr(shard_utils.ShardConfig, "min_shard_size", 64 << 20)
    name = "ILSVRC2012_val_00000001.JPEG"
    validation = [shards.Picture("x", 0, 133_600, 0, name, 500)] * 50_000
    plan = shards.plan_shards("imagenet2012", {"validation": validation})["validation"]
    assert len(plan) == 64 and plan[3].name == "imagenet2012-validation.array_record-00003-of-00064"


@pytest.mark.parametrize("size", [0, 100, 127, 128, 16_383, 16_384, 2_100_000])
@pytest.mark.parametrize("label", [0, 127, 128, 999])
def test_a_record_has_the_size_that_was_reckoned(size, label):
    picture = shards.Picture("x", 0, size, 0, "n01440764_1.JPEG", label)
    assert shards.serialized_size(picture) == len(shards.serialize(picture, bytes(size)))


# Stopped.


@pytest.fixture(scope="module")
def killed(archives, tmp_path_factory):
    """Kill a process while it writes the sixth shard, and return the folder."""
    where = tmp_path_factory.mktemp("killed")
    process = subprocess.run(
        [sys.executable, "-c", KILLED, str(SMALL_SHARDS), *line(archives, where)],
        capture_output=True,
    )
    assert process.returncode == -signal.SIGKILL
    return where


@pytest.fixture
def half(killed, tmp_path):
    return Path(shutil.copytree(killed, tmp_path / "half"))


def test_a_killed_preparation_goes_on_to_the_same_bytes(half, archives, whole, capsys):
    unfinished = half / "imagenet2012" / "5.1.0.incomplete"
    before = {p.name: p.stat().st_ino for p in unfinished.glob("*-of-0000[0-9]")}
    assert len(before) == 5 and len(list(unfinished.glob("*.part"))) == 1
    assert run(archives, half) == 0
    assert "5 of 12 shards are there" in capsys.readouterr().err
    assert finished(half) == finished(whole)
    after = {p.name: p.stat().st_ino for p in (half / "imagenet2012" / "5.1.0").iterdir()}
    assert before.items() <= after.items()  # not written again


def test_what_is_half_prepared_says_so_and_which_command_goes_on(killed, archives):
    with pytest.raises(DataError) as e:
        sources.open_records("imagenet2012", "train", str(killed))
    said, command = str(e.value).split("; resume with: ")
    assert "half prepared" in said and "5 of 12 shards" in said
    assert sorted(shlex.split(command)) == sorted(["cnn-archs", *line(archives, killed)])


def test_a_shard_that_was_damaged_in_between_is_written_again(half, archives, whole):
    shard = next((half / "imagenet2012" / "5.1.0.incomplete").glob("*-00002-of-00008"))
    shard.write_bytes(shard.read_bytes()[:1000])
    assert run(archives, half) == 0 and finished(half) == finished(whole)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_keeps_what_is_written(number, archives, whole, tmp_path, monkeypatch, capsys):
    written = prepare.Progress.report_written

    def wrote(progress, size):
        if progress.shards == 3:
            signal.raise_signal(number)
        written(progress, size)

    with monkeypatch.context() as patch:
        patch.setattr(prepare.Progress, "report_written", wrote)
        assert "run the same command again" in refused(capsys, archives, tmp_path, code=75)
    unfinished = tmp_path / "imagenet2012" / "5.1.0.incomplete"
    assert len(list(unfinished.glob("*array_record*"))) == 3
    assert run(archives, tmp_path) == 0 and finished(tmp_path) == finished(whole)


def test_a_signal_is_heard_while_the_archives_are_read(archives, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        prepare.Progress, "is_due", lambda self: signal.raise_signal(signal.SIGTERM)
    )
    assert "stopped" in refused(capsys, archives, tmp_path, code=75)


def test_another_source_is_not_mixed_with_what_is_there(half, tmp_path, capsys):
    train, _ = pictures()
    first = train["n01440764.tar"]
    a, b = list(first)[:2]
    first[a], first[b] = first[b], first[a]
    other = put(tmp_path / "other", {name: tar(inner) for name, inner in train.items()})
    message = refused(capsys, other, half)
    unfinished = half / "imagenet2012" / "5.1.0.incomplete"
    assert str(unfinished) in message and "remove it" in message
    shutil.rmtree(unfinished)
    assert run(other, half) == 0


def test_two_at_once_are_refused(archives, tmp_path, capsys):
    folder = tmp_path / "imagenet2012"
    folder.mkdir()
    with lock(folder / ".lock"):
        assert "in use by process" in refused(capsys, archives, tmp_path, code=2)


def test_what_is_there_is_left_alone(whole, archives, capsys):
    before = {p: p.stat().st_mtime_ns for p in (whole / "imagenet2012" / "5.1.0").iterdir()}
    assert run(archives, whole) == 0
    assert "train 48, validation 15" in capsys.readouterr().out
    assert before == {p: p.stat().st_mtime_ns for p in (whole / "imagenet2012" / "5.1.0").iterdir()}


@pytest.mark.parametrize("format_there", ["tfrecord", None])
def test_what_is_there_in_another_form_is_not_touched(
    format_there, whole, archives, tmp_path, capsys
):
    there = Path(shutil.copytree(whole, tmp_path / "data")) / "imagenet2012" / "5.1.0"
    info = there / "dataset_info.json"
    if format_there:
        info.write_text(info.read_text().replace("array_record", format_there, 1))
    else:
        info.unlink()
    before = contents(there)
    message = refused(capsys, archives, tmp_path / "data")
    assert str(tmp_path / "data") in message and "remove it" in message
    assert contents(there) == before


# Refused.


@pytest.mark.parametrize("name", [TRAIN, VALIDATION])
def test_a_missing_archive_says_where_to_get_it(name, archives, tmp_path, capsys):
    manual = Path(shutil.copytree(archives, tmp_path / "manual"))
    (manual / name).unlink()
    message = refused(capsys, manual, tmp_path)
    assert f"there is no {manual / name}" in message and "image-net.org" in message


def test_archives_are_looked_for_where_tfds_does(archives, tmp_path, capsys):
    assert cli.main(["prepare", "imagenet2012", f"--data_dir={tmp_path}"]) == 3
    assert str(tmp_path / "downloads" / "manual" / TRAIN) in capsys.readouterr().err
    shutil.copytree(archives, tmp_path / "downloads" / "manual")
    assert cli.main(["prepare", "imagenet2012", f"--data_dir={tmp_path}"]) == 0


def test_a_folder_that_is_not_there_is_exit_code_2(tmp_path, capsys):
    assert "--manual_dir" in refused(capsys, tmp_path / "none", tmp_path, code=2)


CUT = {  # what is left of an archive of five members of so many bytes each, by where it is cut
    "nothing": lambda whole, step: b"",
    "in a header": lambda whole, step: whole[: 2 * step + 100],
    "between two members": lambda whole, step: whole[: 2 * step],
    "in a member": lambda whole, step: whole[: 2 * step + 700],
    "before its end": lambda whole, step: whole[: 5 * step],
    "a header overwritten": lambda whole, step: (
        whole[: 2 * step] + b"\xa5" * 512 + whole[2 * step + 512 :]
    ),
}


@pytest.mark.parametrize("where", CUT)
@pytest.mark.parametrize("archive", [TRAIN, VALIDATION, "n01440764.tar"])
def test_a_damaged_archive_is_named(archive, where, tmp_path, capsys):
    inner = tar({f"n01440764_{i}.JPEG": bytes(512) for i in range(5)})
    if archive == TRAIN:
        synsets = ("n01440764", "n01443537", "n01484850", "n01491361", "n01494475")
        files = {f"{synset}.tar": tar({f"{synset}_1.JPEG": bytes(512)}) for synset in synsets}
        put(tmp_path)
        (tmp_path / TRAIN).write_bytes(CUT[where](tar(files), 512 + len(tar({}))))
    elif archive == VALIDATION:
        files = {f"ILSVRC2012_val_{i:08d}.JPEG": bytes(512) for i in range(1, 6)}
        put(tmp_path)
        (tmp_path / VALIDATION).write_bytes(CUT[where](tar(files), 1024))
    else:
        put(tmp_path, {archive: CUT[where](inner, 1024)})
    message = refused(capsys, tmp_path, tmp_path / "data")
    assert "damaged data" in message and archive in message
    assert not list((tmp_path / "data").rglob("*array_record*"))


def linked(kind, size=0):
    member = tarfile.TarInfo("n01440764_7.JPEG")
    member.type, member.linkname, member.size = kind, "../../escaped", size
    return member


BACKWARDS = "a file that ends before it begins"
HOSTILE = {
    "../../escaped": b"x",
    "/escaped": b"x",
    "n01440764_1.JPEG/../../escaped": b"x",
    "a symbolic link": linked(tarfile.SYMTYPE),
    "a hard link": linked(tarfile.LNKTYPE),
    "a device": linked(tarfile.CHRTYPE),
    "a pipe": linked(tarfile.FIFOTYPE),
    "a folder": linked(tarfile.DIRTYPE),
    "a sparse file": linked(tarfile.GNUTYPE_SPARSE),
    BACKWARDS: linked(tarfile.REGTYPE, -512),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_member_is_refused_and_nothing_is_written(name, tmp_path, capsys):
    member = {name: HOSTILE[name]}
    for train, validation in (
        (member, None),
        ({"n01440764.tar": tar(member)}, None),
        (None, member),
    ):
        put(tmp_path / "manual", train, validation)
        message = refused(capsys, tmp_path / "manual", tmp_path / "data")
        if name == BACKWARDS and "invalid offset" in message:
            continue  # from Python 3.13 on, tarfile refuses it
        assert "not a regular file" in message or "of ImageNet" in message
    files = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {TRAIN, VALIDATION, ".lock"}


def test_a_picture_of_no_synset_or_twice_is_refused(tmp_path, capsys):
    inner = tar({"n01440764_1.JPEG": b"x"})
    put(tmp_path, {"n99999999.tar": inner})
    assert "n99999999.tar" in refused(capsys, tmp_path, tmp_path)
    put(tmp_path, {"n01440764.tar": inner, "n01443537.tar": inner})
    assert "two pictures that are named n01440764_1.JPEG" in refused(capsys, tmp_path, tmp_path)
    put(tmp_path, {"n01440764.tar": inner}, {"ILSVRC2012_val_00050001.JPEG": b"x"})
    assert "ILSVRC2012_val_00050001.JPEG" in refused(capsys, tmp_path, tmp_path)


def test_what_is_no_picture_is_named(tmp_path, capsys):
    put(tmp_path, {"n01440764.tar": tar({"n01440764_1.JPEG": b"<html>not found</html>"})})
    message = refused(capsys, tmp_path, tmp_path)
    assert "n01440764_1.JPEG" in message and TRAIN in message
    assert not list(tmp_path.rglob("*array_record*"))


def test_a_full_disk_is_said_before_anything_is_written(archives, tmp_path, monkeypatch, capsys):
    full = shutil.disk_usage(tmp_path)._replace(free=40_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    message = refused(capsys, archives, tmp_path)
    assert "has room for 0.00" in message and "--data_dir" in message
    assert not list(tmp_path.rglob("*array_record*"))


def test_a_disk_that_fills_up_is_one_line_and_gone_on_with(archives, whole, tmp_path, capsys):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))
    try:
        message = refused(capsys, archives, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "cannot write" in message and "File too large" in message
    assert not list(tmp_path.rglob("*.part"))
    assert run(archives, tmp_path) == 0 and finished(tmp_path) == finished(whole)


# Against tfds' own imagenet2012.


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None, reason="needs TensorFlow: extra prepare"
)
def test_it_is_what_tfds_makes_of_the_same_archives(archives, whole, tmp_path):
    import tensorflow_datasets as tfds

    builder = tfds.builder("imagenet2012", data_dir=str(tmp_path), file_format="array_record")
    with contextlib.redirect_stdout(None):
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(manual_dir=str(archives))
        )
    theirs, ours = Path(builder.data_path), whole / "imagenet2012" / "5.1.0"
    assert {*os.listdir(theirs), "source.json.gz"} == set(os.listdir(ours))
    other = set()
    for path in theirs.glob("*array_record*"):
        for a, b in zip(examples(path), examples(ours / path.name), strict=True):
            assert a[:2] == b[:2]
            if a[2] != b[2]:
                other.add(a[0])
    assert other == set(ENCODED_ANEW)
    assert (theirs / "features.json").read_text() == (ours / "features.json").read_text()
