"""Affine warps of a batch of images, each by its own matrix; LeNet-5's random distortions.

A warp is given as scipy.ndimage.affine_transform takes it: the pixel (row, column) of the result is
the image at `matrix @ (row, column) + offset`, between pixels bilinear. Images are f32[N, H, W, C].
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

multiply = partial(jnp.matmul, precision="highest")  # a GPU's default moves pixels visibly


class Affine(NamedTuple):
    """matrices f32[N, 2, 2] and offsets f32[N, 2], from where in the result to where in the image.

    Rows come first, then columns; in pixels, whose centers are at whole numbers.
    """

    matrices: jax.Array
    offsets: jax.Array


class SamplePoint(NamedTuple):
    """Where, on one axis: between pixel `at` and the next, `beyond` of the way; i32, f32."""

    low: jax.Array
    fraction: jax.Array


def index_nearest(place: SamplePoint, size: int) -> tuple[jax.Array, jax.Array]:
    """a a a a | a b c d | d d d d."""
    return jnp.clip(place.low, 0, size - 1), jnp.clip(place.low + 1, 0, size - 1)


def index_reflect(place: SamplePoint, size: int) -> tuple[jax.Array, jax.Array]:
    """d c b a | a b c d | d c b a."""

    def inside(at: jax.Array) -> jax.Array:
        at = at % (2 * size)
        return jnp.minimum(at, 2 * size - 1 - at)

    return inside(place.low), inside(place.low + 1)


def index_wrap(place: SamplePoint, size: int) -> tuple[jax.Array, jax.Array]:
    """b c d | a b c d | b c d: as scipy has it, period size - 1, first and last pixel in one place.

    There the last is taken on the left of the image and at its right edge, else the first.
    """
    period = max(size - 1, 1)
    at = place.low % period
    last = (at == 0) & (place.fraction == 0) & (place.low <= size - 1) & (place.low != 0)
    at = jnp.where(last, size - 1, at)
    return at, jnp.minimum(at + 1, size - 1)


# How an image goes on beyond its edges: (place, size) -> the two pixels that it lies between.
# `constant` is `nearest`, but what is outside of the first and last pixel's centers is `cval`.
FILL_MODES = {
    "nearest": index_nearest,
    "constant": index_nearest,
    "reflect": index_reflect,
    "wrap": index_wrap,
}


def warp_images(images: jax.Array, warp: Affine, fill_mode: str, cval: float) -> jax.Array:
    """Each image warped: scipy.ndimage.affine_transform(order=1, mode=fill_mode), by channel."""
    n, height, width, channels = images.shape
    row, column = jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij")
    row, column = row[None], column[None]
    # Where a pixel moves by is added to where it is in whole numbers: exact where it does not move.
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


def is_inside(place: SamplePoint, size: int) -> jax.Array:
    """Between the centers of the first and of the last pixel, or on one of them."""
    return (place.low >= 0) & (
        (place.low < size - 1) | ((place.low == size - 1) & (place.fraction == 0))
    )


def warp_about_center(matrices: jax.Array, shifts: jax.Array, height: int, width: int) -> Affine:
    """f32[N, 2, 2] that leave the image's center where it is, but for `shifts`, f32[N, 2]."""
    center = jnp.array([height / 2 - 0.5, width / 2 - 0.5])
    moved = multiply(matrices, center[None, :, None])[..., 0]
    return Affine(matrices, center[None] + shifts - moved)


def rotation_matrix(degrees: jax.Array) -> jax.Array:
    """f32[N] -> f32[N, 2, 2]. The content turns counterclockwise if degrees are positive."""
    cos, sin = jnp.cos(jnp.deg2rad(degrees)), jnp.sin(jnp.deg2rad(degrees))
    return stack_2x2(cos, sin, -sin, cos)


def shear_matrix(degrees: jax.Array) -> jax.Array:
    """f32[N] -> f32[N, 2, 2]. Columns move by row, as Keras does it: rows shrink by the cosine."""
    cos, sin = jnp.cos(jnp.deg2rad(degrees)), jnp.sin(jnp.deg2rad(degrees))
    return stack_2x2(cos, jnp.zeros_like(cos), -sin, jnp.ones_like(cos))


def zoom_matrix(factors: jax.Array) -> jax.Array:
    """f32[N, 2], of rows and columns -> f32[N, 2, 2]. The content shrinks by them."""
    return factors[:, :, None] * jnp.eye(2)[None]


def stack_2x2(a: jax.Array, b: jax.Array, c: jax.Array, d: jax.Array) -> jax.Array:
    """Four f32[N] -> the matrices [[a, b], [c, d]], f32[N, 2, 2]."""
    return jnp.stack([jnp.stack([a, b], -1), jnp.stack([c, d], -1)], -2)


def keras_warp(
    theta: jax.Array,
    shifts: jax.Array,
    shear: jax.Array,
    zooms: jax.Array,
    height: int,
    width: int,
) -> Affine:
    """Rotation, shift, shear, zoom in the order of Keras' apply_affine_transform.

    theta, shear: f32[N], degrees; shifts f32[N, 2], pixels, and zooms f32[N, 2]: of rows and
    columns. As in Keras 3, which takes x for columns; only that there, of an image that is not
    square, the center's row and column are exchanged.
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
    """LeCun et al. 1998, section III.B: random planar affine distortions; what comes in is 0.

    Translation by up to `translate` pixels on each axis; scaling by up to 1 + scale, up or down;
    squeezing, one axis by up to 1 + squeeze and the other by its inverse; horizontal shearing by up
    to `shear` columns a row. The paper names these four and gives no amounts.
    """
    n, height, width, _ = images.shape
    u = jax.random.uniform(key, (n, 5), minval=-1.0, maxval=1.0)
    size, ratio = (1 + scale) ** u[:, 2], (1 + squeeze) ** u[:, 3]
    one, zero = jnp.ones(n), jnp.zeros(n)
    slanted = stack_2x2(one, zero, shear * u[:, 4], one)
    matrices = multiply(slanted, zoom_matrix(jnp.stack([size * ratio, size / ratio], -1)))
    warp = warp_about_center(matrices, translate * u[:, :2], height, width)
    return warp_images(images, warp, "constant", 0.0)
