"""Augmentation and scaling against numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_archs.data import augment, resident

IMAGES = np.random.default_rng(0).integers(1, 256, (64, 6, 7, 2), np.uint8)  # no pixel is 0


def moved(image, down, right):
    """`image` moved by whole pixels; what comes in is 0: np.roll with what wrapped around cut."""
    rolled = np.roll(image, (down, right), (0, 1))
    h, w = image.shape[:2]
    rows, columns = np.arange(h)[:, None], np.arange(w)[None, :]
    from_inside = (rows - down >= 0) & (rows - down < h)
    from_inside = from_inside & (columns - right >= 0) & (columns - right < w)
    return np.where(from_inside[:, :, None], rolled, 0)


def moves(pixels, seed=0):
    """{(down, right) of each image}, found by trying all; each must be exactly one of them."""
    out = np.asarray(augment.create("shift", pixels=pixels)(jax.random.key(seed), IMAGES))
    assert out.dtype == np.uint8 and out.shape == IMAGES.shape
    found, span = [], range(-pixels, pixels + 1)
    for before, after in zip(IMAGES, out, strict=True):
        fits = [(d, r) for d in span for r in span if (moved(before, d, r) == after).all()]
        assert len(fits) == 1
        found += fits
    return found


@pytest.mark.parametrize("pixels", [1, 2])
def test_shift_moves_each_image_by_whole_pixels(pixels):
    found = moves(pixels)
    assert {d for d, _ in found} == {r for _, r in found} == set(range(-pixels, pixels + 1))


def test_shift_is_uniform_on_both_axes():
    """One white pixel in 5,000 images: 200 at each of 5x5 places, +-5 standard deviations of 14."""
    dot = np.zeros((5_000, 7, 7, 1), np.uint8)
    dot[:, 3, 3] = 255
    out = np.asarray(augment.create("shift", pixels=2)(jax.random.key(0), dot))[..., 0]
    assert (out.sum((1, 2), dtype=int) == 255).all()
    places = (out == 255).sum(0)
    assert places[1:6, 1:6].sum() == 5_000
    assert np.abs(places[1:6, 1:6] - 200).max() < 5 * np.sqrt(5_000 / 25 * 24 / 25)


def test_shift_by_0_pixels_is_the_image():
    out = augment.create("shift", pixels=0)(jax.random.key(0), IMAGES)
    assert (np.asarray(out) == IMAGES).all()


def test_shift_is_a_function_of_its_key():
    shift = augment.create("shift", pixels=2)
    a, b, other = (np.asarray(shift(jax.random.key(seed), IMAGES)) for seed in (1, 1, 2))
    assert (a == b).all() and (a != other).any()
    assert (np.asarray(jax.jit(shift)(jax.random.key(1), IMAGES)) == a).all()


def test_none_is_the_images():
    assert augment.create("none")(jax.random.key(0), IMAGES) is IMAGES


def test_names_and_knobs_are_checked():
    with pytest.raises(KeyError):
        augment.create("cutout")
    with pytest.raises(TypeError):
        augment.create("shift")
    with pytest.raises(TypeError):
        augment.create("none", pixels=2)


def test_lenet5_pixels_run_from_minus_0_1_to_1_175():
    """LeCun et al. 1998, section II.A: background -0.1, foreground 1.175; 1.275 apart."""
    image = np.array([0, 255, 51, 128], np.uint8).reshape(1, 2, 2, 1)
    out = augment.to_input(image, pixel_range=(-0.1, 1.175), pad=0)
    assert out.dtype == jnp.float32
    expected = [-0.1, 1.175, -0.1 + 1.275 / 5, -0.1 + 1.275 * 128 / 255]
    np.testing.assert_allclose(out.reshape(-1), expected, atol=2e-7)


def test_padding_has_the_value_of_pixel_0():
    """28x28 in the middle of 32x32."""
    images = np.full((2, 28, 28, 1), 255, np.uint8)
    out = np.asarray(augment.to_input(images, pixel_range=(-0.1, 1.175), pad=2))
    assert out.shape == (2, 32, 32, 1)
    np.testing.assert_allclose(out[:, 2:30, 2:30], 1.175, rtol=1e-6)
    border = np.pad(np.zeros((28, 28), bool), 2, constant_values=True)
    np.testing.assert_allclose(out[:, border], -0.1, rtol=1e-6)


def test_prepare_augments_only_where_there_is_a_key():
    shift = augment.create("shift", pixels=2)
    prepare = resident.prepare_with(shift, (0.0, 1.0), 1)
    clean = np.asarray(prepare(None, IMAGES))
    padded = np.pad(IMAGES, ((0, 0), (1, 1), (1, 1), (0, 0)))
    np.testing.assert_allclose(clean, padded / 255, atol=1e-7)
    key = jax.random.key(3)
    first_moved = augment.to_input(shift(key, IMAGES), pixel_range=(0.0, 1.0), pad=1)
    assert (np.asarray(prepare(key, IMAGES)) == np.asarray(first_moved)).all()
    assert (np.asarray(first_moved) != clean).any()
