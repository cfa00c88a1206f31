"""Write a dataset of pictures as tfds does, but without TensorFlow.

A shard gets its name only when it is whole, so writing can be stopped and resumed.
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
from cnn_archs.runtime.files import atomic_write, check_regular

READERS = 16  # threads; they mostly wait, as the pictures of a shard lie all over an archive
PICTURES_AHEAD = 32  # read before they are written

OnProgress = Callable[[int], None]  # called with the progress; it may raise to end the work


class Picture(NamedTuple):
    """An encoded image: `size` bytes at `offset` in the file `path`, with its name and label.

    name: unique in its split; it is stored as file_name. modified: the time of the last change, to
    notice when a picture is replaced by another one of the same name and size.
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
        """Read the encoded image.

        Raises DataError if it is missing, cut off, or does not begin like an image.
        """
        with data_errors(str(self)):
            check_regular(self.path)
            with open(self.path, "rb") as file:
                file.seek(self.offset)
                encoded = file.read(self.size)
            if len(encoded) != self.size:
                raise ValueError(f"{len(encoded):,} bytes, not {self.size:,}")
            decode.open_image(encoded)
        return encoded


Splits = Mapping[str, Sequence[Picture]]  # name -> pictures in the order in which they are stored


def in_tfds_order(split: str, pictures: Sequence[Picture]) -> list[Picture]:
    """Sort pictures as tfds does: by the MD5 digest of the split's and the picture's name."""
    return sorted(pictures, key=lambda p: hashlib.md5(f"{split}{p.name}".encode()).digest())


def source_digest(splits: Splits, classes: Sequence[str]) -> str:
    """Return a digest that changes with any picture, label or class.

    Pictures are not read; the digest covers their names, sizes, offsets and times of change.
    """
    found = hashlib.sha256(repr(classes).encode())
    for split, pictures in splits.items():
        for p in pictures:
            found.update(repr((split, p.name, p.label, p.offset, p.size, p.modified)).encode())
    return found.hexdigest()


def serialize(picture: Picture, encoded: bytes) -> bytes:
    """Serialize a picture as a tf.Example, with its fields in a fixed order (tfds' is not)."""
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
    """Return len(serialize(picture, encoded)) without reading the image."""

    def field(size: int) -> int:
        """Return the size of a field with its tag and its length, for `size` bytes of content."""
        return 1 + varint_size(size) + size

    def entry(key: str, content: int) -> int:
        return field(field(len(key)) + field(field(content)))

    return field(
        entry("image", field(picture.size))
        + entry("label", field(varint_size(picture.label)))
        + entry("file_name", field(len(os.fsencode(picture.name))))
    )


def varint_size(value: int) -> int:
    """Return how many bytes protobuf takes for a non-negative integer: one per 7 bits."""
    return max(1, ceil_div(value.bit_length(), 7))


class Shard(NamedTuple):
    """A file of the dataset, written or not, and its pictures."""

    name: str
    pictures: Sequence[Picture]

    @property
    def size(self) -> int:
        """The size of its encoded pictures in bytes."""
        return sum(p.size for p in self.pictures)


def plan_shards(dataset: str, splits: Splits) -> dict[str, list[Shard]]:
    """Divide each split into as many shards as tfds would make of it."""
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
    """Return whether the file `path` exists and has as many pictures as the shard."""
    from array_record.python.array_record_module import ArrayRecordReader

    try:
        return path.is_file() and ArrayRecordReader(str(path)).num_records() == len(shard.pictures)
    except RuntimeError:
        return False


def read_ahead(pictures: Sequence[Picture]) -> Generator[tuple[Picture, bytes], None, None]:
    """Yield each picture with its encoded image, in order; threads read ahead."""
    encoded: dict[int, bytes] = {}

    def work(k: int) -> None:
        encoded[k] = pictures[k].read()

    with closing(threads.run_in_order(work, len(pictures), READERS, PICTURES_AHEAD)) as done:
        for k, _ in enumerate(done):
            yield pictures[k], encoded.pop(k)


def write_shard(folder: Path, shard: Shard, tick: OnProgress) -> None:
    """Write one shard in `folder`; it gets its name when it is whole and on the disk.

    tick: called with the size of each picture once that is written. Raises DataError if a picture
    cannot be read or the shard cannot be written.
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
                raise RuntimeError("the file does not hold what was written to it")
    except RuntimeError as e:  # the only exception that array_record raises
        raise DataError(f"cannot write {path}: {first_line(e)}") from e


def write_description(info: Any, folder: Path, plan: Mapping[str, Sequence[Shard]]) -> None:
    """Write tfds' description of the dataset beside its shards in `folder`.

    info: the description without its splits. plan: the shards of each split.
    """
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
