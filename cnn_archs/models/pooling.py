"""Pooling layers.

They have no parameters; they are modules so that they have names, and rows in a network's summary.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from cnn_archs.models.cpu.max_pool import Padding, max_pool
from cnn_archs.models.cpu.mean_pool import mean_pool
from cnn_archs.models.network import WHOLE, Layer, Windows, windows_of


def pool_padding(size: int, window: int, stride: int, padding: int, ceil: bool) -> tuple[int, int]:
    """Return the padding (before, after) along an axis of `size`, in floor or ceil mode.

    In ceil mode, as in Caffe and torch, a last window that extends beyond the end counts, unless
    it would start in the padding.
    """
    if not ceil:
        return padding, padding
    out = math.ceil((size + 2 * padding - window) / stride) + 1
    out -= (out - 1) * stride >= size + padding
    return padding, max(padding, (out - 1) * stride + window - size - padding)


class MaxPool(Layer):
    """The maximum over `window` x `window` pixels, every `stride` pixels; the padding is ignored.

    ceil: whether a last window that extends beyond the edge counts (see `pool_padding`).
    """

    kind = "maxpool"
    window: int
    stride: int
    padding: int = 0
    ceil: bool = False

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map x: f32[N, H, W, C] to f32[N, H', W', C], H' = (H + 2 padding - window) / stride + 1.

        H' is rounded down, or up in ceil mode.
        """
        return max_pool(x, self.window, self.stride, self.around(x))

    def windows(self) -> Windows:
        return windows_of(self.window, self.stride, self.padding)

    def around(self, x: jax.Array) -> Padding:
        """Return the padding ((top, bottom), (left, right)) of x: f32[N, H, W, C].

        Raises ValueError if the padded map is smaller than the window.
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
    """The mean over `window` x `window` pixels, every `stride` pixels; the padding counts as 0.

    ceil: whether a last window that extends beyond the edge counts (see `pool_padding`); it is the
    mean of what it has inside of the image and its padding, as in Caffe and torch. count_padding:
    if False, each output is the mean of the pixels that its window has inside of the image alone,
    as in TensorFlow.
    """

    kind = "avgpool"
    window: int
    stride: int
    padding: int = 0
    ceil: bool = False
    count_padding: bool = True

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map x: f32[N, H, W, C] to [N, H', W', C], H' = (H + 2 padding - window) / stride + 1.

        H' is rounded down, or up in ceil mode.
        """
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))  # sums in float32 or better
        height, width = (
            pool_padding(size, self.window, self.stride, self.padding, self.ceil)
            for size in x.shape[1:3]
        )
        means = mean_pool(wide, self.window, self.stride, (height, width))
        if self.ceil or not self.count_padding:
            rows, columns = map(self.shares, x.shape[1:3], means.shape[1:3])
            means = means / jnp.asarray(np.outer(rows, columns)[None, :, :, None], wide.dtype)
        return means.astype(x.dtype)

    def shares(self, size: int, windows: int) -> np.ndarray:
        """Return the share of each window along an axis that counts: f64[windows]."""
        counted = self.padding if self.count_padding else 0
        starts = np.arange(windows) * self.stride - self.padding
        ends = np.minimum(starts + self.window, size + counted)
        return (ends - np.maximum(starts, -counted)) / self.window

    def windows(self) -> Windows:
        return windows_of(self.window, self.stride, self.padding)


class AdaptiveAvgPool(Layer):
    """The mean over `size` x `size` windows that divide a map evenly, placed as in torch."""

    kind = "avgpool"
    size: int

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map x: f32[N, H, W, C] to f32[N, size, size, C]."""
        rows, columns = (self.means(n).astype(x.dtype) for n in x.shape[1:3])
        return jnp.einsum("ph,qw,nhwc->npqc", rows, columns, x)

    def means(self, n: int) -> np.ndarray:
        """Return the weights of the `n` inputs along an axis in each output: f64[size, n]."""
        at = np.arange(self.size)[:, None]
        first, end = at * n // self.size, -(-(at + 1) * n // self.size)
        inside = (first <= np.arange(n)) & (np.arange(n) < end)
        return inside / (end - first)


class GlobalAvgPool(Layer):
    """The mean over the whole map of each channel."""

    kind = "gap"

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map x: f32[N, H, W, C] to f32[N, C]."""
        return x.mean((1, 2))

    def windows(self) -> Windows:
        return WHOLE
