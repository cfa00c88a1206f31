"""Random changes of color: pure functions of (key, images f32[N, H, W, C], pixels in 0..255)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cnn_archs.data.transforms.augment import Augment, no_augment
from cnn_archs.errors import ConfigError

# ImageNet's principal components of red, green and blue, for pixels in [0, 1], as printed in
# fb.resnet.torch: the variance along each component, and the direction of each as a row.
VARIANCES = np.array([0.2175, 0.0188, 0.0045], np.float32)
DIRECTIONS = np.array(
    [
        [-0.5675, -0.5808, -0.5836],
        [0.7192, -0.0045, -0.6948],
        [0.4009, -0.8140, 0.4203],
    ],
    np.float32,
)
LUMA = (0.299, 0.587, 0.114)  # weights of red, green and blue in gray


def pca(*, sigma: float) -> Augment:
    """Make AlexNet's color noise (section 4.1), [p1 p2 p3][a1 l1, a2 l2, a3 l3]^T for each pixel.

    a_i is normal with standard deviation `sigma` and drawn once per image; p_i and l_i are the
    eigenvectors and eigenvalues above. With the paper's sigma of 0.1 and pixels in [0, 1], the
    noise along p1 has a standard deviation of 0.022, or 5.5 of 255. With eigenvalues for pixels in
    0..255 it would be 1,400, which leaves nothing of an image, so the paper cannot mean those.
    Pixels with noise are not clipped. Raises ConfigError if the images do not have 3 channels.
    """

    def change(key: jax.Array, images: jax.Array) -> jax.Array:
        if images.shape[-1] != 3:
            raise ConfigError(f"color.name=pca: needs 3 channels, not {images.shape[-1]}")
        alpha = sigma * jax.random.normal(key, (len(images), 3))
        along = (alpha * VARIANCES[None])[:, :, None] * DIRECTIONS[None]  # [N, component, channel]
        return images + 255 * along.sum(1)[:, None, None, :]

    return change


def jitter(*, brightness: float, contrast: float, saturation: float) -> Augment:
    """Make random changes of brightness, contrast and saturation (torchvision's ColorJitter).

    Each is a blend x <- f x + (1 - f) other, clipped to 0..255, where `other` is black, the image's
    mean gray, and the image in gray. f is uniform from 1 - amount, but at least 0, to 1 + amount.
    Each image has its own random order of the three. Saturation does not change images with one
    channel.
    """
    amounts = np.array([brightness, contrast, saturation], np.float32)
    low, high = np.maximum(1 - amounts, 0), 1 + amounts

    def change(key: jax.Array, images: jax.Array) -> jax.Array:
        factor_key, order_key = jax.random.split(key)
        u = jax.random.uniform(factor_key, (len(images), 3))
        factors = u * (high - low)[None] + low[None]
        order = jnp.argsort(jax.random.uniform(order_key, (len(images), 3)), axis=1)
        for turn in range(3):
            images = blend(images, order[:, turn], factors)
        return images

    return change


def blend(images: jax.Array, which: jax.Array, factors: jax.Array) -> jax.Array:
    """Apply one of the three blends of `jitter` to each image.

    which: i32[N], the blend: 0 brightness, 1 contrast, 2 saturation. factors: f32[N, 3], a factor
    for each blend.
    """
    gray = to_gray(images)
    mean = gray.mean((1, 2), keepdims=True)
    which = which[:, None, None, None]
    other = jnp.where(which == 0, 0.0, jnp.where(which == 1, mean, gray))
    f = jnp.take_along_axis(factors[:, None, None, :], which, axis=3)
    return jnp.clip(f * images + (1 - f) * other, 0, 255)


def to_gray(images: jax.Array) -> jax.Array:
    """Convert images to gray: f32[N, H, W, 1 or 3] -> f32[N, H, W, 1].

    Raises ConfigError for another number of channels.
    """
    if images.shape[-1] == 1:
        return images
    if images.shape[-1] != 3:
        raise ConfigError(f"color.name=jitter: needs 1 or 3 channels, not {images.shape[-1]}")
    red, green, blue = (images[..., c, None] for c in range(3))
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


COLOR_CHANGES: dict[str, Callable[..., Augment]] = {
    "none": no_augment,
    "pca": pca,
    "jitter": jitter,
}


def create(name: str, **knobs: Any) -> Augment:
    """Return the change of color `name`."""
    return COLOR_CHANGES[name](**knobs)
