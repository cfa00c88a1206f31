"""The dataset of an experiment, and its division into splits."""

import dataclasses

from cnn_archs.data.datasets import image_folder, sources
from cnn_archs.data.datasets.sources import Split
from cnn_archs.data.loading.streaming import Streamed
from cnn_archs.data.transforms.crops import Crop
from cnn_archs.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A dataset, and the part of it that an experiment uses.

    Nothing is read until a method needs it. stored_shape: (H, W, C) of the images after
    downsampling; H and W are 0 if images differ in size; then C is 3, or 1 to have them
    in gray. classes: the number of classes.
    downsample: each square of this many pixels on a side is replaced by its mean. holdout: the
    number of training images that are set aside as the split `val`. examples: the number of
    training images to use; 0 for all that are not held out. on_corrupt, threads: see `Streamed`.
    """

    name: str
    data_dir: str
    stored_shape: tuple[int, int, int]
    classes: int
    downsample: int
    holdout: int
    examples: int
    on_corrupt: str
    threads: int

    @property
    def in_memory(self) -> bool:
        """Whether all images have one size and are loaded whole instead of streamed."""
        return 0 not in self.stored_shape

    def class_names(self) -> tuple[str, ...]:
        """Return the names of the classes in the order of their labels."""
        return sources.class_names(self.name, self.data_dir)

    def notes(self) -> list[str]:
        """Return lines for the user about what of a folder of images is read, and what is not.

        The whole folder is listed. Raises DataError if a folder in it cannot be read.
        """
        return image_folder.reading_notes(self.data_dir) if self.name == "image_folder" else []

    def training_images(self) -> int:
        """Count the images to train on without reading them.

        Raises DataError if the dataset is missing.
        """
        return (
            self.examples or sources.count_training_images(self.name, self.data_dir) - self.holdout
        )

    def splits(self, crop: Crop) -> dict[str, Split | Streamed]:
        """Load all splits that a training run needs.

        They are `train`, `test`, further test splits of the dataset, and `val` if images are held
        out. crop: how the host crops streamed images.
        """
        tested = ("test", *sources.EXTRA_TEST_SPLITS.get(self.name, ()))
        return self._load_training(crop) | {name: self.split(name, crop) for name in tested}

    def split(self, name: str, crop: Crop) -> Split | Streamed:
        """Load one of `splits` by name, or another split that the dataset has.

        Raises ConfigError if there is no such split.
        """
        if name in ("train", "val"):
            both = self._load_training(crop)
            if name not in both:
                raise ConfigError("--split=val: this run held out no images (data.holdout=0)")
            return both[name]
        if self.in_memory:
            return self._load(name)
        return self._stream(sources.open_records(self.name, name, self.data_dir), crop)

    def _load_training(self, crop: Crop) -> dict[str, Split] | dict[str, Streamed]:
        """Load `train`, and `val` if images are held out."""
        if self.in_memory:
            return self._hold_out(self._load("train"))
        parts = self._hold_out(sources.open_records(self.name, "train", self.data_dir))
        return {name: self._stream(part, crop) for name, part in parts.items()}

    def _hold_out(self, train: sources.SplitOrRecords) -> dict[str, sources.SplitOrRecords]:
        found = {"train": train}
        if self.holdout:
            found["train"], found["val"] = sources.hold_out(train, self.holdout)
        if self.examples:
            found["train"] = sources.subsample(found["train"], self.examples)
        return found

    def _load(self, name: str) -> Split:
        return sources.load_split(self.name, name, self.data_dir).downsample(self.downsample)

    def _stream(self, records: sources.Records, crop: Crop) -> Streamed:
        records = dataclasses.replace(records, channels=self.stored_shape[-1])
        return Streamed(records, crop, on_corrupt=self.on_corrupt, threads=self.threads)
