"""Encoded images to pixels: strict about damage, and no larger than a crop needs.

JPEG is decoded by libjpeg-turbo (simplejpeg), each of its warnings an error; PNG, BMP, WebP and the
first frame of a GIF by Pillow, a PNG after its checksums. The other formats have none: what is cut
off is always noticed, a flipped bit of a JPEG seldom, twenty of them nearly always.

All become 8-bit RGB: gray is repeated, CMYK converted as Pillow does, which takes all of it for
Adobe's, stored inverted; of 16 bits the upper 8 are kept, and what is transparent is put over
white. EXIF's orientation is ignored, as in ImageNet's recipes: pixels come as they are stored.
"""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import simplejpeg
from PIL import BmpImagePlugin, GifImagePlugin, Image, PngImagePlugin, WebPImagePlugin

from cnn_archs.arithmetic import ceil_div
from cnn_archs.data.corruption import damage_error, data_errors
from cnn_archs.data.transforms.boxes import Box

MAX_PIXELS = 89_478_485  # Pillow's own limit: 256 MiB of RGB
MAX_PIXELS_PER_BYTE = 256  # a large image of more than so many is a bomb; JPEG reaches 60
LARGE_PIXELS = 16_000_000  # pixels

FORMATS: dict[bytes, Any] = {  # how a file begins -> Pillow's reader
    b"\x89PNG": PngImagePlugin.PngImageFile,
    b"BM": BmpImagePlugin.BmpImageFile,
    b"GIF8": GifImagePlugin.GifImageFile,
    b"RIFF": WebPImagePlugin.WebPImageFile,
}


class JpegImage:
    """height, width: of the image in full; factors: by which decoding can make it smaller."""

    factors = (8, 4, 2)  # those that libjpeg-turbo has quick code for

    def __init__(self, encoded: bytes):
        self.encoded = encoded
        self.height, self.width, self.space, _ = simplejpeg.decode_jpeg_header(encoded)
        refuse_bombs(self.height, self.width, len(encoded))

    def decode(self, factor: int) -> Image.Image:
        """RGB, of ceil(height / factor) x ceil(width / factor) pixels."""
        smaller = {} if factor == 1 else self.size_arguments(factor)
        if self.space in ("CMYK", "YCCK"):
            pixels = simplejpeg.decode_jpeg(self.encoded, "CMYK", strict=True, **smaller)
            return Image.fromarray(255 - pixels, "CMYK").convert("RGB")
        return Image.fromarray(simplejpeg.decode_jpeg(self.encoded, "RGB", strict=True, **smaller))

    def size_arguments(self, factor: int) -> dict[str, int]:
        """What asks simplejpeg for exactly 1/factor: the smallest size that is not below it."""
        height, width = ceil_div(self.height, factor), ceil_div(self.width, factor)
        return {"min_height": height, "min_width": width, "min_factor": factor}


class OtherImage:
    """PNG, BMP, WebP, GIF: as Jpeg, but decoded in full only."""

    factors = ()

    def __init__(self, encoded: bytes):
        reader = next((r for start, r in FORMATS.items() if encoded.startswith(start)), None)
        if reader is None:
            raise ValueError("neither JPEG, PNG, BMP, WebP nor GIF")
        self.stored = reader(io.BytesIO(encoded))
        self.width, self.height = self.stored.size
        refuse_bombs(self.height, self.width, len(encoded))
        if reader is PngImagePlugin.PngImageFile:
            reader(io.BytesIO(encoded)).verify()  # the checksums, which decoding passes over

    def decode(self, factor: int) -> Image.Image:
        """RGB, of height x width pixels."""
        stored: Image.Image = self.stored
        stored.load()
        if stored.mode.startswith("I"):  # 16 bits of gray
            stored = Image.fromarray((np.asarray(stored) >> 8).astype(np.uint8))
        if stored.has_transparency_data:
            stored = stored.convert("RGBA")
            white = Image.new("RGBA", stored.size, "white")
            stored = Image.alpha_composite(white, stored)
        return stored.convert("RGB")


def open_image(encoded: bytes) -> JpegImage | OtherImage:
    """By how it begins, whatever its file is named."""
    return JpegImage(encoded) if encoded.startswith(b"\xff\xd8") else OtherImage(encoded)


def refuse_bombs(height: int, width: int, size: int) -> None:
    """ValueError for an image that takes far more memory than its file suggests."""
    pixels = height * width
    if pixels > MAX_PIXELS or (pixels > LARGE_PIXELS and pixels > MAX_PIXELS_PER_BYTE * size):
        raise ValueError(f"{width}x{height} pixels in {size:,} bytes: too large to be decoded")


def decode(encoded: bytes, name: str) -> np.ndarray:
    """The whole image, u8[H, W, 3]. DataError, which says `name`, where it is damaged."""
    with data_errors(name):
        return np.asarray(open_image(encoded).decode(1))


class Region:
    """A part of an image, chosen by choose_box(height, width), that is still to be decoded.

    DataError, which says `name`, where the image is no image or a bomb.
    """

    def __init__(self, encoded: bytes, choose_box: Callable[[int, int], Box], name: str):
        self.name = name
        try:
            self.source = open_image(encoded)
        except Exception as e:
            raise damage_error(name, e) from e
        self.box = choose_box(self.source.height, self.source.width)

    def decode_resized(self, out: tuple[int, int]) -> np.ndarray:
        """u8[*out, 3], as Pillow resizes: bilinear, antialiased, what is just outside taking part.

        A JPEG of which at least 2, 4 or 8 times as many pixels as needed would be decoded is
        decoded to half, a quarter, an eighth of its size, by its cosine transform. DataError,
        which says the name, where it is damaged.
        """
        box, source = self.box, self.source
        enough = min(box.height / out[0], box.width / out[1])
        factor = next((f for f in source.factors if f <= enough), 1)
        try:
            image = source.decode(factor)
            right = min((box.left + box.width) / factor, image.width)
            bottom = min((box.top + box.height) / factor, image.height)
            region = (box.left / factor, box.top / factor, right, bottom)
            return np.asarray(image.resize(out[::-1], Image.Resampling.BILINEAR, box=region))
        except Exception as e:
            raise damage_error(self.name, e) from e


def decode_and_crop(
    encoded: bytes, choose_box: Callable[[int, int], Box], out: tuple[int, int], name: str
) -> np.ndarray:
    """The region choose_box(height, width) of an image, resized to `out`: u8[*out, 3]."""
    return Region(encoded, choose_box, name).decode_resized(out)
