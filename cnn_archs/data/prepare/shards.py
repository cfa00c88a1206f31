"""Write a dataset of pictures as tfds does, but without TensorFlow.

A shard gets its name only when it is whole, so writing can be stopped and resumed.
"""

import hashlib
import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from cnn_archs.arithmetic import ceil_div
from cnn_archs.data.corruption import data_errors
from cnn_archs.data.loading import decode, threads
from cnn_archs.data.prepare.progress import Progress
from cnn_archs.errors import DataError, first_line
from cnn_archs.runtime.files import atomic_write, check_regular

READERS = 16  # threads; they mostly wait, as the pictures of a shard lie all over an archive
IMAGES_AHEAD = 32  # read before they are written


class Example(Protocol):
    """An encoded image with its labels, to be stored as one record.

    name: unique in its split; tfds orders by it. size: of the encoded image, in bytes. fields: what
    is stored beside the image. identity: values that differ if the example is another one.
    """

    @property
    def name(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def fields(self) -> Mapping[str, int | bytes]: ...
    @property
    def identity(self) -> tuple[object, ...]: ...

    def read(self) -> bytes:
        """Return the encoded image. Raises DataError if it cannot be read."""
        ...


class Picture(NamedTuple):
    """An example in a file: `size` bytes at `offset` in the file `path`, with its name and label.

    name: it is stored as file_name. modified: the time of the last change, to
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

    @property
    def fields(self) -> Mapping[str, int | bytes]:
        """Return the label, and the name as file_name."""
        return {"label": self.label, "file_name": os.fsencode(self.name)}

    @property
    def identity(self) -> tuple[object, ...]:
        """Return the values that tell this picture from others; it is not read."""
        return self.name, self.label, self.offset, self.size, self.modified

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


Splits = Mapping[str, Sequence[Example]]  # name -> examples in the order in which they are stored
E = TypeVar("E", bound=Example)


def in_tfds_order(split: str, examples: Sequence[E]) -> list[E]:
    """Sort examples as tfds does: by the MD5 digest of the split's and the example's name."""
    return sorted(examples, key=lambda e: hashlib.md5(f"{split}{e.name}".encode()).digest())


def source_digest(splits: Splits, classes: Sequence[str]) -> str:
    """Return a digest that changes with any example, label or class.

    Images are not read; the digest covers what `Example.identity` has of each.
    """
    found = hashlib.sha256(repr(classes).encode())
    for split, examples in splits.items():
        for example in examples:
            found.update(repr((split, *example.identity)).encode())
    return found.hexdigest()


def serialize(example: Example, encoded: bytes) -> bytes:
    """Serialize an example as a tf.Example, with its fields in a fixed order (tfds' is not)."""
    from tensorflow_datasets.proto import tf_example_pb2
    from tensorflow_datasets.proto import tf_feature_pb2 as proto

    def feature(value: int | bytes) -> proto.Feature:
        if isinstance(value, bytes):
            return proto.Feature(bytes_list=proto.BytesList(value=[value]))
        return proto.Feature(int64_list=proto.Int64List(value=[value]))

    values = {"image": encoded, **example.fields}
    features = proto.Features(feature={key: feature(value) for key, value in values.items()})
    return tf_example_pb2.Example(features=features).SerializeToString(deterministic=True)


def serialized_size(example: Example) -> int:
    """Return len(serialize(example, encoded)) without reading the image."""

    def field(size: int) -> int:
        """Return the size of a field with its tag and its length, for `size` bytes of content."""
        return 1 + varint_size(size) + size

    def entry(key: str, value: int) -> int:
        """Return the size of a feature whose value takes `value` bytes."""
        return field(field(len(key)) + field(field(field(value))))

    others = (
        entry(key, len(value) if isinstance(value, bytes) else varint_size(value))
        for key, value in example.fields.items()
    )
    return field(entry("image", example.size) + sum(others))


def varint_size(value: int) -> int:
    """Return how many bytes protobuf takes for a non-negative integer: one per 7 bits."""
    return max(1, ceil_div(value.bit_length(), 7))


class Shard(NamedTuple):
    """A file of the dataset, written or not, and its examples."""

    name: str
    examples: Sequence[Example]

    @property
    def size(self) -> int:
        """The size of its encoded images in bytes."""
        return sum(e.size for e in self.examples)


def plan_shards(dataset: str, splits: Splits) -> dict[str, list[Shard]]:
    """Divide each split into as many shards as tfds would make of it."""
    from tensorflow_datasets.core.utils import shard_utils

    found: dict[str, list[Shard]] = {}
    for split, examples in splits.items():
        size, n = sum(map(serialized_size, examples)), len(examples)
        count = shard_utils.ShardConfig.calculate_number_shards(size, n)
        ends = shard_utils.get_shard_boundaries(n, count)
        found[split] = [
            Shard(f"{dataset}-{split}.array_record-{i:05d}-of-{count:05d}", examples[start:end])
            for i, (start, end) in enumerate(zip([0, *ends], ends, strict=False))
        ]
    return found


def is_written(path: Path, shard: Shard) -> bool:
    """Return whether the file `path` exists and has as many examples as the shard."""
    from array_record.python.array_record_module import ArrayRecordReader

    try:
        return path.is_file() and ArrayRecordReader(str(path)).num_records() == len(shard.examples)
    except RuntimeError:
        return False


def read_ahead(examples: Sequence[Example]) -> Generator[tuple[Example, bytes], None, None]:
    """Yield each example with its encoded image, in order; threads read ahead."""
    encoded: dict[int, bytes] = {}

    def work(k: int) -> None:
        encoded[k] = examples[k].read()

    with closing(threads.run_in_order(work, len(examples), READERS, IMAGES_AHEAD)) as done:
        for k, _ in enumerate(done):
            yield examples[k], encoded.pop(k)


def write_shard(folder: Path, shard: Shard, progress: Progress) -> None:
    """Write one shard in `folder`; it gets its name when it is whole and on the disk.

    Raises DataError if an image cannot be read or the shard cannot be written.
    """
    from array_record.python.array_record_module import ArrayRecordWriter

    path = folder / shard.name
    try:
        with atomic_write(path) as part:
            writer = ArrayRecordWriter(str(part), "group_size:1")
            try:
                with closing(read_ahead(shard.examples)) as examples:
                    for example, encoded in examples:
                        writer.write(serialize(example, encoded))
                        progress.report_written(example.size)
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
            shard_lengths=[len(shard.examples) for shard in plan[split]],
            num_bytes=sum(serialized_size(e) for shard in plan[split] for e in shard.examples),
            filename_template=tfds.core.ShardedFileTemplate(
                data_dir=folder, dataset_name=info.name, split=split, filetype_suffix="array_record"
            ),
        )
        for split in plan
    ]
    info.set_splits(tfds.core.splits.SplitDict(splits))
    info.write_to_directory(folder)
