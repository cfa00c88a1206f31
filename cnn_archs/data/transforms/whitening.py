"""Global contrast normalization and ZCA whitening of whole images.

They prepare CIFAR-10 in Goodfellow et al. 2013 (Maxout) and Lin et al. 2013 (Network in Network);
the order and the constants are those of Maxout's published code.
"""

import dataclasses
import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cnn_archs.data.transforms.keras_standardize import get_statistic

LEAST_NORM = 1e-8  # an image whose norm is smaller, of one color, is not divided by it
CHUNK = 1000  # images that `fit` holds as float64 at a time


@dataclasses.dataclass(frozen=True, kw_only=True)
class ContrastAndWhitening:
    """Gives each image mean 0 and norm `scale`, then removes correlations between pixels.

    zca_bias: added to the eigenvalues of the covariance of the training images.
    """

    scale: float
    zca_bias: float

    def statistic_shapes(self, image: tuple[int, int, int]) -> dict[str, tuple[int, ...]]:
        """Return the shapes of what `fit` returns for images of (H, W, C)."""
        values = math.prod(image)
        return {"mean": image, "whitening": (values, values)}

    def fit(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Compute the statistics of the normalized training images, u8[N, H, W, C], in float64.

        Returns mean, f32[H, W, C], and whitening, f32[H W C, H W C], the inverse root of the
        covariance.
        """
        values = math.prod(images.shape[1:])
        total, scatter = np.zeros(values), np.zeros((values, values))
        for start in range(0, len(images), CHUNK):
            part = images[start : start + CHUNK]
            flat = self.normalize(part.astype(np.float64), np).reshape(len(part), values)
            total += flat.sum(0)
            scatter += flat.T @ flat
        mean = total / len(images)
        covariance = scatter / len(images) - np.outer(mean, mean)
        eigenvalues, directions = np.linalg.eigh(covariance + self.zca_bias * np.eye(values))
        whitening = (directions / np.sqrt(eigenvalues)) @ directions.T
        return {
            "mean": mean.reshape(images.shape[1:]).astype(np.float32),
            "whitening": whitening.astype(np.float32),
        }

    def normalize(self, images: Any, xp: Any) -> Any:
        """Give each image mean 0 and norm `scale`. xp: numpy or jax.numpy, that of the images."""
        x = images - images.mean((1, 2, 3), keepdims=True)
        norms = xp.sqrt((x * x).sum((1, 2, 3), keepdims=True))
        return self.scale * x / xp.where(norms < LEAST_NORM, 1.0, norms)

    @partial(jax.jit, static_argnums=0)
    def standardize(self, images: jax.Array, statistics: dict[str, Any]) -> jax.Array:
        """Normalize and whiten images: [N, H, W, C] -> f32[N, H, W, C].

        statistics: what `fit` returned. Raises ValueError if one of them is missing.
        """
        x = self.normalize(images.astype(jnp.float32), jnp)
        x = x - get_statistic(statistics, "mean")[None]
        flat, whitening = x.reshape(len(x), -1), get_statistic(statistics, "whitening")
        return jnp.matmul(flat, whitening, precision="highest").reshape(x.shape)
