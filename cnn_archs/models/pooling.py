"""Pooling layers. They are modules so that they have names, and rows in a network's summary."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from cnn_archs.models.cpu.max_pool import Padding, max_pool
from cnn_archs.models.cpu.mean_pool import mean_pool
from cnn_archs.models.network import WHOLE, Layer, Windows, windows_of


def pool_padding(size: int, window: int, stride: int, padding: int, ceil: bool) -> tuple[int, int]:
    """(before, after) along an axis of `size`, for a window that is placed in floor or ceil mode.

    Ceil mode, as in Caffe and torch: a last window that hangs over the end counts, unless it
    would start in the padding.
    """
    if not ceil:
        return padding, padding
    out = math.ceil((size + 2 * padding - window) / stride) + 1
    out -= (out - 1) * stride >= size + padding
    return padding, max(padding, (out - 1) * stride + window - size - padding)


class MaxPool(Layer):
    """The maximum over `window` x `window`, every `stride` pixels; the padding never wins.

    ceil: a last window that hangs over the edge counts (see `pool_padding`).
    """

    kind = "maxpool"
    window: int
    stride: int
    padding: int = 0
    ceil: bool = False

    def __call__(self, x: jax.Array) -> jax.Array:
        """x: f32[N, H, W, C] -> f32[N, H', W', C], H' = (H + 2 padding - window) / stride + 1."""
        return max_pool(x, self.window, self.stride, self.around(x))

    def windows(self) -> Windows:
        return windows_of(self.window, self.stride, self.padding)

    def around(self, x: jax.Array) -> Padding:
        """What is put around x: f32[N, H, W, C]: ((top, bottom), (left, right)).

        ValueError for a map that the window does not fit on.
        """
        height, width = (
            pool_padding(size, self.window, self.stride, self.padding, self.ceil)
            for size in x.shape[1:3]
        )
        pads = height, width
        if min(n + sum(p) for n, p in zip(x.shape[1:3], pads, strict=True)) < self.window:
            window, map_ = f"{self.window}x{self.window}", f"{x.shape[1]}x{x.shape[2]}"
            raise ValueError(f"the image is too small: a pool of {window} on a map of {map_}")
        return pads


class AvgPool(Layer):
    """The mean over `window` x `window`, every `stride` pixels; zeros of the padding count."""

    kind = "avgpool"
    window: int
    stride: int
    padding: int = 0

    def __call__(self, x: jax.Array) -> jax.Array:
        """x: f32[N, H, W, C] -> f32[N, H', W', C], H' = (H + 2 padding - window) // stride + 1."""
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))  # in which to add
        return mean_pool(wide, self.window, self.stride, self.padding).astype(x.dtype)

    def windows(self) -> Windows:
        return windows_of(self.window, self.stride, self.padding)


class AdaptiveAvgPool(Layer):
    """torch's: the mean over windows that divide a map into `size` x `size` as evenly as can be."""

    kind = "avgpool"
    size: int

    def __call__(self, x: jax.Array) -> jax.Array:
        """x: f32[N, H, W, C] -> f32[N, size, size, C]."""
        rows, columns = (self.means(n).astype(x.dtype) for n in x.shape[1:3])
        return jnp.einsum("ph,qw,nhwc->npqc", rows, columns, x)

    def means(self, n: int) -> np.ndarray:
        """f64[size, n]: along one axis, what each output takes of each input."""
        at = np.arange(self.size)[:, None]
        first, end = at * n // self.size, -(-(at + 1) * n // self.size)
        inside = (first <= np.arange(n)) & (np.arange(n) < end)
        return inside / (end - first)


class GlobalAvgPool(Layer):
    """The mean over each map."""

    kind = "gap"

    def __call__(self, x: jax.Array) -> jax.Array:
        """x: f32[N, H, W, C] -> f32[N, C]."""
        return x.mean((1, 2))

    def windows(self) -> Windows:
        return WHOLE
