"""Decode images, refuse damaged ones, and decode no more pixels than a crop needs.

JPEG is decoded by libjpeg-turbo (simplejpeg), and each of its warnings is an error, except those of
what `jpeg_repair` removes. PNG, BMP, WebP, PPM, and the first image of a GIF or TIFF are decoded by
Pillow. The checksums of a PNG are verified first, and what it stores besides the pixels, such as
text and profiles of any size, is not read. The other formats have no checksums: truncation is
always noticed, but one flipped bit of a JPEG seldom is, and twenty nearly always are.

All images become 8-bit RGB. Gray is repeated in the three channels. CMYK is converted as Pillow
does, which assumes Adobe's inverted values. Only the upper 8 bits of 16-bit values are kept, and
other values, such as fractions, whose range is not known, are refused. Transparent pixels are
blended with white. EXIF's orientation is ignored, as in ImageNet's recipes; that of a TIFF counts.
"""

import io
import warnings
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import simplejpeg
from PIL import (
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from cnn_archs.arithmetic import ceil_div
from cnn_archs.data.corruption import damage_error, data_errors
from cnn_archs.data.loading.jpeg_repair import plain_header, without_fill
from cnn_archs.data.transforms.boxes import Box

MAX_PIXELS = 89_478_485  # Pillow's own limit: 256 MiB of RGB
LARGE_PIXELS = 16_000_000  # from this size on an image must not exceed MAX_PIXELS_PER_BYTE
MAX_PIXELS_PER_BYTE = 256  # a JPEG reaches 60; an image with more is a decompression bomb

FORMATS: dict[bytes, Any] = {  # the first bytes of a file -> Pillow's reader
    b"\x89PNG": PngImagePlugin.PngImageFile,
    b"BM": BmpImagePlugin.BmpImageFile,
    b"GIF8": GifImagePlugin.GifImageFile,
    b"RIFF": WebPImagePlugin.WebPImageFile,
    **dict.fromkeys((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), TiffImagePlugin.TiffImageFile),
    **dict.fromkeys((b"P%d" % i for i in range(1, 7)), PpmImagePlugin.PpmImageFile),
}
GRAY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N", "F")
PNG_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf")  # chunks that do not change pixels


class JpegImage:
    """A JPEG that is still to be decoded.

    height, width: of the whole image. gray: whether it has no colors. factors: the factors by which
    decoding can shrink it. Raises an exception if the header is damaged or the image is a
    decompression bomb.
    """

    factors = (8, 4, 2)  # libjpeg-turbo has fast code for these

    def __init__(self, encoded: bytes):
        self.encoded = encoded
        header: tuple[int, int, str, str]
        try:
            header = simplejpeg.decode_jpeg_header(encoded)
        except ValueError:
            self.encoded = plain_header(encoded)
            header = simplejpeg.decode_jpeg_header(self.encoded)
        self.height, self.width, self.space, _ = header
        self.gray = self.space == "Gray"
        refuse_bombs(self.height, self.width, len(encoded))

    def decode(self, factor: int) -> Image.Image:
        """Decode to RGB, ceil(height / factor) x ceil(width / factor) pixels."""
        smaller = {} if factor == 1 else self.size_arguments(factor)
        if self.space in ("CMYK", "YCCK"):
            return Image.fromarray(255 - self.decode_as("CMYK", smaller), "CMYK").convert("RGB")
        return Image.fromarray(self.decode_as("RGB", smaller))

    def decode_as(self, space: str, smaller: dict[str, int]) -> np.ndarray:
        """Decode to a color space. Raises ValueError for any warning of damage."""
        encoded, first = self.encoded, True
        while True:
            try:
                return simplejpeg.decode_jpeg(encoded, space, strict=True, **smaller)
            except ValueError as e:
                changed = plain_header(encoded) if first else without_fill(encoded, str(e))
                if changed is None:
                    raise
                encoded, first = changed, False

    def size_arguments(self, factor: int) -> dict[str, int]:
        """Return the arguments by which simplejpeg shrinks by exactly `factor`.

        simplejpeg takes the smallest size that is not below the given one.
        """
        height, width = ceil_div(self.height, factor), ceil_div(self.width, factor)
        return {"min_height": height, "min_width": width, "min_factor": factor}


class OtherImage:
    """An image of another format, still to be decoded; like JpegImage, but cannot be shrunk."""

    factors = ()

    def __init__(self, encoded: bytes):
        reader = next((r for start, r in FORMATS.items() if encoded.startswith(start)), None)
        if reader is None:
            raise ValueError("neither JPEG, PNG, BMP, WebP, GIF, TIFF nor PPM")
        if reader is PngImagePlugin.PngImageFile:
            encoded = check_png(encoded)
        self.stored: Image.Image = reader(io.BytesIO(encoded))
        size: tuple[int, int] = self.stored.size
        self.width, self.height = size
        self.gray = is_gray(self.stored)
        refuse_bombs(self.height, self.width, len(encoded))

    def decode(self, factor: int) -> Image.Image:
        """Decode to RGB, height x width pixels; `factor` is 1."""
        stored = self.stored
        stored.load()
        wide = stored.mode.startswith("I;16") or isinstance(stored, PpmImagePlugin.PpmImageFile)
        if stored.mode.startswith("I") and wide:  # 16 bits of gray
            stored = Image.fromarray((np.asarray(stored) >> 8).astype(np.uint8))
        if stored.mode in ("I", "F"):
            raise ValueError("its values have 32 bits, in a range that is not known; save 8 or 16")
        if stored.has_transparency_data:
            stored = stored.convert("RGBA")
            white = Image.new("RGBA", stored.size, "white")
            stored = Image.alpha_composite(white, stored)
        return stored.convert("RGB")


def open_image(encoded: bytes) -> JpegImage | OtherImage:
    """Open an image by its first bytes, whatever the name of its file.

    Raises an exception if it is no image of a known format, or damaged.
    """
    return JpegImage(encoded) if encoded.startswith(b"\xff\xd8") else OtherImage(encoded)


def is_gray(image: Image.Image) -> bool:
    """Return whether an opened image can have no colors: by its mode, or by its palette."""
    if image.mode == "P" and image.palette:
        colors = np.frombuffer(image.palette.tobytes(), np.uint8)
        colors = colors[: len(colors) // 3 * 3].reshape(-1, 3)
        return image.palette.mode == "RGB" and bool((colors == colors[:, :1]).all())
    return image.mode in GRAY_MODES


def check_png(encoded: bytes) -> bytes:
    """Return a PNG without its PNG_TEXTS, which Pillow refuses if they are large.

    Raises ValueError if a checksum is wrong or a chunk is cut off: Pillow does not notice.
    """
    kept, at, kind = [encoded[:8]], 8, b""
    while kind != b"IEND":
        end = at + 12 + int.from_bytes(encoded[at : at + 4], "big")
        kind, checksum = encoded[at + 4 : at + 8], encoded[end - 4 : end]
        if len(checksum) < 4 or end > len(encoded):
            raise ValueError("the file is cut off")
        if zlib.crc32(encoded[at + 4 : end - 4]) != int.from_bytes(checksum, "big"):
            raise ValueError(f"the checksum of the chunk {kind!r} is wrong")
        if kind not in PNG_TEXTS:
            kept.append(encoded[at:end])
        at = end
    return b"".join(kept)


def refuse_bombs(height: int, width: int, size: int) -> None:
    """Raise ValueError for an image that takes far more memory than its file suggests.

    size: of the encoded image, in bytes.
    """
    pixels = height * width
    if pixels > MAX_PIXELS or (pixels > LARGE_PIXELS and pixels > MAX_PIXELS_PER_BYTE * size):
        raise ValueError(f"{width}x{height} pixels in {size:,} bytes: too large to be decoded")


class Header(NamedTuple):
    """The name of an image, its size in pixels, and whether it is stored without colors."""

    name: str
    height: int
    width: int
    gray: bool


def read_header(encoded: bytes, name: str) -> Header:
    """Read the header of an image. Raises a DataError about `name` if that is damaged."""
    with data_errors(name):
        image = open_image(encoded)
        return Header(name, image.height, image.width, image.gray)


def is_turned(encoded: bytes) -> bool:
    """Return whether EXIF says that an image is to be shown turned, which decoding ignores.

    The orientation of a TIFF is not ignored. An EXIF segment that cannot be read says nothing.
    """
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(encoded)) as image:
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9)
            return turned and image.format != "TIFF"
    except Exception:  # of the many that damaged segments cause
        return False


def decode(encoded: bytes, name: str) -> np.ndarray:
    """Decode a whole image, u8[H, W, 3]. Raises a DataError about `name` if it is damaged."""
    with data_errors(name):
        return np.asarray(open_image(encoded).decode(1))


def in_channels(image: Image.Image, channels: int) -> Image.Image:
    """Return an RGB image in 3 channels or, in gray, in 1."""
    return image.convert("L") if channels == 1 else image


def decode_resized(encoded: bytes, shape: tuple[int, int, int], name: str) -> np.ndarray:
    """Decode a whole image and resize it to u8[*shape], (H, W, C) with C = 1 or 3; bilinear.

    Raises a DataError about `name` if it is damaged.
    """
    height, width, channels = shape
    with data_errors(name):
        image = in_channels(open_image(encoded).decode(1), channels)
        resized = image.resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(resized).reshape(shape)


class Region:
    """A part of an image that is still to be decoded.

    choose_box: maps the image's height and width to the part. channels: 3, or 1 for gray. Raises a
    DataError about `name` if the header is damaged or the image is a decompression bomb.
    """

    def __init__(
        self, encoded: bytes, choose_box: Callable[[int, int], Box], name: str, channels: int = 3
    ):
        self.name, self.channels = name, channels
        try:
            self.source = open_image(encoded)
        except Exception as e:
            raise damage_error(name, e) from e
        self.box = choose_box(self.source.height, self.source.width)

    def decode_resized(self, out: tuple[int, int]) -> np.ndarray:
        """Decode the part and resize it to u8[*out, C], bilinear and antialiased as by Pillow.

        A JPEG whose part is at least 2, 4 or 8 times as large as `out` along both axes is decoded
        at a half, a quarter or an eighth of its size, by its cosine transform. Pixels just outside
        the part contribute. Raises a DataError about the name if the image is damaged.
        """
        box, source = self.box, self.source
        enough = min(box.height / out[0], box.width / out[1])
        factor = next((f for f in source.factors if f <= enough), 1)
        try:
            image = in_channels(source.decode(factor), self.channels)
            right = min((box.left + box.width) / factor, image.width)
            bottom = min((box.top + box.height) / factor, image.height)
            region = (box.left / factor, box.top / factor, right, bottom)
            resized = image.resize(out[::-1], Image.Resampling.BILINEAR, box=region)
            return np.asarray(resized).reshape(*out, self.channels)
        except Exception as e:
            raise damage_error(self.name, e) from e


def decode_and_crop(
    encoded: bytes,
    choose_box: Callable[[int, int], Box],
    out: tuple[int, int],
    name: str,
    channels: int = 3,
) -> np.ndarray:
    """Decode the region choose_box(height, width) of an image, resized to u8[*out, channels].

    Raises a DataError about `name` if the image is damaged.
    """
    return Region(encoded, choose_box, name, channels).decode_resized(out)
