"""The augmentations by name, and that the knobs of the experiments fit them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_archs.data.transforms import affine, augment, color, crops
from cnn_archs.data.transforms.keras_generator import ImageDataGenerator
from cnn_archs.data.transforms.keras_standardize import Standardization
from cnn_archs.errors import ConfigError
from experiments import base

RANDOM = np.random.default_rng(0)
IMAGES = jnp.asarray(RANDOM.integers(0, 256, (8, 16, 16, 3)), jnp.float32)
WARP = {"translate": 2.0, "scale": 0.15, "squeeze": 0.1, "shear": 0.2}
AMOUNTS = {**WARP, "share": 1.0}
MOVES: dict[str, Any] = {"rotation_range": 20.0, "zoom_range": 0.2, "horizontal_flip": True}


def test_none_is_the_images():
    assert augment.create("none")(jax.random.key(0), IMAGES) is IMAGES


def test_distortions_and_generator_are_what_they_are_named_after():
    key = jax.random.key(3)
    distorted = jax.jit(augment.create("distortions", **AMOUNTS))(key, IMAGES)
    expected = jax.jit(affine.distort)(jax.random.split(key)[0], IMAGES, *WARP.values())
    np.testing.assert_allclose(distorted, expected, atol=1e-2)
    generated = augment.create("generator", **MOVES)(key, IMAGES)
    assert (generated == ImageDataGenerator(**MOVES).random_transform(key, IMAGES)).all()
    assert (distorted != IMAGES).any() and (generated != IMAGES).any()


def test_a_share_of_the_images_is_distorted():
    """LeCun et al. 1998, section III.B: 540,000 of 600,000 patterns were distorted."""
    images = jnp.tile(IMAGES[:1], (1000, 1, 1, 1))
    change = augment.create("distortions", **{**WARP, "share": 0.9})
    out = np.asarray(jax.jit(change)(jax.random.key(0), images))
    same = (out == IMAGES[:1]).all((1, 2, 3)).mean()
    assert 0.07 < same < 0.13  # 0.1, give or take three deviations of 0.0095


@pytest.mark.parametrize("name, knobs", [("distortions", AMOUNTS), ("generator", MOVES)])
def test_an_augmentation_is_a_function_of_its_key(name, knobs):
    change = jax.jit(augment.create(name, **knobs))
    a, b, other = (np.asarray(change(jax.random.key(k), IMAGES)) for k in (1, 1, 2))
    assert a.shape == IMAGES.shape and a.dtype == np.float32
    assert (a == b).all() and (a != other).any()


def test_many_runs_at_once_are_each_as_alone():
    """One program trains several seeds by vmap."""
    knobs = {**MOVES, "channel_shift_range": 20.0, "brightness_range": (0.5, 1.5)}
    change = augment.create("generator", **knobs)
    keys = jax.random.split(jax.random.key(0), 3)
    together = jax.vmap(change, in_axes=(0, None))(keys, IMAGES)
    for key, out in zip(keys, together, strict=True):
        np.testing.assert_allclose(out, change(key, IMAGES), atol=1e-2)


def test_names_and_knobs_are_checked():
    with pytest.raises(KeyError):
        augment.create("cutout")
    with pytest.raises(TypeError):
        augment.create("distortions", translate=2.0)
    with pytest.raises(ConfigError, match=r"augment\.fill_mode=mirror: must be one of nearest,"):
        augment.create("generator", fill_mode="mirror")


@pytest.mark.parametrize("name", base.CHOICES["augment"])
def test_the_experiments_know_the_knobs_of_augment(name):
    assert base.CHOICES["augment"].keys() == augment.AUGMENTS.keys()
    change = augment.create(name, **base.CHOICES["augment"][name])
    out = jax.jit(change)(jax.random.key(0), jnp.asarray(IMAGES))
    assert (name == "distortions") == bool((out != IMAGES).any())  # the generator's are all at 0


@pytest.mark.parametrize("name", base.CHOICES["crop"])
def test_the_experiments_know_the_knobs_of_crop(name):
    assert base.CHOICES["crop"].keys() == crops.CROPS.keys()
    crop = crops.create(name, (16, 16), **base.CHOICES["crop"][name])
    assert crop.host_box(300, 400, None).height > 0


@pytest.mark.parametrize("name", base.CHOICES["color"])
def test_the_experiments_know_the_knobs_of_color(name):
    assert base.CHOICES["color"].keys() == color.COLOR_CHANGES.keys()
    color.create(name, **base.CHOICES["color"][name])


def test_the_experiments_know_the_knobs_of_standardize():
    images = np.asarray(IMAGES, np.uint8)
    standardization = Standardization(**base.CHOICES["standardize"]["keras"])
    assert (standardization.standardize(images, standardization.fit(images)) == images).all()
