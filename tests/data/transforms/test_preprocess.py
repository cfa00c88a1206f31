"""Preprocessing: the order of its steps, on images that show it."""

import dataclasses
from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_archs.data.transforms import augment, color, crops
from cnn_archs.data.transforms.keras_standardize import Standardization
from cnn_archs.data.transforms.preprocess import Preprocessor

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 8, 8, 3)).astype(np.uint8)
MEAN = RNG.uniform(0, 255, (8, 8, 3)).astype(np.float32)

PLAIN = Preprocessor(
    crop=crops.create("none", out=(8, 8)),
    resident=True,
    mirror=False,
    color=color.create("none"),
    augment=augment.create("none"),
    mean="none",
    std=(),
    reverse_channels=False,
    standardize=None,
    pixel_range=(0.0, 1.0),
    pad=0,
)


DISTORTIONS = ("translate", "scale", "squeeze", "shear")


def prepared(key=None, statistics=(), images=IMAGES, **changes):
    inputs = dataclasses.replace(PLAIN, **changes)
    return np.asarray(jax.jit(inputs.make_preprocess(dict(statistics)))(key, images))


def test_lenet5_pixels_run_from_minus_0_1_to_1_175():
    """LeCun et al. 1998, section II.A: background -0.1, foreground 1.175, which are 1.275 apart."""
    image = np.zeros((1, 8, 8, 1), np.uint8)
    image[0, 0, :4, 0] = 0, 255, 51, 128
    out = prepared(images=image, pixel_range=(-0.1, 1.175))
    assert out.dtype == np.float32
    expected = [-0.1, 1.175, -0.1 + 1.275 / 5, -0.1 + 1.275 * 128 / 255]
    np.testing.assert_allclose(out[0, 0, :4, 0], expected, atol=2e-7)


def test_padding_has_the_value_of_pixel_0():
    """LeNet-5 sees 28x28 pixels in the middle of 32x32."""
    images = np.full((2, 28, 28, 1), 255, np.uint8)
    whole = crops.create("none", out=(28, 28))
    out = prepared(images=images, crop=whole, pixel_range=(-0.1, 1.175), pad=2)
    assert out.shape == (2, 32, 32, 1)
    np.testing.assert_allclose(out[:, 2:30, 2:30], 1.175, rtol=1e-6)
    border = np.pad(np.zeros((28, 28), bool), 2, constant_values=True)
    np.testing.assert_allclose(out[:, border], -0.1, rtol=1e-6)


def test_without_a_key_nothing_is_random():
    everything = dict(
        crop=crops.create("pad", out=(8, 8), pixels=2),
        mirror=True,
        color=color.create("jitter", brightness=0.4, contrast=0.4, saturation=0.4),
        augment=augment.create("distortions", **dict.fromkeys(DISTORTIONS, 0.1), share=1.0),
    )
    np.testing.assert_allclose(prepared(**everything), IMAGES / 255, atol=1e-6)
    keys = [jax.random.key(k) for k in (0, 0, 1)]
    a, b, c = (prepared(key, **everything) for key in keys)
    assert (a == b).all() and (a != c).any() and (a != prepared(**everything)).any()


def test_the_mean_comes_off_before_the_crop_so_that_borders_are_0():
    """He et al. 2015, section 4.2: zeros are padded around images without their mean."""
    pad = crops.create("pad", out=(8, 8), pixels=4)
    statistics = {"mean": MEAN}
    out = prepared(jax.random.key(3), statistics, crop=pad, mean="pixel", pixel_range=(0.0, 255.0))
    centered = np.pad(IMAGES - MEAN, ((0, 0), (4, 4), (4, 4), (0, 0)))
    for image, source in zip(out, centered, strict=True):
        places = [(y, x) for y in range(9) for x in range(9)]
        fits = [np.allclose(source[y : y + 8, x : x + 8], image, atol=1e-3) for y, x in places]
        assert sum(fits) == 1
    assert (out == 0).any()


def test_a_scale_stretches_what_the_mean_leaves():
    channel = MEAN.mean((0, 1), keepdims=True)
    out = prepared(None, {"mean": channel}, mean="channel", pixel_range=(0.0, 1.0))
    np.testing.assert_allclose(out, (IMAGES - channel[None]) / 255, atol=1e-6)


def test_colors_change_raw_pixels_before_the_mean_comes_off():
    """Contrast is about the image's gray mean; subtracting a mean first would change it."""
    jitter = color.create("jitter", brightness=0.0, contrast=0.9, saturation=0.0)
    key = jax.random.key(5)
    statistics = {"mean": MEAN}
    out = prepared(key, statistics, color=jitter, mean="pixel", pixel_range=(0.0, 255.0))
    raw = np.asarray(jitter(jax.random.split(key, 4)[0], jnp.asarray(IMAGES, jnp.float32)))
    np.testing.assert_allclose(out, raw - MEAN, atol=1e-2)


def test_half_of_the_images_are_mirrored_in_training():
    images = np.tile(IMAGES[:1], (1000, 1, 1, 1))
    out = prepared(jax.random.key(0), images=images, mirror=True)
    same = np.isclose(out, images / 255, atol=1e-6).all((1, 2, 3))
    mirrored = np.isclose(out, images[:, :, ::-1] / 255, atol=1e-6).all((1, 2, 3))
    assert (same ^ mirrored).all() and 450 < same.sum() < 550  # 500, give or take three deviations


class FlippingCrop(crops.Crop):
    def crop_on_device(self, key, images):
        return crops.random_flip(key, images)


FLIPS = dict(
    color=crops.random_flip,
    crop=FlippingCrop(out=(8, 8)),
    mirror=True,
    augment=crops.random_flip,
)


@pytest.mark.parametrize("first, second", [*combinations(FLIPS, 2)])
def test_no_two_steps_draw_the_same_random_numbers(first, second):
    """Two steps that flip the same half of the images would leave every image unchanged."""
    images = np.tile(IMAGES[:1], (1000, 1, 1, 1))
    out = prepared(jax.random.key(0), (), images, **{k: FLIPS[k] for k in (first, second)})
    same = np.isclose(out, images / 255, atol=1e-6).all((1, 2, 3))
    assert 450 < same.sum() < 550  # 500, give or take three deviations


def test_streamed_images_get_the_devices_part_of_the_crop_only():
    square = crops.create("square", out=(4, 4), side=8, resize="shorter")
    out = prepared(crop=square, resident=False)
    np.testing.assert_allclose(out, IMAGES[:, 2:6, 2:6] / 255, atol=1e-6)
    inception = crops.create(
        "inception", out=(8, 8), area=(0.1, 0.2), aspect=(1.0, 1.0), evaluate=8
    )
    out = prepared(jax.random.key(0), crop=inception, resident=False)
    np.testing.assert_allclose(out, IMAGES / 255, atol=1e-6)  # the host has made its crop


def test_standardization_takes_the_place_of_the_scale():
    standard = Standardization(samplewise_center=True, samplewise_std_normalization=True)
    out = prepared(standardize=standard, pixel_range=(5.0, 7.0))
    np.testing.assert_allclose(out.mean((1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(out.std((1, 2, 3)), 1, atol=1e-4)


@pytest.mark.parametrize("size", [(12, 12), (5, 9)])
def test_resident_images_of_another_size_are_warped(size):
    out = prepared(crop=crops.create("none", out=size))
    assert out.shape == (6, *size, 3) and out.min() >= 0 and out.max() <= 1
