"""The drawn shapes: their numbers, their reproducibility, and the challenge split."""

import hashlib

import numpy as np
import pytest

from cnn_archs.data.datasets import shapes, sources
from cnn_archs.errors import ConfigError

COUNTS = {"train": 15, "test": 5, "challenge": 5}


@pytest.fixture(scope="module")
def drawn():
    return {split: sources.load_split("shapes", split) for split in COUNTS}


def ink(image):
    """Return where the pen was, bool[64, 64]; paper is light and pens are dark."""
    return image.mean(-1) < 165


def box(image):
    """Return height, width and the middle (y, x) of what is drawn, in pixels."""
    y, x = np.nonzero(ink(image))
    return np.ptp(y) + 1, np.ptp(x) + 1, ((y.max() + y.min()) / 2, (x.max() + x.min()) / 2)


@pytest.mark.parametrize("split, count", COUNTS.items())
def test_each_class_has_its_number_of_images(drawn, split, count):
    found = drawn[split]
    assert found.images.shape == (3 * count, 64, 64, 3) and found.images.dtype == np.uint8
    assert found.labels.dtype == np.int32
    assert np.bincount(found.labels).tolist() == [count] * 3
    assert found.classes == ("circle", "rectangle", "triangle")


def test_what_is_known_of_them_is_so(drawn):
    assert sources.dataset_spec("shapes") == (drawn["train"].images.shape[1:], 3)
    assert sources.class_names("shapes") == drawn["train"].classes


def test_they_are_the_same_every_time(drawn):
    for split, found in drawn.items():
        assert (shapes.draw_images(split)[0] == found.images).all()


def test_no_two_are_equal(drawn):
    images = np.concatenate([found.images for found in drawn.values()])
    assert len({hashlib.sha256(image.tobytes()).digest() for image in images}) == 75


def test_there_is_no_other_split():
    with pytest.raises(ConfigError, match="shapes has no split 'val', only train, test, challenge"):
        sources.load_split("shapes", "val")


def test_they_are_dark_lines_on_light_paper(drawn):
    for found in drawn.values():
        for image in found.images:
            assert image[0, 0].min() > 225
            assert 0.01 < ink(image).mean() < 0.15


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_neat_ones_are_near_the_middle_and_upright(drawn, split):
    found = drawn[split]
    for image, label in zip(found.images, found.labels, strict=True):
        height, width, middle = box(image)
        assert np.abs(np.array(middle) - 31.5).max() < 8
        assert 18 < max(height, width) < 50
        kind = found.classes[label]
        if kind == "circle":
            assert 0.8 < width / height < 1.25
        if kind == "rectangle":
            assert width / height > 1.1
        if kind == "triangle":  # wider below than above
            rows = np.nonzero(ink(image).any(1))[0]
            widths = [np.ptp(np.nonzero(row)[0]) for row in ink(image)[rows]]
            quarter = len(widths) // 4
            assert np.mean(widths[-quarter:]) > 2 * np.mean(widths[:quarter])


def test_the_challenge_goes_beyond_what_augmentation_makes_of_train(drawn):
    """Some are shifted by more than 0.1 of the side, and some are below 0.7 of the usual size."""
    neat = [box(image) for image in drawn["train"].images]
    hard = [box(image) for image in drawn["challenge"].images]
    away = [np.abs(np.array(middle) - 31.5).max() / 64 for _, _, middle in hard]
    assert np.mean(np.array(away) > 0.1) > 0.4
    usual = np.median([max(h, w) for h, w, _ in neat])
    assert min(max(h, w) for h, w, _ in hard) < 0.7 * usual
    assert all(max(np.abs(np.array(m) - 31.5)) + max(h, w) / 2 < 33 for h, w, m in hard)  # inside
