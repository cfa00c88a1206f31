"""Affine warps of a batch of images, one warp per image, and LeNet-5's random distortions.

A warp is described as in scipy.ndimage.affine_transform: pixel (row, column) of the result is the
image's value at `matrix @ (row, column) + offset`, interpolated bilinearly. Images are
f32[N, H, W, C].
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

# At a GPU's default precision (TF32) the error of a matrix moves pixels visibly.
multiply = partial(jnp.matmul, precision="highest")


class Affine(NamedTuple):
    """One warp per image: matrices f32[N, 2, 2] and offsets f32[N, 2].

    They map a position in the result to a position in the image. A position is (row, column) in
    pixels, and centers of pixels are at whole numbers.
    """

    matrices: jax.Array
    offsets: jax.Array


class SamplePoint(NamedTuple):
    """Positions along one axis, between two neighboring pixels.

    low: the pixel at or before the position, i32. fraction: the distance from it, f32 in [0, 1).
    """

    low: jax.Array
    fraction: jax.Array


def index_nearest(point: SamplePoint, size: int) -> tuple[jax.Array, jax.Array]:
    """Repeat the outermost pixels: a a a a | a b c d | d d d d."""
    return jnp.clip(point.low, 0, size - 1), jnp.clip(point.low + 1, 0, size - 1)


def index_reflect(point: SamplePoint, size: int) -> tuple[jax.Array, jax.Array]:
    """Mirror the image at its edges: d c b a | a b c d | d c b a."""

    def inside(index: jax.Array) -> jax.Array:
        index = index % (2 * size)
        return jnp.minimum(index, 2 * size - 1 - index)

    return inside(point.low), inside(point.low + 1)


def index_wrap(point: SamplePoint, size: int) -> tuple[jax.Array, jax.Array]:
    """Repeat the image as scipy does, with period size - 1: b c d | a b c d | b c d.

    The first and the last pixel share a position. The last one is used at the right edge and to the
    left of the image, the first one at the left edge and to the right of the image.
    """
    period = max(size - 1, 1)
    low = point.low % period
    last = (low == 0) & (point.fraction == 0) & (point.low <= size - 1) & (point.low != 0)
    low = jnp.where(last, size - 1, low)
    return low, jnp.minimum(low + 1, size - 1)


# How an image is extended beyond its edges: (point, size) -> indices of the two pixels between
# which the point lies. For `constant`, `apply_warps` then puts `cval` outside the pixels' centers.
FILL_MODES = {
    "nearest": index_nearest,
    "constant": index_nearest,
    "reflect": index_reflect,
    "wrap": index_wrap,
}


def apply_warps(images: jax.Array, warp: Affine, fill_mode: str, cval: float) -> jax.Array:
    """Warp each image as scipy.ndimage.affine_transform(order=1) does with each of its channels.

    images: f32[N, H, W, C]. fill_mode: one of FILL_MODES. cval: the value of pixels from outside
    the image if fill_mode is `constant`.
    """
    n, height, width, channels = images.shape
    row, column = jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij")
    row, column = row[None], column[None]
    # The displacement is added to the position as an integer and a fraction, so that a pixel that
    # does not move keeps its value exactly.
    move = warp.matrices - jnp.eye(2)[None]
    a, b = (
        move[:, axis, 0, None, None] * row
        + move[:, axis, 1, None, None] * column
        + warp.offsets[:, axis, None, None]
        for axis in (0, 1)
    )
    rows = SamplePoint(row + jnp.floor(a).astype(jnp.int32), a - jnp.floor(a))
    columns = SamplePoint(column + jnp.floor(b).astype(jnp.int32), b - jnp.floor(b))
    top, bottom = FILL_MODES[fill_mode](rows, height)
    left, right = FILL_MODES[fill_mode](columns, width)
    flat = images.reshape(n, height * width, channels)

    def pixels(row: jax.Array, column: jax.Array) -> jax.Array:
        index = (row * width + column).reshape(n, height * width, 1)
        found = jnp.take_along_axis(flat, index, axis=1, mode="promise_in_bounds")
        return found.reshape(images.shape)

    down, over = rows.fraction[..., None], columns.fraction[..., None]
    upper = pixels(top, left) * (1 - over) + pixels(top, right) * over
    lower = pixels(bottom, left) * (1 - over) + pixels(bottom, right) * over
    warped = upper * (1 - down) + lower * down
    if fill_mode == "constant":
        inside = is_inside(rows, height) & is_inside(columns, width)
        warped = jnp.where(inside[..., None], warped, cval)
    return warped


def is_inside(point: SamplePoint, size: int) -> jax.Array:
    """Return whether points lie between the centers of the first and the last pixel, as bool."""
    return (point.low >= 0) & (
        (point.low < size - 1) | ((point.low == size - 1) & (point.fraction == 0))
    )


def warp_about_center(matrices: jax.Array, shifts: jax.Array, height: int, width: int) -> Affine:
    """Make warps by matrices f32[N, 2, 2] about the image's center, moved by shifts f32[N, 2]."""
    center = jnp.array([height / 2 - 0.5, width / 2 - 0.5])
    moved = multiply(matrices, center[None, :, None])[..., 0]
    return Affine(matrices, center[None] + shifts - moved)


def rotation_matrix(degrees: jax.Array) -> jax.Array:
    """Make rotation matrices: f32[N] -> f32[N, 2, 2]; positive angles turn counterclockwise."""
    cos, sin = jnp.cos(jnp.deg2rad(degrees)), jnp.sin(jnp.deg2rad(degrees))
    return stack_2x2(cos, sin, -sin, cos)


def shear_matrix(degrees: jax.Array) -> jax.Array:
    """Make Keras' shear matrices: f32[N] -> f32[N, 2, 2].

    Columns move in proportion to the row, and rows shrink by the cosine of the angle.
    """
    cos, sin = jnp.cos(jnp.deg2rad(degrees)), jnp.sin(jnp.deg2rad(degrees))
    return stack_2x2(cos, jnp.zeros_like(cos), -sin, jnp.ones_like(cos))


def zoom_matrix(factors: jax.Array) -> jax.Array:
    """Make matrices that shrink the content by `factors`: f32[N, 2] -> f32[N, 2, 2].

    factors: one for rows and one for columns.
    """
    return factors[:, :, None] * jnp.eye(2)[None]


def stack_2x2(a: jax.Array, b: jax.Array, c: jax.Array, d: jax.Array) -> jax.Array:
    """Stack four f32[N] to the matrices [[a, b], [c, d]], f32[N, 2, 2]."""
    return jnp.stack([jnp.stack([a, b], -1), jnp.stack([c, d], -1)], -2)


def keras_warp(
    theta: jax.Array,
    shifts: jax.Array,
    shear: jax.Array,
    zooms: jax.Array,
    height: int,
    width: int,
) -> Affine:
    """Make warps that rotate, shift, shear and zoom in the order of Keras' apply_affine_transform.

    theta, shear: f32[N], degrees. shifts: f32[N, 2], in pixels, and zooms: f32[N, 2], both for rows
    and columns. Unlike Keras 3, it does not exchange the row and the column of the center of an
    image that is not square.
    """
    turn = rotation_matrix(theta)
    matrices = multiply(multiply(turn, shear_matrix(shear)), zoom_matrix(zooms))
    turned = multiply(turn, shifts[:, :, None])[..., 0]
    return warp_about_center(matrices, turned, height, width)


def distort(
    key: jax.Array,
    images: jax.Array,
    translate: float,
    scale: float,
    squeeze: float,
    shear: float,
) -> jax.Array:
    """Distort each image by a random planar affine warp (LeCun et al. 1998, section III.B).

    An image is translated by up to `translate` pixels along each axis; scaled by a factor of up to
    1 + scale, or by its inverse; squeezed along one axis by up to 1 + squeeze, and along the other
    by its inverse; and sheared horizontally by up to `shear` columns per row. The paper names
    these four and gives no amounts. Pixels from outside the image are 0.
    """
    n, height, width, _ = images.shape
    u = jax.random.uniform(key, (n, 5), minval=-1.0, maxval=1.0)
    size, ratio = (1 + scale) ** u[:, 2], (1 + squeeze) ** u[:, 3]
    one, zero = jnp.ones(n), jnp.zeros(n)
    slanted = stack_2x2(one, zero, shear * u[:, 4], one)
    matrices = multiply(slanted, zoom_matrix(jnp.stack([size * ratio, size / ratio], -1)))
    warp = warp_about_center(matrices, translate * u[:, :2], height, width)
    return apply_warps(images, warp, "constant", 0.0)
