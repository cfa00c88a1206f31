"""Draw a contact sheet: each row has an image, and after it others that belong to it."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cnn_archs.runtime.files import atomic_write

WIDTH = 1600  # pixels of the sheet, at most; an image has at least one
CELL_SIDE = 128  # pixels to which small images are enlarged, if there is room
GAP = 6
TOP = 22  # room for the labels
BACKGROUND, LABEL = 235, 100  # grays, so that the edges of a white image can be seen


def write_sheet(
    originals: np.ndarray,
    variants: np.ndarray,
    path: Path,
    heads: tuple[str, str] = ("original", "variant"),
) -> None:
    """Write a PNG of originals u8[N, H, W, C] and variants u8[N, V, H', W', C], where C is 1 or 3.

    heads: the words over the originals, and over the variants before their number. Small images
    are enlarged by a whole factor, so that pixels stay square; large ones are reduced.
    """
    columns = variants.shape[1] + 1
    room = max((WIDTH - GAP) // columns - GAP, 1)
    height, width = np.maximum(originals.shape[1:3], variants.shape[2:4])
    whole = max(min(CELL_SIDE // max(height, width), room // width), 1)
    factor = whole if width <= room else room / width
    cell_h, cell_w = round(height * factor), round(width * factor)
    size = (columns * (cell_w + GAP) + GAP, len(originals) * (cell_h + GAP) + TOP + GAP)
    page = Image.new("L" if originals.shape[-1] == 1 else "RGB", size, tint(originals, BACKGROUND))
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(12)
    for column in range(columns):
        left = GAP + column * (cell_w + GAP)
        label = fitting_label(heads, column, cell_w, font)
        draw.text((left, 5), label, tint(originals, LABEL), font=font)
        for row in range(len(originals)):
            shown = variants[row, column - 1] if column else originals[row]
            page.paste(resize_image(shown, factor), (left, TOP + row * (cell_h + GAP)))
    with atomic_write(path) as temporary:
        page.save(temporary, format="PNG")


def tint(images: np.ndarray, value: int) -> int | tuple[int, int, int]:
    """Return the gray `value` in the mode of a page for `images`: one number, or three for RGB."""
    return value if images.shape[-1] == 1 else (value, value, value)


def fitting_label(
    heads: tuple[str, str],
    column: int,
    width: int,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> str:
    """Return the longest of a column's three labels that fits into `width` pixels, or ""."""
    first, others = heads
    labels = (
        (f"{others} {column}", f"{others[0]}{column}", str(column))
        if column
        else (first, first[:4], first[0])
    )
    return next((label for label in labels if font.getlength(label) <= width), "")


def resize_image(image: np.ndarray, factor: float) -> Image.Image:
    """Resize an image u8[H, W, 1 or 3] by a factor."""
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    height, width = image.shape[:2]
    size = max(round(width * factor), 1), max(round(height * factor), 1)
    way = Image.Resampling.NEAREST if factor >= 1 else Image.Resampling.LANCZOS
    return picture.resize(size, way)
