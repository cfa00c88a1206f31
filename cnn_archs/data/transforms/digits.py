"""The two older forms of MNIST in LeCun et al. 1998, section III.A: deslanted, and reduced.

Both take images f32[N, H, W, C] of bright ink on a background of 0, and can be jitted.
"""

import jax
import jax.numpy as jnp


def deslant(images: jax.Array) -> jax.Array:
    """Shift the rows of each image sideways so that the principal axis of its ink is vertical.

    The amount is linear in the row: with it the mixed second moment of the ink becomes 0. A pixel
    weighs as much as it is bright. Fractions of a pixel are interpolated between two neighbors,
    which keeps both moments exact; ink that leaves the image is lost. An image without ink, or with
    ink in one row only, is unchanged.
    """
    height, width = images.shape[1:3]
    ink = images.sum(-1)
    mass = jnp.maximum(ink.sum((1, 2)), 1e-6)
    y, x = jnp.arange(height, dtype=jnp.float32), jnp.arange(width, dtype=jnp.float32)
    rows, columns = ink.sum(2), ink.sum(1)  # [N, H], [N, W]
    center_y = (rows * y[None]).sum(1) / mass
    center_x = (columns * x[None]).sum(1) / mass
    dy, dx = y[None] - center_y[:, None], x[None] - center_x[:, None]
    mixed = jnp.einsum("nhw,nh,nw->n", ink, dy, dx, precision="highest")
    vertical = (rows * dy**2).sum(1)
    slant = jnp.where(vertical > 1e-6 * mass, mixed / jnp.maximum(vertical, 1e-6), 0.0)
    source = x[None, None] + (slant[:, None] * dy)[:, :, None]  # [N, H, W]: where a pixel is from
    left = jnp.floor(source)
    share = (source - left)[..., None]

    def pixels_at(columns: jax.Array) -> jax.Array:
        inside = (columns >= 0) & (columns < width)
        index = jnp.clip(columns, 0, width - 1).astype(jnp.int32)
        found = jnp.take_along_axis(images, index[..., None], axis=2)
        return jnp.where(inside[..., None], found, 0.0)

    return (1.0 - share) * pixels_at(left) + share * pixels_at(left + 1.0)


def reduce_in_place(images: jax.Array, scale: float) -> jax.Array:
    """Resize what is in each image by `scale`, below 1, about its center; the rest becomes 0."""
    n, height, width, channels = images.shape
    around = [(1.0 - scale) / 2 * length for length in (height, width)]
    return jax.image.scale_and_translate(
        images,
        (n, height, width, channels),
        (1, 2),
        jnp.full(2, scale),
        jnp.asarray(around),
        method="triangle",
    )
