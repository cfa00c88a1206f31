"""The views of a batch, cut out of its images on the devices."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from cnn_archs.data.transforms import crops
from cnn_archs.data.transforms.crops import Size
from cnn_archs.data.transforms.preprocess import Inputs


def compile_view_cutter(
    inputs: Inputs, statistics: dict[str, Any], centered: bool, mesh: Mesh
) -> Callable[..., jax.Array]:
    """cut(images [B, H, W, C], corners i32[B, 2], sizes i32[B, 2], mirrored, region, out), jitted:
    the views of size `region` at `corners`, resized to `out`, as input f32[B, *out', C].

    sizes: see `Canvases`. centered: the mean is off already; else it is taken off here.
    """
    mean = None if centered or inputs.mean == "none" else jnp.asarray(statistics["mean"])
    split = NamedSharding(mesh, P("data"))

    @partial(jax.jit, static_argnums=(4, 5), out_shardings=split)
    def cut(images, corners, sizes, mirrored, region, out):
        x = slice_at_corners(images, corners, region).astype(jnp.float32)
        x = crops.resized(x, crops.Box(0.0, 0.0, *map(float, region)), out)
        if mean is not None:
            x = x - mean_under_views(mean, corners, sizes, region, out)
        x = jnp.where(mirrored, x[:, :, ::-1], x)
        return inputs.finish(x, statistics)

    return cut


def slice_at_corners(images: jax.Array, corners: jax.Array, size: Size) -> jax.Array:
    """Of each of [B, H, W, C] the part of `size` at its own corner."""
    channels = images.shape[-1]
    return jax.vmap(
        lambda image, corner: jax.lax.dynamic_slice(
            image, (corner[0], corner[1], 0), (*size, channels)
        )
    )(images, corners)


def mean_under_views(
    mean: jax.Array, corners: jax.Array, sizes: jax.Array, region: Size, out: Size
) -> jax.Array:
    """What is taken off views that are `out`, once resized: f32[B or 1, h, w, C].

    mean: f32[H, W, C] of the size in which training images are delivered, thought of as in the
    middle of the image. A view gets the part of it where it is, or the nearest one. One that is
    larger gets its mean over all places, and so does every view where `mean` is f32[1, 1, C].
    """
    if min(of - size for of, size in zip(mean.shape[:2], out, strict=True)) < 0:
        return mean.mean((0, 1))[None, None, None]
    inside = jnp.array([(r - n) // 2 for r, n in zip(region, out, strict=True)])[None]
    middles = (sizes - jnp.array(mean.shape[:2])[None]) / 2
    last = jnp.array([of - n for of, n in zip(mean.shape[:2], out, strict=True)])[None]
    places = jnp.clip(corners + inside - jnp.round(middles).astype(jnp.int32), 0, last)
    return jax.vmap(lambda place: slice_at_corners(mean[None], place[None], out)[0])(places)
