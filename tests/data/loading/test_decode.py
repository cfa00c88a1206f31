"""Decoding: pixels and resized boxes are Pillow's, and damage is noticed."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from cnn_archs.data.loading import decode
from cnn_archs.data.loading.decode import decode_and_crop
from cnn_archs.data.transforms.boxes import Box
from cnn_archs.errors import DataError

BILINEAR = Image.Resampling.BILINEAR


def picture(height=75, width=100, seed=0):
    """Draw an image with all colors that is as smooth as a photograph, u8[H, W, 3]."""
    rough = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC))


def encoded(image, kind="JPEG", **options):
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def by_pillow(data):
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


# --- Kinds of images ---------------------------------------------------------------------------

JPEGS = {
    "420": dict(quality=90),
    "444": dict(quality=95, subsampling=0),
    "progressive": dict(progressive=True),
    "rgb": dict(keep_rgb=True),
}


@pytest.mark.parametrize("options", JPEGS.values(), ids=JPEGS)
def test_a_jpeg_has_pillows_pixels(options):
    data = encoded(picture(), **options)
    found = decode.decode(data, "x.jpg")
    assert found.shape == (75, 100, 3) and found.dtype == np.uint8
    assert (found == by_pillow(data)).all()


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_gray_and_cmyk_jpegs_have_pillows_pixels(mode):
    """Pillow writes inverted CMYK values, as Adobe does."""
    data = encoded(Image.fromarray(picture()).convert(mode))
    found = decode.decode(data, "x.jpg")
    assert (found == by_pillow(data)).all()
    gray = (
        picture()
        if mode == "CMYK"
        else np.asarray(Image.fromarray(picture()).convert("L"))[..., None]
    )
    assert np.abs(found.astype(int) - gray).mean() < 4


@pytest.mark.parametrize(
    "kind, options", [("PNG", {}), ("BMP", {}), ("WEBP", dict(lossless=True)), ("WEBP", {})]
)
def test_other_formats_have_pillows_pixels(kind, options):
    data = encoded(picture(), kind, **options)
    assert (decode.decode(data, "x") == by_pillow(data)).all()
    if options or kind != "WEBP":
        assert (decode.decode(data, "x") == picture()).all()


def test_of_a_gif_the_first_frame_counts():
    frames = [Image.fromarray(picture(seed=s)).quantize() for s in range(3)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (decode.decode(data, "x") == np.asarray(frames[0].convert("RGB"))).all()


def test_the_name_of_a_file_is_not_its_format():
    """ImageNet has a PNG whose name ends in .JPEG."""
    assert (decode.decode(encoded(picture(), "PNG"), "x.JPEG") == picture()).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_what_is_transparent_is_put_over_white(mode):
    """A half transparent color becomes the mean of itself and white."""
    image = Image.fromarray(picture()).convert("L" if mode == "LA" else "RGB")
    if mode == "PA":
        image = image.quantize()
        data = encoded(image, "PNG", transparency=bytes([128] * 256))
    else:
        image.putalpha(128)
        data = encoded(image, "PNG")
    color = np.asarray(image.convert("RGB")).astype(float)
    expected = color * (128 / 255) + 255 * (127 / 255)
    assert np.abs(decode.decode(data, "x") - expected).max() <= 1


def test_a_palette_is_looked_up():
    image = Image.fromarray(picture()).quantize(16)
    assert (decode.decode(encoded(image, "PNG"), "x") == np.asarray(image.convert("RGB"))).all()


def test_of_16_bits_the_upper_8_are_kept():
    values = np.arange(65_536, dtype=np.uint16).reshape(256, 256)
    found = decode.decode(encoded(values, "PNG"), "x")
    assert (found == (values >> 8).astype(np.uint8)[..., None]).all()


def test_one_bit_is_black_and_white():
    image = Image.fromarray(picture()).convert("1")
    found = decode.decode(encoded(image, "PNG"), "x")
    assert set(found.flat) == {0, 255} and (found[..., 0] == np.asarray(image) * 255).all()


def test_the_orientation_that_a_camera_noted_is_ignored():
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    data = encoded(picture(), exif=exif)
    assert decode.decode(data, "x").shape == (75, 100, 3)


def at_header(data, marker, extra):
    """Put bytes before the first segment with the marker."""
    at = data.index(bytes([0xFF, marker]))
    return data[:at] + extra + data[at:]


def with_version(data, version):
    at = data.index(b"JFIF\0") + 5
    return data[:at] + version + data[at + 2 :]


SOUND = {
    "JFIF 0.00": lambda j: with_version(j, b"\0\0"),
    "JFIF 9.99": lambda j: with_version(j, b"\x09\x63"),
    "bytes before a table": lambda j: at_header(j, 0xC4, b"\0\0"),
    "bytes before each segment": lambda j: at_header(at_header(j, 0xDB, b"ab"), 0xDA, b"\x17" * 9),
    "bytes after the first marker": lambda j: at_header(j, 0xE0, b"\x01\x02\x03"),
    "a pattern before the end": lambda j: j[:-2] + b"\x12\x34" * 40 + j[-2:],
    "zeros before the end": lambda j: j[:-2] + bytes(1000) + j[-2:],
    "text before the end": lambda j: j[:-2] + b"made by a camera, 1998" + j[-2:],
    "all of these": lambda j: at_header(
        with_version(j[:-2] + bytes(99) + j[-2:], b"\0\0"), 0xC4, b"z"
    ),
    "bytes after the end": lambda j: j + b"an appended film" * 99,
    "parameters of another kind of scan": lambda j: at_scan(j, b"\0\0\0"),
}


def at_scan(data, parameters):
    at = data.index(b"\xff\xda")
    end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return data[: end - 3] + parameters + data[end:]


@pytest.mark.parametrize("change", SOUND.values(), ids=SOUND)
@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
def test_what_libjpeg_only_warns_of_does_not_make_an_image_damaged(change, mode):
    whole = encoded(Image.fromarray(picture()).convert(mode))
    if b"JFIF" not in whole:
        whole = whole[:2] + b"\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0" + whole[2:]
    changed = change(whole)
    assert changed != whole
    assert (decode.decode(changed, "x") == decode.decode(whole, "x")).all()


def test_profiles_and_texts_of_any_size_are_passed_over():
    large = np.random.default_rng(0).bytes(2_500_000)
    texts = PngInfo()
    texts.add_text("much", "x" * 2_000_000, zip=True)
    whole = picture()
    for data in (
        encoded(whole, "PNG", icc_profile=large),
        encoded(whole, "PNG", pnginfo=texts),
        encoded(whole, "PNG", exif=b"Exif\0\0" + large),
        encoded(whole, "WEBP", lossless=True, icc_profile=large),
        encoded(whole, "TIFF", icc_profile=large),
    ):
        assert (decode.decode(data, "x") == whole).all()
    plain = decode.decode(encoded(whole), "x")
    for options in (dict(icc_profile=large), dict(exif=b"Exif\0\0" + large[:65_000])):
        assert (decode.decode(encoded(whole, **options), "x") == plain).all()


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_deflate", "packbits"])
def test_a_tiff_has_pillows_pixels(compression):
    data = encoded(picture(), "TIFF", compression=compression)
    assert (decode.decode(data, "x") == picture()).all()
    refused(data[: len(data) // 2])


def test_pbm_pgm_and_ppm():
    gray = np.asarray(Image.fromarray(picture()).convert("L"))
    assert (decode.decode(encoded(picture(), "PPM"), "x") == picture()).all()
    assert (decode.decode(encoded(gray, "PPM"), "x") == gray[..., None]).all()
    assert (decode.decode(b"P3 2 1 255\n1 2 3\n4 5 6\n", "x") == [[[1, 2, 3], [4, 5, 6]]]).all()
    assert (decode.decode(b"P1 2 1\n1 0\n", "x") == [[[0] * 3, [255] * 3]]).all()
    assert (decode.decode(b"P5 2 1 65535\n\x12\x34\xff\0", "x") == [[[18] * 3, [255] * 3]]).all()
    refused(encoded(picture(), "PPM")[:-10])


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_of_16_bits_the_upper_8_are_kept_in_a_ramp(kind):
    ramp = np.tile(np.arange(0, 256, 8, dtype=np.uint16), (32, 1))
    eight, sixteen = (
        decode.decode_resized(encoded(a, kind), (32, 32, 1), "x")
        for a in (ramp.astype(np.uint8), ramp * 257)
    )
    assert (eight == sixteen).all() and (eight[..., 0] == ramp).all()


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_values_of_32_bits_are_refused(dtype):
    assert "32 bits" in refused(encoded(np.arange(600, dtype=dtype).reshape(20, 30), "TIFF"))


def test_a_region_in_gray_is_pillows():
    data = encoded(picture(), "PNG")
    found = decode_and_crop(data, lambda h, w: Box(0, 0, h, w), (64, 48), "x", 1)
    expected = Image.fromarray(picture()).convert("L").resize((48, 64), BILINEAR)
    assert found.shape == (64, 48, 1) and (found[..., 0] == np.asarray(expected)).all()


# --- Crops -------------------------------------------------------------------------------------

BOXES = [
    Box(0, 0, 75, 100),
    Box(3.25, 10.5, 40.5, 33.75),
    Box(74, 99, 1, 1),
    Box(30.0, 5.0, 20.0, 90.0),
    Box(0.7, 0.0, 70.0, 3.0),
    Box(33.3, 0.0, 0.5, 100.0),
    Box(0, 0, 75.0000001, 100.0000001),  # of rounding
]


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_box_is_resized_as_by_pillow(box, kind):
    data = encoded(picture(), kind)
    seen = []

    def choose(height, width):
        seen.append((height, width))
        return box

    found = decode_and_crop(data, choose, (64, 48), "x")
    corners = (box.left, box.top, min(box.left + box.width, 100), min(box.top + box.height, 75))
    expected = Image.fromarray(by_pillow(data)).resize((48, 64), BILINEAR, box=corners)
    assert found.shape == (64, 48, 3) and (found == np.asarray(expected)).all()
    assert seen == [(75, 100)]


def test_any_box_is_resized_as_by_pillow():
    data, random = encoded(picture(), quality=90), np.random.default_rng(0)
    for _ in range(200):
        rows, columns = (int(n) for n in random.integers(1, 120, 2))
        height, width = random.uniform(0.5, (75, 100))
        box = Box(random.uniform(0, 75 - height), random.uniform(0, 100 - width), height, width)
        if min(height / rows, width / columns) >= 2:
            continue  # it is decoded smaller

        def choose(h, w, box=box):
            return box

        found = decode_and_crop(data, choose, (rows, columns), "x")
        corners = (box.left, box.top, box.left + width, box.top + height)
        expected = Image.fromarray(by_pillow(data)).resize((columns, rows), BILINEAR, box=corners)
        assert (found == np.asarray(expected)).all()


@pytest.mark.parametrize("height, width", [(1, 500), (500, 1), (1, 1), (7, 501)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_odd_shapes_are_decoded_and_resized(height, width, kind):
    data = encoded(picture(height, width), kind)
    found = decode_and_crop(data, lambda h, w: Box(0, 0, h, w), (16, 16), "x")
    expected = Image.fromarray(by_pillow(data)).resize((16, 16), BILINEAR)
    assert np.abs(found.astype(int) - np.asarray(expected)).max() <= 3


@pytest.mark.parametrize(
    "box, out, factor",
    [
        (Box(0, 0, 600, 800), (300, 400), 2),
        (Box(0, 0, 600, 800), (301, 400), 1),
        (Box(100, 80, 400, 480), (100, 100), 4),
        (Box(0, 0, 600, 800), (75, 75), 8),
        (Box(0, 0, 600, 800), (10, 10), 8),
        (Box(10, 10, 100, 700), (100, 100), 1),
    ],
)
def test_a_jpeg_is_decoded_no_larger_than_needed(box, out, factor, monkeypatch):
    """The decoded box has at least the pixels of the result."""
    factors = []
    decode_image = decode.JpegImage.decode

    def noted(image, factor):
        factors.append(factor)
        return decode_image(image, factor)

    monkeypatch.setattr(decode.JpegImage, "decode", noted)
    found = decode_and_crop(encoded(picture(600, 800), quality=95), lambda h, w: box, out, "x")
    assert factors == [factor]
    corners = (box.left, box.top, box.left + box.width, box.top + box.height)
    whole = Image.fromarray(picture(600, 800)).resize(out[::-1], BILINEAR, box=corners)
    assert np.abs(found.astype(int) - np.asarray(whole)).mean() < 1.5


@pytest.mark.parametrize("height, width", [(601, 803), (608, 800), (17, 33)])
@pytest.mark.parametrize("factor", [2, 4, 8])
def test_a_smaller_decoding_has_exactly_the_size_asked_for(height, width, factor):
    image = decode.JpegImage(encoded(picture(height, width))).decode(factor)
    assert image.size == (-(-width // factor), -(-height // factor))


@pytest.mark.parametrize("height, width", [(601, 803), (608, 800)])
@pytest.mark.parametrize("factor", [2, 4, 8])
def test_a_smaller_decoding_is_not_displaced(height, width, factor):
    """Pixels of a ramp, which tell their places, stay there if it is decoded smaller."""
    y, x = np.mgrid[:height, :width]
    ramp = np.stack([x * 0.25, y * 0.25, 0 * x], -1).astype(np.uint8)
    box = Box(100.0, 200.0, 320.0, 480.0)
    out = (320 // factor, 480 // factor)
    found = decode_and_crop(encoded(ramp, quality=98, subsampling=0), lambda h, w: box, out, "x")
    middle_x = 200 + (np.arange(out[1]) + 0.5) * factor - 0.5
    assert np.abs(found[5, :, 0] - middle_x * 0.25).mean() < 1  # a pixel off would be up to 2


# --- Damage ------------------------------------------------------------------------------------


def refused(data):
    with pytest.raises(DataError, match="damaged data: a/b.jpg: ") as e:
        decode.decode(data, "a/b.jpg")
    with pytest.raises(DataError, match="damaged data: a/b.jpg: "):
        decode_and_crop(data, lambda h, w: Box(0, 0, h, w), (8, 8), "a/b.jpg")
    assert "\n" not in str(e.value)
    return str(e.value)


FORMATS = ["JPEG", "PNG", "WEBP", "GIF"]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("part", [0.0, 0.01, 0.3, 0.9])
def test_a_truncated_image_is_refused_by_its_name(kind, part):
    data = encoded(picture(), kind)
    refused(data[: int(part * len(data))])


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", b"GIF89a", bytes(1000), b"not an image" * 99])
def test_what_is_no_image_is_refused(data):
    refused(data)


def test_damage_in_a_jpeg_is_mostly_noticed():
    """Pillow decodes most images with twenty flipped bits; `decode` refuses nearly all of them."""
    random, ours, pillows = np.random.default_rng(0), 0, 0
    for seed in range(40):
        noisy = picture(200, 300, seed) * 0.8 + random.normal(25, 12, (200, 300, 3))
        data = bytearray(encoded(noisy.clip(0, 255).astype(np.uint8)))
        for at in random.integers(data.index(b"\xff\xda") + 14, len(data) - 2, 20):
            data[at] ^= 1 << int(random.integers(8))
        try:
            decode.decode(bytes(data), "x")
            ours += 1
        except DataError:
            pass
        try:
            by_pillow(bytes(data))
            pillows += 1
        except OSError:
            pass
    assert ours <= 8 and pillows > 20


def test_damage_in_a_cmyk_jpeg_is_noticed():
    random = np.random.default_rng(0)
    data = bytearray(encoded(Image.fromarray(picture(200, 300)).convert("CMYK")))
    for at in random.integers(data.index(b"\xff\xda") + 14, len(data) - 2, 20):
        data[at] ^= 1 << random.integers(8)
    refused(bytes(data))


def test_a_flipped_bit_in_a_png_is_noticed():
    """The checksums reveal it wherever it is."""
    whole = encoded(picture(), "PNG")
    for at in np.random.default_rng(0).integers(0, len(whole), 60):
        data = bytearray(whole)
        data[at] ^= 4
        refused(bytes(data))


def png_of_zeros(side):
    """Make a decompression bomb: a gray PNG of side x side pixels, all 0."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(side * (side // 8 + 1)), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [8_000, 12_000])
def test_bombs_are_refused_before_they_are_decoded(side):
    """Pillow opens 8000x8000 pixels without a warning."""
    data = png_of_zeros(side)
    assert len(data) < 20_000
    assert f"{side}x{side} pixels" in refused(data)


def claiming(kind, side):
    """Make a small image whose header says that it has side x side pixels."""
    data = bytearray(encoded(picture(), kind))
    if kind == "JPEG":
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", side, side)
    elif kind == "GIF":
        data[6:10] = struct.pack("<HH", side, side)
        at = data.index(b"\x2c" + bytes(4)) + 5
        data[at : at + 4] = struct.pack("<HH", side, side)
    else:
        data[18:26] = struct.pack("<ii", side, side)
    return bytes(data)


@pytest.mark.parametrize("kind", ["JPEG", "GIF", "BMP"])
@pytest.mark.parametrize("side", [5_000, 20_000, 32_000])
def test_what_claims_to_be_huge_is_refused(kind, side):
    assert f"{side}x{side} pixels" in refused(claiming(kind, side))


def test_a_large_jpeg_that_is_as_long_as_it_should_be_is_none():
    side = 4_096
    data = encoded(Image.new("RGB", (side, side), (200, 100, 50)), quality=30)
    found = decode_and_crop(data, lambda h, w: Box(0, 0, h, w), (8, 8), "x")
    assert np.abs(found.astype(int) - np.array([200, 100, 50])).max() < 8


def test_an_error_in_the_choice_of_a_box_is_not_called_damage():
    def choose(height, width):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        decode_and_crop(encoded(picture()), choose, (8, 8), "x")
