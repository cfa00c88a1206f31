"""A tfds dataset of pictures, written as tfds writes it, but without TensorFlow.

A shard is either whole, under its own name, or not there: so what was begun can be gone on with.
"""

import hashlib
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from cnn_archs.arithmetic import ceil_div
from cnn_archs.data.corruption import data_errors
from cnn_archs.data.loading import decode, threads
from cnn_archs.errors import DataError, first_line
from cnn_archs.runtime.files import atomic_write

READERS = 16  # threads, which mostly wait: the pictures of a shard lie all over an archive
PICTURES_AHEAD = 32  # pictures

OnProgress = Callable[[int], None]  # hears how far the work is; what it raises ends that


class Picture(NamedTuple):
    """An encoded image: `size` bytes from `offset` on in the file `path`, and what goes with it.

    name: what is stored as its file_name, of which there is one in a split. modified: to notice
    another picture of the same name and size.
    """

    path: str
    offset: int
    size: int
    modified: float
    name: str
    label: int

    def __str__(self) -> str:
        return self.path if self.path.endswith(self.name) else f"{self.name} in {self.path}"

    def read(self) -> bytes:
        """The encoded image. DataError where it is gone, cut off, or has no header of an image."""
        with data_errors(str(self)):
            with open(self.path, "rb") as file:
                file.seek(self.offset)
                encoded = file.read(self.size)
            if len(encoded) != self.size:
                raise ValueError(f"{len(encoded):,} bytes, not {self.size:,}")
            decode.open_image(encoded)
        return encoded


Splits = Mapping[str, Sequence[Picture]]  # name -> pictures in the order in which they are stored


def in_tfds_order(split: str, pictures: Sequence[Picture]) -> list[Picture]:
    """In tfds' order: that of the MD5 of the split's name and the picture's."""
    return sorted(pictures, key=lambda p: hashlib.md5(f"{split}{p.name}".encode()).digest())


def source_digest(splits: Splits, classes: Sequence[str]) -> str:
    """What changes with any picture, label or class, as far as can be told without reading all."""
    found = hashlib.sha256(repr(classes).encode())
    for split, pictures in splits.items():
        for p in pictures:
            found.update(repr((split, p.name, p.label, p.offset, p.size, p.modified)).encode())
    return found.hexdigest()


def serialize(picture: Picture, encoded: bytes) -> bytes:
    """The tf.Example of a picture; its fields in one order, which tfds leaves to chance."""
    from tensorflow_datasets.proto import tf_example_pb2 as example
    from tensorflow_datasets.proto import tf_feature_pb2 as proto

    name = os.fsencode(picture.name)
    feature = {
        "image": proto.Feature(bytes_list=proto.BytesList(value=[encoded])),
        "label": proto.Feature(int64_list=proto.Int64List(value=[picture.label])),
        "file_name": proto.Feature(bytes_list=proto.BytesList(value=[name])),
    }
    whole = example.Example(features=proto.Features(feature=feature))
    return whole.SerializeToString(deterministic=True)


def serialized_size(picture: Picture) -> int:
    """len(serialized(picture, ...)), the image not read: of label, so many bytes as it takes."""

    def field(size: int) -> int:
        """Of a field whose content has `size` bytes, with its tag and its length."""
        return 1 + varint_size(size) + size

    def entry(key: str, content: int) -> int:
        return field(field(len(key)) + field(field(content)))

    return field(
        entry("image", field(picture.size))
        + entry("label", field(varint_size(picture.label)))
        + entry("file_name", field(len(os.fsencode(picture.name))))
    )


def varint_size(value: int) -> int:
    """The bytes that protobuf takes for a number that is not negative: 7 bits each."""
    return max(1, ceil_div(value.bit_length(), 7))


class Shard(NamedTuple):
    """A file that is to be, and the pictures in it."""

    name: str
    pictures: Sequence[Picture]

    @property
    def size(self) -> int:
        """Bytes of pictures."""
        return sum(p.size for p in self.pictures)


def plan_shards(dataset: str, splits: Splits) -> dict[str, list[Shard]]:
    """The shards of each split: as many as tfds makes of so many pictures of that size."""
    from tensorflow_datasets.core.utils import shard_utils

    found: dict[str, list[Shard]] = {}
    for split, pictures in splits.items():
        size, n = sum(map(serialized_size, pictures)), len(pictures)
        count = shard_utils.ShardConfig.calculate_number_shards(size, n)
        ends = shard_utils.get_shard_boundaries(n, count)
        found[split] = [
            Shard(f"{dataset}-{split}.array_record-{i:05d}-of-{count:05d}", pictures[start:end])
            for i, (start, end) in enumerate(zip([0, *ends], ends, strict=False))
        ]
    return found


def is_written(path: Path, shard: Shard) -> bool:
    """Is the shard in the file `path`, with as many pictures as it should have?"""
    from array_record.python.array_record_module import ArrayRecordReader

    try:
        return path.is_file() and ArrayRecordReader(str(path)).num_records() == len(shard.pictures)
    except RuntimeError:
        return False


def read_ahead(pictures: Sequence[Picture]) -> Generator[tuple[Picture, bytes], None, None]:
    """Each picture and its encoded image, in order, read by threads."""
    encoded: dict[int, bytes] = {}

    def work(k: int) -> None:
        encoded[k] = pictures[k].read()

    with closing(threads.run_in_order(work, len(pictures), READERS, PICTURES_AHEAD)) as done:
        for k, _ in enumerate(done):
            yield pictures[k], encoded.pop(k)


def write_shard(folder: Path, shard: Shard, tick: OnProgress) -> None:
    """Writes one shard in `folder`, under another name until it is whole and on the disk.

    tick: called after each picture with its bytes. DataError for a picture that cannot be read, and
    where there is no room.
    """
    from array_record.python.array_record_module import ArrayRecordWriter

    path = folder / shard.name
    try:
        with atomic_write(path) as part:
            writer = ArrayRecordWriter(str(part), "group_size:1")
            try:
                with closing(read_ahead(shard.pictures)) as pictures:
                    for picture, encoded in pictures:
                        writer.write(serialize(picture, encoded))
                        tick(picture.size)
            finally:
                writer.close()
            if not is_written(part, shard):
                raise RuntimeError("it does not hold what was written to it")
    except RuntimeError as e:  # array_record has no other
        raise DataError(f"cannot write {path}: {first_line(e)}") from e


def write_description(info: Any, folder: Path, plan: Mapping[str, Sequence[Shard]]) -> None:
    """Writes tfds' description of a dataset, `info`, beside its shards in `folder`."""
    import tensorflow_datasets as tfds

    splits = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=[len(shard.pictures) for shard in plan[split]],
            num_bytes=sum(serialized_size(p) for shard in plan[split] for p in shard.pictures),
            filename_template=tfds.core.ShardedFileTemplate(
                data_dir=folder, dataset_name=info.name, split=split, filetype_suffix="array_record"
            ),
        )
        for split in plan
    ]
    info.set_splits(tfds.core.splits.SplitDict(splits))
    info.write_to_directory(folder)
