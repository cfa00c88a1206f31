"""Augmentation of training images on the device, by pure functions of (key, images).

An augmentation maps a PRNG key and images f32[N, H, W, C] with pixels in 0..255 to images of the
same kind. Crops and mirroring are in `crops`, changes of color in `color`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from cnn_archs.data.transforms import affine
from cnn_archs.data.transforms.keras_generator import ImageDataGenerator
from cnn_archs.errors import ConfigError

Augment = Callable[[jax.Array, jax.Array], jax.Array]


def no_augment() -> Augment:
    """Make the augmentation that changes nothing."""
    return lambda key, images: images


def distortions(
    *, translate: float, scale: float, squeeze: float, shear: float, share: float
) -> Augment:
    """Make LeNet-5's planar distortions (LeCun et al. 1998, section III.B); see `affine.distort`.

    translate: pixels. scale, squeeze, shear: fractions. share: the probability that an image is
    distorted, 0.9 in the paper.
    """
    knobs = {"translate": translate, "scale": scale, "squeeze": squeeze, "shear": shear}

    def augment(key: jax.Array, images: jax.Array) -> jax.Array:
        warp_key, share_key = jax.random.split(key)
        chosen = jax.random.bernoulli(share_key, share, (len(images), 1, 1, 1))
        return jnp.where(chosen, affine.distort(warp_key, images, **knobs), images)

    return augment


def keras_generator(**knobs: Any) -> Augment:
    """Make the random part of the lecture notes' generator; see `ImageDataGenerator`.

    Raises ConfigError if a knob is out of its range.
    """
    try:
        return ImageDataGenerator(**knobs).random_transform
    except ValueError as e:
        raise ConfigError(f"augment.{e}") from e


AUGMENTS: dict[str, Callable[..., Augment]] = {
    "none": no_augment,
    "distortions": distortions,
    "generator": keras_generator,
}


def create(name: str, **knobs: Any) -> Augment:
    """Return the augmentation `name`. Raises ConfigError if a knob is out of its range."""
    return AUGMENTS[name](**knobs)
