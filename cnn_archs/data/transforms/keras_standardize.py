"""The lecture notes' standardization of images: Keras' ImageDataGenerator, with its names.

The functions compute what Keras 3 does (keras.src.legacy.preprocessing.image), but are pure and
take whole batches. Deviation: whitening leaves out directions in which training images do not vary.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

STD_EPSILON = 1e-6  # added to a standard deviation before dividing by it


@dataclasses.dataclass(frozen=True, kw_only=True)
class Standardization:
    """Standardizes images; each knob has Keras' name and meaning.

    The featurewise knobs use the mean and standard deviation of each channel over the training
    images; the samplewise knobs use those of the image itself, over all channels. rescale: a
    factor; 0 or None for none. preprocessing_function: a jax function of one image f32[H, W, C],
    applied first.

    As in Keras, some knobs imply others: dividing by a standard deviation, or whitening, subtracts
    the mean too, and whitening turns off the division by the featurewise standard deviation.
    Raises ValueError if zca_epsilon is negative.
    """

    featurewise_center: bool = False
    samplewise_center: bool = False
    featurewise_std_normalization: bool = False
    samplewise_std_normalization: bool = False
    zca_whitening: bool = False
    zca_epsilon: float = 1e-6
    rescale: float | None = None
    preprocessing_function: Callable[[jax.Array], jax.Array] | None = None

    def __post_init__(self) -> None:
        if self.zca_epsilon < 0:
            raise ValueError(f"zca_epsilon={self.zca_epsilon}: must be at least 0")
        settle = partial(object.__setattr__, self)
        if self.zca_whitening:
            settle("featurewise_center", True)
            settle("featurewise_std_normalization", False)
        if self.featurewise_std_normalization:
            settle("featurewise_center", True)
        if self.samplewise_std_normalization:
            settle("samplewise_center", True)

    def statistic_shapes(self, image: tuple[int, int, int]) -> dict[str, tuple[int, ...]]:
        """Return the shapes of all that `fit` could return for images of (H, W, C)."""
        found: dict[str, tuple[int, ...]] = dict.fromkeys(("mean", "std"), (1, 1, image[2]))
        if self.zca_whitening:
            found["whitening"] = (math.prod(image),) * 2
        return found

    def fit(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Compute the statistics of the rescaled training images that `standardize` uses.

        images: u8[N, H, W, C]. Returns those that the knobs need of: mean and std, f32[1, 1, C],
        over all images and positions; whitening, f32[H W C, H W C]. They are computed in float64,
        a thousand images at a time.
        """
        statistics = {}
        places = images.size // images.shape[-1]
        mean = np.zeros((1, 1, images.shape[-1]))
        if self.featurewise_center:
            mean = sum(x.sum((0, 1, 2)) for x in self.rescaled_chunks(images))[None, None] / places
            statistics["mean"] = mean
        if self.featurewise_std_normalization:
            squares = sum(((x - mean) ** 2).sum((0, 1, 2)) for x in self.rescaled_chunks(images))
            statistics["std"] = np.sqrt(squares / places)[None, None]
        if self.zca_whitening:
            flat = ((x - mean).reshape(len(x), -1) for x in self.rescaled_chunks(images))
            scatter = sum((x.T @ x for x in flat), np.zeros(()))
            statistics["whitening"] = whitening_matrix(scatter, len(images), self.zca_epsilon)
        return {name: value.astype(np.float32) for name, value in statistics.items()}

    def rescaled_chunks(self, images: np.ndarray, size: int = 1000) -> Iterator[np.ndarray]:
        """Yield the rescaled images as float64, `size` images at a time."""
        for start in range(0, len(images), size):
            yield images[start : start + size].astype(np.float64) * (self.rescale or 1.0)

    @partial(jax.jit, static_argnums=0)
    def standardize(self, images: jax.Array, statistics: dict[str, Any]) -> jax.Array:
        """Standardize images in Keras' order: [N, H, W, C] -> f32[N, H, W, C].

        statistics: what `fit` returned. Raises ValueError if one that is needed is missing.
        """
        x = images.astype(jnp.float32)
        if self.preprocessing_function:
            x = jax.vmap(self.preprocessing_function)(x)
        if self.rescale:
            x = x * self.rescale
        if self.samplewise_center:
            x = x - x.mean((1, 2, 3), keepdims=True)
        if self.samplewise_std_normalization:
            x = x / (x.std((1, 2, 3), keepdims=True) + STD_EPSILON)
        if self.featurewise_center:
            x = x - get_statistic(statistics, "mean")[None]
        if self.featurewise_std_normalization:
            x = x / (get_statistic(statistics, "std")[None] + STD_EPSILON)
        if self.zca_whitening:
            flat = x.reshape(len(x), -1)
            white = jnp.matmul(flat, get_statistic(statistics, "whitening"), precision="highest")
            x = white.reshape(x.shape)
        return x


def whitening_matrix(scatter: np.ndarray, n: int, epsilon: float) -> np.ndarray:
    """Return U diag(sqrt(n) / (s + epsilon)) U^T, where X^T = U diag(s) V^T.

    scatter: X^T X, where each row of X is one of n centered images. Directions in which s is 0, up
    to rounding, are left out.
    """
    squares, directions = np.linalg.eigh(scatter)
    varies = squares > squares[-1] * len(squares) * np.finfo(np.float64).eps
    u, s = directions[:, varies], np.sqrt(squares[varies])
    return (u * (np.sqrt(n) / (s + epsilon))) @ u.T


def get_statistic(statistics: dict[str, Any], name: str) -> jax.Array:
    """Look up one statistic. Raises ValueError if it is missing."""
    if name not in statistics:
        raise ValueError(f"the statistics have no {name}: they must come from this object's fit")
    return jnp.asarray(statistics[name])
