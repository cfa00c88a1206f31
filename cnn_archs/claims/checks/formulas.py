"""The papers' formulas in numpy, in float64 and without any of this package's layers.

Maps are f64[N, H, W, C], kernels f64[h, w, C of a group, maps].
"""

import numpy as np

Array = np.ndarray


def relu(x: Array) -> Array:
    """Return max(0, x)."""
    return np.maximum(x, 0.0)


def squash(a: Array) -> Array:
    """Return A tanh(S a) with A = 1.7159 and S = 2/3 (LeCun et al. 1998, appendix A)."""
    return 1.7159 * np.tanh(2.0 / 3.0 * a)


def squash_slope(a: Array) -> Array:
    """Return the derivative of `squash` at a."""
    return 1.7159 * 2.0 / 3.0 * (1.0 - np.tanh(2.0 / 3.0 * a) ** 2)


def windows(x: Array, size: int, stride: int, padding: int, fill: float, hang: bool) -> Array:
    """Return the windows of x as f64[N, H', W', C, size, size], one every `stride` pixels.

    padding: pixels of value `fill` around x. hang: whether a last window may hang over the edge.
    """
    over = [-(side + 2 * padding - size) % stride if hang else 0 for side in x.shape[1:3]]
    around = [(0, 0), *((padding, padding + more) for more in over), (0, 0)]
    x = np.pad(x, around, constant_values=fill)
    every = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))
    return every[:, ::stride, ::stride]


def max_pool(x: Array, size: int, stride: int, padding: int = 0, hang: bool = False) -> Array:
    """Return the largest value of each window."""
    return windows(x, size, stride, padding, -np.inf, hang).max((-2, -1))


def mean_pool(x: Array, size: int, stride: int) -> Array:
    """Return the mean of each window."""
    return windows(x, size, stride, 0, 0.0, False).mean((-2, -1))


def sum_pool(x: Array, size: int, stride: int) -> Array:
    """Return the sum of each window."""
    return windows(x, size, stride, 0, 0.0, False).sum((-2, -1))


def convolve(x: Array, kernel: Array, stride: int = 1, padding: int = 0, groups: int = 1) -> Array:
    """Return the weighted sums of the windows of x. Each group of maps sees its part of x alone."""
    parts = zip(np.split(x, groups, -1), np.split(kernel, groups, -1), strict=True)
    sums = [
        np.tensordot(windows(part, len(k), stride, padding, 0.0, False), k, ((4, 5, 3), (0, 1, 2)))
        for part, k in parts
    ]
    return np.concatenate(sums, -1)


def response_norm(a: Array, k: float, n: int, alpha: float, beta: float) -> Array:
    """Return b_i = a_i / (k + alpha sum_j a_j^2)^beta, j from i - n/2 to i + n/2 (AlexNet, 3.3)."""
    maps, half = a.shape[-1], n // 2
    near = [slice(max(0, i - half), min(maps - 1, i + half) + 1) for i in range(maps)]
    sums = np.stack([(a[..., of] ** 2).sum(-1) for of in near], -1)
    return a / (k + alpha * sums) ** beta


def batch_norm(
    x: Array, scale: Array, bias: Array, mean: Array, variance: Array, epsilon: float
) -> Array:
    """Return scale (x - mean) / sqrt(variance + epsilon) + bias (Ioffe & Szegedy 2015)."""
    return scale * (x - mean) / np.sqrt(variance + epsilon) + bias


def cross_entropy(logits: Array, label: Array) -> Array:
    """Return -log of the softmax's probability of the label, for each row of the logits."""
    p = np.exp(logits - logits.max(-1, keepdims=True))
    return -np.log(p[np.arange(len(p)), label] / p.sum(-1))
