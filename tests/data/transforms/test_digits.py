"""Deslanted and reduced digits: the moments and pixels by numpy, and known images by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_archs.data.transforms import crops, digits
from cnn_archs.errors import ConfigError

RANDOM = np.random.default_rng(0)


def ink(n=5, side=28, within=8):
    """Blurred ink in the middle of dark images: f64[n, side, side, 1]."""
    images = np.zeros((n, side, side, 1))
    images[:, within:-within, within:-within] = RANDOM.uniform(
        0, 255, (n, *[side - 2 * within] * 2, 1)
    )
    return images


def moments(image):
    """Return the mass, the center (y, x) and the central second moments (yy, xy) of f64[H, W]."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    mass = image.sum()
    cy, cx = (image * y).sum() / mass, (image * x).sum() / mass
    return (
        mass,
        cy,
        cx,
        (image * (y - cy) ** 2).sum() / mass,
        (image * (y - cy) * (x - cx)).sum() / mass,
    )


def deslanted(images):
    return np.asarray(jax.jit(digits.deslant)(jnp.asarray(images, jnp.float32)))


def slanted(images, slant):
    """Shift the rows of images by `slant` pixels a row, by interpolation as numpy has it."""
    columns, middle = np.arange(images.shape[2]), images.shape[1] / 2
    rows = [
        [np.interp(columns - slant * (y - middle), columns, row[:, 0]) for y, row in enumerate(i)]
        for i in images
    ]
    return np.array(rows)[..., None]


@pytest.mark.parametrize("slant", [-0.6, 0.0, 0.35])
def test_after_deslanting_the_mixed_moment_is_0_and_the_others_are_kept(slant):
    images = slanted(ink(), slant)
    for before, after in zip(images, deslanted(images), strict=True):
        mass, cy, cx, yy, xy = moments(before[..., 0])
        found = moments(after[..., 0].astype(np.float64))
        assert abs(xy) > 1e-3 or not slant
        assert abs(found[4]) < 1e-4 * yy
        np.testing.assert_allclose(found[:4], (mass, cy, cx, yy), rtol=1e-4)


def test_rows_are_those_of_an_independent_interpolation():
    (image,) = slanted(ink(1), 0.35)
    _, cy, _, yy, xy = moments(image[..., 0])
    columns = np.arange(28)
    expected = [
        np.interp(columns + xy / yy * (y - cy), columns, row[:, 0], left=0, right=0)
        for y, row in enumerate(image)
    ]
    np.testing.assert_allclose(deslanted(image[None])[0, ..., 0], expected, atol=1e-2)


def test_known_matrices():
    upright = np.zeros((1, 5, 5, 1))
    upright[0, :, 2] = 9
    np.testing.assert_allclose(deslanted(upright), upright, atol=1e-5)
    diagonal = 9 * np.eye(5)[None, :, :, None]  # a pixel a row: it becomes the middle column
    np.testing.assert_allclose(deslanted(diagonal), upright, atol=1e-4)
    np.testing.assert_allclose(deslanted(diagonal[:, :, ::-1]), upright, atol=1e-4)


def test_images_without_ink_or_with_one_row_are_unchanged():
    images = np.zeros((2, 6, 6, 1))
    images[1, 3, 1:5] = 7
    np.testing.assert_array_equal(deslanted(images), images)


def test_a_digit_is_reduced_in_the_middle():
    """A square of 20x20 in 28x28 becomes one of 16x16, at as much ink in each pixel."""
    images = np.zeros((1, 28, 28, 1))
    images[0, 4:24, 4:24] = 200
    found = np.asarray(digits.reduce_in_place(jnp.asarray(images, jnp.float32), 16 / 20))[0, ..., 0]
    assert found.shape == (28, 28)
    np.testing.assert_allclose(found[7:21, 7:21], 200, rtol=1e-5)
    assert not found[:5].any() and not found[23:].any() and not found[:, :5].any()
    np.testing.assert_allclose(found.sum(), 200 * 16**2, rtol=1e-3)
    np.testing.assert_allclose(found, found[::-1, ::-1], atol=1e-3)
    np.testing.assert_allclose(found, found.T, atol=1e-3)


def test_the_crop_deslants_and_takes_the_middle_at_training_and_test():
    images = jnp.asarray(slanted(ink(2), 0.3), jnp.float32)
    crop = crops.create("deslant", (20, 20), side=28)
    expected = digits.deslant(images)[:, 4:24, 4:24]
    for key in (None, jax.random.key(0)):
        np.testing.assert_array_equal(crop.crop_on_device(key, images), expected)
    with pytest.raises(ConfigError, match="crop.side=16: must be at least 20"):
        crops.create("deslant", (20, 20), side=16)
    with pytest.raises(ConfigError, match="crop.before=12: must be at least 16, crop.after"):
        crops.create("reduce", (28, 28), before=12, after=16)
