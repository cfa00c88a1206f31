"""Regions of an image: where they are, and how they are resized.

Resizing is bilinear. Where it shrinks it is antialiased with a triangle filter, like Pillow's, and
pixels of the image just outside a region contribute to it.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Size = tuple[int, int]  # height, width


class Box(NamedTuple):
    """A region of an image, bounded by edges in pixels. Each field is a float or a 0-d array."""

    top: Any
    left: Any
    height: Any
    width: Any


def random_below(u: Any, count: Any) -> Any:
    """Map u, uniform in [0, 1), to an integer uniform in [0, count), as int32."""
    return (u * count).astype("int32")


def center_offset(length: int, part: int) -> int:
    """Return where the central `part` pixels of `length` begin; halves round to even (torchvision).

    Both are numbers of pixels along one axis.
    """
    return round((length - part) / 2)


def size_with_shorter_side(height: int, width: int, shorter: Any) -> tuple[Any, Any]:
    """Scale a size so that its shorter side is `shorter`; the longer is rounded down (torchvision).

    shorter: an int or a 0-d integer array.
    """
    if height < width:
        return shorter, shorter * width // height
    return shorter * height // width, shorter


def box_before_resize(
    height: int, width: int, resized: tuple[Any, Any], corner: tuple[Any, Any], out: Size
) -> Box:
    """Find the region of a height x width image that ends up at `corner` of the resized image.

    resized: the size to which the whole image would be resized. corner: top and left of a part of
    size `out` of that. Resizing the region to `out` gives what resizing the whole image and then
    cutting out the part gives.
    """
    y, x = height / resized[0], width / resized[1]
    return Box(corner[0] * y, corner[1] * x, out[0] * y, out[1] * x)


def central_box(height: int, width: int, shorter: int, out: Size) -> Box:
    """Find the region that is the central `out` of the image resized to shorter side `shorter`."""
    h, w = size_with_shorter_side(height, width, shorter)
    corner = (center_offset(h, out[0]), center_offset(w, out[1]))
    return box_before_resize(height, width, (h, w), corner, out)


def resize_box(images: jax.Array, box: Box, out: Size) -> jax.Array:
    """Resize one region of all images: f32[..., H, W, C] -> f32[..., *out, C]."""
    *batch, height, width, channels = images.shape
    is_static = isinstance(box.height, float)
    if is_static and box == (0, 0, height, width) and out == (height, width):
        return images
    y, x = out[0] / box.height, out[1] / box.width
    return jax.image.scale_and_translate(
        images,
        (*batch, *out, channels),
        (len(batch), len(batch) + 1),
        jnp.stack([jnp.float32(y), jnp.float32(x)]),
        jnp.stack([jnp.float32(-box.top * y), jnp.float32(-box.left * x)]),
        method="triangle",
    )
