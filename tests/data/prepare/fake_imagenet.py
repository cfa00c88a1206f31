"""Imitations of ImageNet's two archives, with a few small pictures of a few synsets."""

import io
import tarfile

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

TRAIN, VALIDATION = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"
COUNTS = {"n02105855": 9, "n01440764": 20, "n01739381": 12, "n15075141": 7}  # not in order
ENCODED_ANEW = {"n02105855_2933.JPEG": ("PNG", "RGB"), "n01739381_1309.JPEG": ("JPEG", "CMYK")}


def pictures():
    """Return {file: {name: bytes}} of train and {name: bytes} of validation, in order."""
    random = np.random.default_rng(0)

    def encoded(name):
        kind, mode = ENCODED_ANEW.get(name, ("JPEG", "RGB"))
        width, height = random.integers(8, 40, 2).tolist()
        pixels = random.bytes(width * height * len(mode))
        file = io.BytesIO()
        Image.frombytes(mode, (width, height), pixels).save(file, kind)
        return file.getvalue()

    train = {}
    for synset, count in COUNTS.items():
        numbers = [*random.permutation(1000)[: count - 1], 0]
        names = [f"{synset}_{n}.JPEG" for n in numbers]
        special = [n for n in ENCODED_ANEW if n.startswith(synset)]
        names[-1] = (special or names[-1:])[0]
        train[f"{synset}.tar"] = {name: encoded(name) for name in names}
    names = [f"ILSVRC2012_val_{n + 1:08d}.JPEG" for n in random.permutation(15)]
    return train, {name: encoded(name) for name in names}


def tar(files):
    """Make an archive of {name: bytes}; a tarfile.TarInfo stands for what is not a regular file."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w:", format=tarfile.GNU_FORMAT) as archive:
        for name, content in files.items():
            if isinstance(content, tarfile.TarInfo):
                # Its header alone: from Python 3.13 on, `addfile` refuses sizes that make no sense.
                header = content.tobuf(archive.format, archive.encoding, archive.errors)
                archive.fileobj.write(header)
                archive.offset += len(header)
                continue
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(content), 1_340_000_000
            archive.addfile(member, io.BytesIO(content))
    return whole.getvalue()


def put(folder, train=None, validation=None):
    """Write both archives in `folder`; {name: bytes} replaces some of their pictures."""
    its_train, its_validation = pictures()
    train = train or {name: tar(inner) for name, inner in its_train.items()}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TRAIN).write_bytes(tar(train))
    (folder / VALIDATION).write_bytes(tar(validation or its_validation))
    return folder


class PlainImagenet(tfds.core.GeneratorBasedBuilder):
    """A dataset of the same pictures for tfds' own writer, whose order and shards are compared."""

    VERSION = tfds.core.Version("1.0.0")
    pkg_dir_path = None

    def _info(self):
        labels = tfds.core.tfds_path("datasets/imagenet2012/labels.txt").read_text().split()
        features = {
            "image": tfds.features.Image(encoding_format="jpeg"),
            "label": tfds.features.ClassLabel(names=labels),
            "file_name": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        train, validation = pictures()
        synsets = tfds.core.tfds_path("datasets/imagenet2012/validation_labels.txt")
        label_of = dict(zip(sorted(validation), synsets.read_text().split(), strict=False))
        of_train = {
            name: (archive.removesuffix(".tar"), encoded)
            for archive, inner in train.items()
            for name, encoded in inner.items()
        }
        of_validation = {name: (label_of[name], encoded) for name, encoded in validation.items()}
        return {
            "train": self._generate_examples(of_train),
            "validation": self._generate_examples(of_validation),
        }

    def _generate_examples(self, examples):
        for name, (label, encoded) in examples.items():
            yield name, {"image": io.BytesIO(encoded), "label": label, "file_name": name}
