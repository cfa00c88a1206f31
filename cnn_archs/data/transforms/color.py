"""Random changes of color: pure functions of (key, f32[N, H, W, C] with raw pixels, 0 to 255)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cnn_archs.data.transforms.augment import Augment, no_augment
from cnn_archs.errors import ConfigError

# ImageNet's principal components of red, green and blue, for pixels in [0, 1], as they are printed
# in fb.resnet.torch: the variance along each, and its direction as a row.
VARIANCES = np.array([0.2175, 0.0188, 0.0045], np.float32)
DIRECTIONS = np.array(
    [
        [-0.5675, -0.5808, -0.5836],
        [0.7192, -0.0045, -0.6948],
        [0.4009, -0.8140, 0.4203],
    ],
    np.float32,
)
LUMA = (0.299, 0.587, 0.114)  # gray, of red, green and blue


def pca(*, sigma: float) -> Augment:
    """AlexNet, section 4.1: to each pixel of an image is added [p1 p2 p3][a1 l1, a2 l2, a3 l3]^T.

    a_i: normal with standard deviation `sigma`, drawn once an image; p_i, l_i: the eigenvectors and
    eigenvalues above. With the paper's 0.1 and pixels in [0, 1] the sum along p1 has a standard
    deviation of 0.022, 5.5 of 255. (With eigenvalues of pixels in 0..255 it would be 1,400, and
    no image left; so the paper's pixels are not those.) Nothing is clipped.
    """
    if sigma < 0:
        raise ConfigError(f"color.sigma={sigma}: must be at least 0")

    def change(key: jax.Array, images: jax.Array) -> jax.Array:
        if images.shape[-1] != 3:
            raise ConfigError(f"color.name=pca: needs 3 channels, not {images.shape[-1]}")
        alpha = sigma * jax.random.normal(key, (len(images), 3))
        along = (alpha * VARIANCES[None])[:, :, None] * DIRECTIONS[None]  # of each component
        return images + 255 * along.sum(1)[:, None, None, :]

    return change


def jitter(*, brightness: float, contrast: float, saturation: float) -> Augment:
    """Blends of the image with black, with its mean gray, and with itself in gray.

    x <- f x + (1 - f) other, clipped to 0..255, for each of the three, f uniform in 1 - amount to
    1 + amount (at least 0); in an order of its own for each image. As torchvision's ColorJitter.
    Images of one channel are gray already: saturation leaves them as they are.
    """
    amounts = np.array([brightness, contrast, saturation], np.float32)
    for name, amount in zip(("brightness", "contrast", "saturation"), amounts, strict=True):
        if amount < 0:
            raise ConfigError(f"color.{name}={amount:g}: must be at least 0")
    low, high = np.maximum(1 - amounts, 0), 1 + amounts

    def change(key: jax.Array, images: jax.Array) -> jax.Array:
        of_factors, of_order = jax.random.split(key)
        u = jax.random.uniform(of_factors, (len(images), 3))
        factors = u * (high - low)[None] + low[None]
        order = jnp.argsort(jax.random.uniform(of_order, (len(images), 3)), axis=1)
        for turn in range(3):
            images = blend(images, order[:, turn], factors)
        return images

    return change


def blend(images: jax.Array, which: jax.Array, factors: jax.Array) -> jax.Array:
    """One of the three blends of `jitter` for each image: `which` i32[N], of factors f32[N, 3]."""
    gray = to_gray(images)
    mean = gray.mean((1, 2), keepdims=True)
    which = which[:, None, None, None]
    other = jnp.where(which == 0, 0.0, jnp.where(which == 1, mean, gray))
    f = jnp.take_along_axis(factors[:, None, None, :], which, axis=3)
    return jnp.clip(f * images + (1 - f) * other, 0, 255)


def to_gray(images: jax.Array) -> jax.Array:
    """f32[N, H, W, 1 or 3] -> f32[N, H, W, 1]."""
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
    """The change of color `name`; ConfigError for a knob that is out of its range."""
    return COLOR_CHANGES[name](**knobs)
