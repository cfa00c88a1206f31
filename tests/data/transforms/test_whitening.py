"""Contrast normalization and whitening, against their definitions image by image."""

import jax.numpy as jnp
import numpy as np
import pytest

from cnn_archs.data.transforms.whitening import CHUNK, ContrastAndWhitening

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (CHUNK + 200, 4, 3, 2), dtype=np.uint8)  # more than one chunk
GCN_ZCA = ContrastAndWhitening(scale=55.0, zca_bias=0.1)


def normalized(images):
    """Each image minus its mean, then 55 over its norm."""
    rows = []
    for image in images.astype(np.float64).reshape(len(images), -1):
        row = image - np.mean(image)
        rows.append(55 * row / np.linalg.norm(row))
    return np.array(rows)


def test_whitening_is_the_inverse_root_of_the_covariance_plus_the_bias():
    statistics = GCN_ZCA.fit(IMAGES)
    assert statistics["mean"].shape == (4, 3, 2) and statistics["whitening"].shape == (24, 24)
    assert {s.dtype for s in statistics.values()} == {np.dtype("float32")}
    rows = normalized(IMAGES)
    covariance = np.cov(rows, rowvar=False, bias=True) + 0.1 * np.eye(24)
    white = statistics["whitening"].astype(np.float64)
    np.testing.assert_allclose(white @ white @ covariance, np.eye(24), atol=1e-4)
    np.testing.assert_allclose(white, white.T, atol=1e-7)
    np.testing.assert_allclose(statistics["mean"].ravel(), rows.mean(0), rtol=1e-5, atol=1e-5)


def test_whitened_training_images_have_hardly_any_correlation():
    """Less than the identity by the bias, and nothing in the direction that the mean took away."""
    few = ContrastAndWhitening(scale=55.0, zca_bias=1e-6)
    out = np.asarray(few.standardize(jnp.asarray(IMAGES), few.fit(IMAGES)), np.float64)
    flat = out.reshape(len(out), -1)
    flat_part = np.full((24, 24), 1 / 24)  # an image's mean is 0
    np.testing.assert_allclose(
        np.cov(flat, rowvar=False, bias=True), np.eye(24) - flat_part, atol=1e-3
    )
    np.testing.assert_allclose(flat.mean(0), 0, atol=1e-3)


def test_other_images_are_standardized_with_the_statistics_of_the_training_images():
    statistics = GCN_ZCA.fit(IMAGES)
    others = RANDOM.integers(0, 256, (5, 4, 3, 2), dtype=np.uint8)
    expected = (normalized(others) - statistics["mean"].ravel()) @ statistics["whitening"]
    found = GCN_ZCA.standardize(jnp.asarray(others), statistics)
    assert found.dtype == np.float32 and found.shape == others.shape
    np.testing.assert_allclose(np.asarray(found).reshape(5, -1), expected, rtol=1e-3, atol=1e-3)


def test_an_image_of_one_color_becomes_finite_and_equal_to_the_negative_mean():
    statistics = GCN_ZCA.fit(IMAGES)
    found = GCN_ZCA.standardize(jnp.full((1, 4, 3, 2), 7, jnp.uint8), statistics)
    expected = -statistics["mean"].ravel() @ statistics["whitening"]
    np.testing.assert_allclose(np.asarray(found).ravel(), expected, atol=1e-4)
    with pytest.raises(ValueError, match="the statistics have no whitening"):
        GCN_ZCA.standardize(jnp.zeros((1, 4, 3, 2)), {"mean": statistics["mean"]})


def test_the_shapes_of_statistics_are_known_before_there_are_any():
    assert GCN_ZCA.statistic_shapes((4, 3, 2)) == {
        name: value.shape for name, value in GCN_ZCA.fit(IMAGES).items()
    }
