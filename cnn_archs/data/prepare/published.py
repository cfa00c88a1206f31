"""Make examples of the datasets that are published as arrays: MNIST, CIFAR-10 and their like.

Images are encoded as PNG, as tfds does it: equal pixels, in files that differ by a few bytes.
"""

import hashlib
import io
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from cnn_archs.data.datasets import tfds_source
from cnn_archs.data.datasets.fingerprint import Fingerprints
from cnn_archs.data.prepare.array_sets import ARRAY_SETS, Arrays
from cnn_archs.data.prepare.download import RemoteFile, fetch
from cnn_archs.data.prepare.original_files import read_original
from cnn_archs.data.prepare.progress import Progress
from cnn_archs.data.prepare.raw_datasets import Found, RawDataset
from cnn_archs.data.prepare.shards import in_tfds_order


class ArrayImage(NamedTuple):
    """An example in memory.

    name: its number in the original files, which tfds orders by. encoded: the image as PNG.
    """

    name: str
    encoded: bytes
    fields: Mapping[str, int | bytes]

    @property
    def size(self) -> int:
        return len(self.encoded)

    @property
    def identity(self) -> tuple[object, ...]:
        return self.name, sorted(self.fields.items()), hashlib.sha256(self.encoded).hexdigest()

    def read(self) -> bytes:
        return self.encoded


def published_arrays(
    name: str, where: Path, source: Path | None, command: Sequence[str]
) -> RawDataset:
    """Return the dataset `name`, with tfds' version, features and order.

    source: the file or folder to read; None to download what tfds downloads. command: the words of
    the command line that prepares it, without its source.
    """
    dataset = ARRAY_SETS[name]
    builder = tfds_source.open_builder(name, str(where))
    path = Path(builder.data_path)
    if not path.exists():
        for field, names in dataset.names.items():
            builder.info.features[field].names = list(names)

    def find(progress: Progress) -> Found:
        folder = where / "downloads" / name
        if not source:
            from_folder = shlex.join([*command, f"--from={folder.absolute()}"])
            fetch(remote_files(builder), folder, progress, from_folder)
        arrays = read_original(dataset, source or folder)
        marks = fingerprints_of(arrays)
        total, done = sum(len(found.images) for found in arrays.values()), 0
        splits = {}
        has_id = "id" in builder.info.features
        for split, found in arrays.items():
            examples = []
            for i, image in enumerate(found.images):
                examples.append(example(split, i, image, found.labels, has_id))
                progress.report_encoded(done + i, total)
            splits[split] = in_tfds_order(split, examples)
            done += len(examples)
        return Found(splits, marks)

    def fingerprints() -> Fingerprints:
        return fingerprints_of(read_original(dataset, source)) if source else {}

    return RawDataset(name, path, builder.info, dataset.counts, find, fingerprints)


def remote_files(builder: Any) -> list[RemoteFile]:
    """Return the files that tfds downloads for a dataset, from its own list."""
    return [RemoteFile(url, int(i.size), i.checksum) for url, i in builder.url_infos.items()]


def example(
    split: str, i: int, image: np.ndarray, labels: Mapping[str, np.ndarray], has_id: bool
) -> ArrayImage:
    """Return example i of a split. image: u8[H, W, C]. has_id: whether it has tfds' field `id`."""
    file = io.BytesIO()
    Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(file, "PNG")
    fields: dict[str, int | bytes] = {f: int(values[i]) for f, values in labels.items()}
    if has_id:
        fields["id"] = f"{split}_{i:05d}".encode()
    return ArrayImage(str(i), file.getvalue(), fields)


def fingerprints_of(arrays: Mapping[str, Arrays]) -> Fingerprints:
    """Return the size and a digest of the images and labels of each split."""
    marks = {}
    for split, found in arrays.items():
        digest = hashlib.sha256(found.images.data)
        for field in sorted(found.labels):
            digest.update(found.labels[field].data)
        marks[f"images and labels of {split}"] = f"{found.images.nbytes}:{digest.hexdigest()[:16]}"
    return marks
