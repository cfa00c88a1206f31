"""Cut the views of a test protocol out of a batch of images, on the devices."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from cnn_archs.data.transforms.boxes import Box, Size, resize_box
from cnn_archs.data.transforms.preprocess import Preprocessor


def compile_view_cutter(
    inputs: Preprocessor, statistics: dict[str, Any], centered: bool, mesh: Mesh
) -> Callable[..., jax.Array]:
    """Return the jitted function cut(images, corners, sizes, mirrored, region, out).

    It cuts one view out of each image [B, H, W, C]: the part of size `region` whose upper left
    corner is `corners` i32[B, 2], resized to `out`, mirrored if `mirrored`. The result is the
    network's input f32[B, *out, C]. sizes i32[B, 2]: see `BucketedBatch`. centered: the mean of the
    training images has been subtracted already; otherwise `cut` subtracts it.
    """
    mean = None if centered or inputs.mean == "none" else jnp.asarray(statistics["mean"])
    split = NamedSharding(mesh, P("data"))

    @partial(jax.jit, static_argnums=(4, 5), out_shardings=split)
    def cut(images, corners, sizes, mirrored, region, out):
        x = slice_at_corners(images, corners, region).astype(jnp.float32)
        x = resize_box(x, Box(0.0, 0.0, *map(float, region)), out)
        if mean is not None:
            x = x - mean_under_views(mean, corners, sizes, region, out)
        x = jnp.where(mirrored, x[:, :, ::-1], x)
        return inputs.finish(x, statistics)

    return cut


def slice_at_corners(images: jax.Array, corners: jax.Array, size: Size) -> jax.Array:
    """Cut a part of `size` out of each image [B, H, W, C], at its own corner i32[B, 2]."""
    channels = images.shape[-1]
    return jax.vmap(
        lambda image, corner: jax.lax.dynamic_slice(
            image, (corner[0], corner[1], 0), (*size, channels)
        )
    )(images, corners)


def mean_under_views(
    mean: jax.Array, corners: jax.Array, sizes: jax.Array, region: Size, out: Size
) -> jax.Array:
    """Return the mean image to subtract from views resized to `out`: f32[B or 1, h, w, C].

    mean: f32[H, W, C], in the size of delivered training images; it is placed at the
    center of each image. A view gets the part of the mean that lies under it, or the nearest part.
    A view that is larger than the mean gets the average over all pixels, and so does every view
    if `mean` is f32[1, 1, C].
    """
    if min(whole - part for whole, part in zip(mean.shape[:2], out, strict=True)) < 0:
        return mean.mean((0, 1))[None, None, None]
    inside = jnp.array([(r - n) // 2 for r, n in zip(region, out, strict=True)])[None]
    centers = (sizes - jnp.array(mean.shape[:2])[None]) / 2
    last = jnp.array([whole - part for whole, part in zip(mean.shape[:2], out, strict=True)])[None]
    places = jnp.clip(corners + inside - jnp.round(centers).astype(jnp.int32), 0, last)
    return jax.vmap(lambda place: slice_at_corners(mean[None], place[None], out)[0])(places)
