"""Stratified splits are scikit-learn's, index by index."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from cnn_archs.data.datasets import sources
from cnn_archs.data.datasets.stratified_split import stratified_split


def labels_of(*counts):
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
    return np.random.default_rng(1).permutation(labels)


@pytest.mark.parametrize(
    "labels, test",
    [
        (labels_of(5, 5, 5), 7),  # ties in the fractions, which are drawn
        (labels_of(2, 2, 2, 2), 4),  # no fractions
        (labels_of(100, 3, 40), 3),
        (labels_of(100, 3, 40), 140),
        (labels_of(*range(2, 40)), 111),
        (load_digits().target, 360),
    ],
)
def test_the_indices_are_scikit_learns(labels, test):
    everything = np.arange(len(labels))
    expected = train_test_split(everything, test_size=test, stratify=labels, random_state=0)
    for found, indices in zip(stratified_split(labels, test), expected, strict=True):
        assert found.tolist() == indices.tolist()


def test_digits_have_the_pixels_that_load_digits_gives():
    small, _ = load_digits(return_X_y=True)
    train, test = stratified_split(load_digits().target, 360)
    for split, index in (("train", train), ("test", test)):
        images = sources.load_split("digits", split).images[..., 0]
        assert images.shape == (len(index), 32, 32)
        # The middle of a cell of 4x4 is nearest to its pixel, and equal where its neighbors are.
        flat = small[index].reshape(-1, 8, 8)
        even = (np.ptp(flat[:, 0:3, 0:3].reshape(len(flat), -1), axis=1) == 0).nonzero()[0]
        assert len(even)
        expected = np.round(flat[even, 1, 1] * (255 / 16)).astype(np.uint8)
        assert (images[even, 4:8, 4:8] == expected[:, None, None]).all()


def test_digits_are_loaded_without_scikit_learns_code():
    code = (
        "import sys; from cnn_archs.data.datasets import sources; "
        "sources.load_split('digits', 'test'); "
        "assert not any(name.startswith('sklearn') for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
