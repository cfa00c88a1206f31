"""What happens to a batch of images on the device: pure functions of (key, images).

An augmentation takes a PRNG key and u8[N, H, W, C] images, and returns images of that kind.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Augment = Callable[[jax.Array, jax.Array], jax.Array]


def none() -> Augment:
    """The images as they are."""
    return lambda key, images: images


def shift(*, pixels: int) -> Augment:
    """Each image moved by a whole number of pixels, uniform in -pixels..pixels on each axis.

    What comes in at the border is 0.
    """

    def augment(key: jax.Array, images: jax.Array) -> jax.Array:
        n, h, w, c = images.shape
        padded = jnp.pad(images, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)))
        corner = jax.random.randint(key, (n, 2), 0, 2 * pixels + 1)

        def crop(image: jax.Array, corner: jax.Array) -> jax.Array:
            return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), (h, w, c))

        return jax.vmap(crop)(padded, corner)

    return augment


AUGMENTS: dict[str, Callable[..., Augment]] = {"none": none, "shift": shift}


def create(name: str, **knobs: Any) -> Augment:
    """The augmentation `name`."""
    return AUGMENTS[name](**knobs)


def to_input(images: jax.Array, *, pixel_range: tuple[float, float], pad: int) -> jax.Array:
    """u8[N, H, W, C] -> f32[N, H+2 pad, W+2 pad, C], pixels 0 and 255 at `pixel_range`.

    The border has pixel value 0. LeNet-5 1998 (section II.B): pad 2, range (-0.1, 1.175).
    """
    low, high = pixel_range
    padded = jnp.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    return padded.astype(jnp.float32) * ((high - low) / 255) + low
