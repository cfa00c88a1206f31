"""A dataset of seven images for test_prepare.py: class k is filled with 10 k."""

import numpy as np
import tensorflow_datasets as tfds


class TinyDataset(tfds.core.GeneratorBasedBuilder):
    """Four images of one class and three of the other, 4x5x3."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(4, 5, 3)),
            "label": tfds.features.ClassLabel(names=["zero", "ten"]),
        }
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(), "test": self._generate_examples()}

    def _generate_examples(self):
        for i in range(7):
            label = (i + 1) % 2 if i < 6 else 1
            yield i, {"image": np.full((4, 5, 3), 10 * label, np.uint8), "label": label}
