"""The contact sheet, read back from its file."""

import numpy as np
import pytest
from PIL import Image

from cnn_archs.visualize import contact_sheet as sheets

RANDOM = np.random.default_rng(0)


def drawn(path, n, variants, size, channels, variant_size=None):
    """(the page, originals, variants) of random images."""
    originals = RANDOM.integers(0, 256, (n, *size, channels), dtype=np.uint8)
    shape = (n, variants, *(variant_size or size), channels)
    changed = RANDOM.integers(0, 256, shape, dtype=np.uint8)
    sheets.write_sheet(originals, changed, path)
    with Image.open(path) as page:
        assert page.format == "PNG"
        assert page.mode == {1: "L", 3: "RGB"}[channels]
        return np.asarray(page).reshape(page.height, page.width, channels), originals, changed


@pytest.mark.parametrize("channels", [1, 3])
def test_small_images_are_enlarged_pixel_by_pixel_each_row_an_original_and_its_variants(
    tmp_path, channels
):
    page, originals, variants = drawn(tmp_path / "sheet", 3, 4, (10, 8), channels)
    factor = 12  # the largest that takes 10 pixels to 128 at most
    for row in range(3):
        for column, image in enumerate([originals[row], *variants[row]]):
            top = sheets.TOP + row * (10 * factor + sheets.GAP)
            left = sheets.GAP + column * (8 * factor + sheets.GAP)
            cell = page[top : top + 10 * factor, left : left + 8 * factor]
            assert (cell == image.repeat(factor, 0).repeat(factor, 1)).all()
            gap = page[top : top + 10 * factor, left + 8 * factor : left + 8 * factor + sheets.GAP]
            assert (gap == sheets.BACKGROUND).all()


def test_each_column_has_a_gray_label(tmp_path):
    page, _, _ = drawn(tmp_path / "sheet", 1, 2, (32, 32), 3)
    head = page[: sheets.TOP]
    assert (head == head[..., :1]).all()  # gray
    for column in range(3):
        left = sheets.GAP + column * (128 + sheets.GAP)
        assert (head[:, left : left + 60] < sheets.BACKGROUND - 50).any()


@pytest.mark.parametrize(
    "variants, size, shown",
    [(8, (32, 32), 128), (40, (28, 28), 28), (8, (256, 200), None), (200, (224, 224), None)],
)
def test_a_page_is_at_most_1600_pixels_wide(tmp_path, variants, size, shown):
    page, _, _ = drawn(tmp_path / "sheet", 2, variants, size, 1)
    assert page.shape[1] <= 1600
    if shown:
        assert page.shape[1] == (variants + 1) * (shown + sheets.GAP) + sheets.GAP
    else:
        assert page.shape[1] > 1400  # made as small as they must be, and no smaller


def test_cropped_variants_keep_the_scale_of_their_originals(tmp_path):
    page, originals, variants = drawn(tmp_path / "sheet", 1, 1, (32, 32), 3, (24, 20))
    left = 2 * sheets.GAP + 128
    cell = page[sheets.TOP : sheets.TOP + 24 * 4, left : left + 20 * 4]
    assert (cell == variants[0, 0].repeat(4, 0).repeat(4, 1)).all()
    assert (page[sheets.TOP + 24 * 4 :, left:] == sheets.BACKGROUND).all()
