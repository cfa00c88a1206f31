"""The tangent distance: its tangent vectors, its least squares, and what it does not notice."""

import json
from typing import Any

import numpy as np
from scipy import ndimage

from cnn_archs import cli
from cnn_archs.classical import tangent

RANDOM = np.random.default_rng(0)
SIDE, SIGMA, WIDTH = 16, 0.9, 1.5
INNER = (slice(4, -4), slice(4, -4))  # where the edge of the image is far
KNOBS: dict[str, Any] = dict(sigma=SIGMA, spring=0.01)


def images_of(count):
    return RANDOM.uniform(size=(count, SIDE * SIDE))


def blob(y, x):
    """A smoothed spot at (1.5, -1) of the middle: two Gaussians make a wider one."""
    wide = WIDTH**2 + SIGMA**2
    return WIDTH**2 / wide * np.exp(-((y - 1.5) ** 2 + (x + 1) ** 2) / (2 * wide))


def test_smoothing_and_slopes_are_those_of_scipy():
    image = images_of(1)
    smooth, tangents = tangent.tangent_vectors(image, SIGMA)
    square, edge = image.reshape(SIDE, SIDE), dict(sigma=SIGMA, mode="constant", truncate=20)
    for order, found in (((0, 0), smooth), ((0, 1), tangents[:, 0]), ((1, 0), tangents[:, 1])):
        expected = ndimage.gaussian_filter(square, order=order, **edge)
        np.testing.assert_allclose(found.reshape(SIDE, SIDE), expected, atol=1e-9)


def test_tangent_vectors_are_the_derivatives_of_small_movements():
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    spot = np.exp(-((y - 1.5) ** 2 + (x + 1) ** 2) / (2 * WIDTH**2))
    smooth, (found,) = tangent.tangent_vectors(spot.reshape(1, -1), SIGMA)
    np.testing.assert_allclose(smooth[0].reshape(SIDE, SIDE)[INNER], blob(y, x)[INNER], atol=1e-4)
    half = SIDE / 2  # places are counted in halves of the side
    movements = [
        lambda e: (y, x + e),
        lambda e: (y + e, x),
        lambda e: (y * (1 + e / half), x * (1 + e / half)),
        lambda e: (y - x * e / half, x + y * e / half),
        lambda e: (y * (1 - e / half), x * (1 + e / half)),
        lambda e: (y + x * e / half, x + y * e / half),
    ]
    for row, moved in zip(found, movements, strict=False):
        slope = (blob(*moved(1e-4)) - blob(*moved(-1e-4))) / 2e-4
        np.testing.assert_allclose(row.reshape(SIDE, SIDE)[INNER], slope[INNER], atol=1e-4)
    np.testing.assert_allclose(found[6], found[0] ** 2 + found[1] ** 2)


def test_a_basis_is_orthonormal_and_spans_the_tangent_vectors():
    _, tangents = tangent.tangent_vectors(images_of(3), SIGMA)
    bases = tangent.basis_of(tangents)
    np.testing.assert_allclose(bases @ bases.swapaxes(1, 2), [np.eye(7)] * 3, atol=1e-9)
    within = tangents @ bases.swapaxes(1, 2) @ bases
    np.testing.assert_allclose(within, tangents, atol=1e-9)
    assert not tangent.basis_of(np.zeros((1, 7, 9))).any()


def least_squares(image, basis, other, other_basis, spring):
    """The squared distance of two planes, from one system of equations for all steps."""
    directions = np.concatenate([basis, other_basis]).T
    springs = np.sqrt(spring) * np.eye(directions.shape[1])
    system = np.concatenate([directions, springs])
    target = np.concatenate([image - other, np.zeros(len(springs))])
    steps, *_ = np.linalg.lstsq(system, target, rcond=None)
    return ((system @ steps - target) ** 2).sum()


def test_distances_are_those_of_least_squares():
    smooth, bases = tangent.smoothed_and_bases(images_of(5), SIGMA)
    found = tangent.distances(smooth[0], bases[0], smooth, bases, 0.01)
    expected = [
        least_squares(smooth[0], bases[0], image, basis, 0.01)
        for image, basis in zip(smooth, bases, strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-9)
    assert found[0] == 0.0  # from itself, where both planes are the same


def test_the_nearest_is_that_of_a_loop_over_all():
    train, test, labels = images_of(12), images_of(4), np.arange(12, dtype=np.int32) % 3
    found = tangent.nearest_by_tangents(train, labels, test, candidates=20, **KNOBS)
    pairs = [tangent.tangent_vectors(x, SIGMA) for x in (train, test)]
    (near, planes), (asked, own) = [(x, tangent.basis_of(t)) for x, t in pairs]
    expected = [
        labels[
            np.argmin([least_squares(x, p, z, q, 0.01) for z, q in zip(near, planes, strict=True)])
        ]
        for x, p in zip(asked, own, strict=True)
    ]
    assert (found == expected).all()


def test_a_rotated_digit_is_nearer_to_itself_than_to_another():
    """The Euclidean distance takes a bar that is turned by 12 degrees for a shorter bar."""
    bar, shorter = np.zeros((2, SIDE, SIDE))
    bar[2:14, 7:9], shorter[4:12, 7:9] = 1.0, 1.0
    turned = ndimage.rotate(bar, 12, reshape=False, order=1)
    train = np.stack([bar, shorter]).reshape(2, -1)
    labels, test = np.array([0, 1], np.int32), turned.reshape(1, -1)
    assert ((train - test) ** 2).sum(1).argmin() == 1
    found = tangent.nearest_by_tangents(train, labels, test, candidates=2, **KNOBS)
    assert found == [0]


def test_the_row_on_the_embedded_digits(tmp_path, capsys):
    file = tmp_path / "tangent.json"
    command = ["classical", "tangent", "--dataset=digits", "--examples=150", f"--output={file}"]
    assert cli.main(command) == 0
    assert "tangent on digits: test error" in capsys.readouterr().out
    result = json.loads(file.read_text())
    assert result["made"]["row"]["form"] == "reduced" and "seeds" not in result
    assert result["test"]["top1_error"][0] < 0.15 and result["test"]["examples"] == 360


def test_images_that_are_no_squares_in_gray_are_refused(monkeypatch, capsys):
    from cnn_archs.data.datasets import sources
    from cnn_archs.data.datasets.splits import Split

    colored = Split(np.zeros((4, 32, 32, 3), np.uint8), np.zeros(4, np.int32), ("a",))
    monkeypatch.setattr(sources, "load_split", lambda *_: colored)
    assert cli.main(["classical", "tangent", "--dataset=digits"]) == 2
    said = "--dataset: tangent takes square images in gray of 16x16 or more, not of 32x32x3;"
    assert said in capsys.readouterr().err
