"""Crops against Pillow, numpy and the written-out recipes; random draws by distribution."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import stats

from cnn_archs.data.transforms import crops
from cnn_archs.data.transforms.boxes import Box, resize_box
from cnn_archs.errors import ConfigError

OUT = (24, 20)
KNOBS: dict[str, dict[str, Any]] = {
    "none": {},
    "pad": {"pixels": 4},
    "square": {"side": 30, "resize": "shorter"},
    "shorter_side": {"smallest": 26, "largest": 40, "evaluate": 30},
    "inception": {"area": (0.08, 1.0), "aspect": (3 / 4, 4 / 3), "evaluate": 30},
    "reduce": {"before": 20, "after": 16},
}
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(1, 256, (6, 61, 47, 3), dtype=np.uint8)  # no pixel is 0


def pillow(image, box, size):
    """Resize the region `box` of one image with Pillow: f32[*size, C]."""
    h, w = image.shape[:2]
    right, bottom = min(box.left + box.width, w), min(box.top + box.height, h)
    resized = Image.fromarray(image).resize(
        size[::-1], Image.Resampling.BILINEAR, box=(box.left, box.top, right, bottom)
    )
    return np.asarray(resized, np.float32)


def as_float(images):
    return jnp.asarray(images, jnp.float32)


@pytest.mark.parametrize("name", KNOBS)
def test_evaluation_on_the_device_is_pillow_s_and_no_chance(name):
    crop = crops.create(name, OUT, **KNOBS[name])
    box = crop.host_box(61, 47, None)
    delivered = as_float(np.stack([pillow(image, box, crop.host_size) for image in IMAGES]))
    expected = crop.finish_on_device(None, delivered)
    out = jax.jit(lambda images: crop.crop_on_device(None, images))(as_float(IMAGES))
    assert out.shape == (6, *OUT, 3)
    assert np.abs(out - expected).max() <= 1.01  # Pillow rounds twice


@pytest.mark.parametrize("name", ["shorter_side", "inception"])
@pytest.mark.parametrize("size", [(61, 47), (40, 90), (9, 13)])
def test_a_random_region_is_resized_on_the_device_as_by_pillow(
    name: str, size: tuple[int, int]
) -> None:
    crop = crops.create(name, OUT, **KNOBS[name])
    image = RANDOM.integers(0, 256, (*size, 3), dtype=np.uint8)
    resized = jax.jit(lambda image, box: resize_box(image, Box(*box), OUT))
    for seed in range(10):
        box = crop.host_box(*size, np.random.default_rng(seed))
        out = resized(as_float(image), tuple(map(jnp.float32, box)))
        assert np.abs(out - pillow(image, box, OUT)).max() <= 1.01


@pytest.mark.parametrize("name", KNOBS)
def test_resident_training_is_a_function_of_its_key(name):
    crop = crops.create(name, OUT, **KNOBS[name])
    train = jax.jit(crop.crop_on_device)
    images = as_float(np.repeat(IMAGES[:1], 40, 0))
    a, b, other = (np.asarray(train(jax.random.key(k), images)) for k in (1, 1, 2))
    assert a.shape == (40, *OUT, 3) and a.dtype == np.float32
    assert (a == b).all()
    unchanged = name in ("none", "reduce")
    assert unchanged == (a == other).all()
    assert unchanged == np.allclose(a, a[:1], atol=1e-3)  # each has a draw of its own


def test_none_leaves_an_image_of_the_right_size_alone():
    images = as_float(IMAGES)
    crop = crops.create("none", (61, 47))
    assert crop.crop_on_device(jax.random.key(0), images) is images
    assert crop.host_box(5, 7, np.random.default_rng(0)) == (0, 0, 5, 7)


def places(images, parts, last):
    """Return (top, left) of each part in its image, found by trying all; exactly one must match."""
    h, w = parts.shape[1:3]
    found = []
    for image, part in zip(images, parts, strict=True):
        fits = [
            (top, left)
            for top in range(last[0] + 1)
            for left in range(last[1] + 1)
            if (image[top : top + h, left : left + w] == part).all()
        ]
        assert len(fits) == 1
        found += fits
    return found


def test_pad_cuts_the_old_size_out_of_a_border_of_zeros():
    """He et al. 2015, section 4.2."""
    images = RANDOM.integers(1, 256, (200, 24, 20, 3), dtype=np.uint8)
    crop = crops.create("pad", OUT, pixels=4)
    out = np.asarray(crop.crop_on_device(jax.random.key(0), as_float(images)))
    padded = np.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0)))
    found = places(padded, out, (8, 8))
    assert {top for top, _ in found} == {left for _, left in found} == set(range(9))
    assert (crop.crop_on_device(None, as_float(images)) == images).all()


def test_pad_s_places_are_all_alike():
    """The one white pixel of 8,100 images is 100 times at each of 9x9 places."""
    dot = np.zeros((8_100, 9, 9, 1), np.float32)
    dot[:, 4, 4] = 1
    crop = crops.create("pad", (9, 9), pixels=4)
    out = np.asarray(crop.crop_on_device(jax.random.key(0), jnp.asarray(dot)))
    counts = out.sum((0, 3))
    assert counts.sum() == 8_100
    assert stats.chisquare(counts.ravel()).pvalue > 0.001


def test_square_takes_any_part_of_the_square_and_the_central_one_in_evaluation():
    """AlexNet, section 2, here with 4x5 of 8x8 pixels."""
    crop = crops.create("square", (4, 5), side=8, resize="shorter")
    images = RANDOM.integers(0, 256, (200, 8, 8, 3), dtype=np.uint8)
    found = places(
        images, np.asarray(crop.finish_on_device(jax.random.key(0), as_float(images))), (4, 3)
    )
    assert {top for top, _ in found} == set(range(5))
    assert {left for _, left in found} == set(range(4))
    assert (
        crop.finish_on_device(None, as_float(images)) == images[:, 2:6, 2:7]
    ).all()  # 1.5: 2, to even


def test_square_is_the_middle_of_an_image_with_that_shorter_side_or_the_whole_one_warped():
    shorter = crops.create("square", OUT, side=30, resize="shorter")
    warp = crops.create("square", OUT, side=30, resize="warp")
    image = IMAGES[0]
    whole = np.asarray(Image.fromarray(image).resize((30, 38), Image.Resampling.BILINEAR))
    for rng in (None, np.random.default_rng(0)):
        out = pillow(image, shorter.host_box(61, 47, rng), (30, 30))
        assert np.abs(out - whole[4:34]).max() <= 1
        assert warp.host_box(61, 47, rng) == (0, 0, 61, 47)
    assert shorter.host_size == warp.host_size == (30, 30)


@pytest.mark.parametrize("name", ["shorter_side", "inception"])
@pytest.mark.parametrize("height, width", [(500, 375), (375, 500), (333, 1000), (256, 256)])
def test_evaluation_is_torchvision_s_resize_and_center_crop(name, height, width):
    knobs = {**KNOBS[name], "evaluate": 256, "smallest": 256, "largest": 480}
    knobs = {k: v for k, v in knobs.items() if k in {*KNOBS[name]}}
    box = crops.create(name, (224, 224), **knobs).host_box(height, width, None)
    if height <= width:
        h, w = 256, int(256 * width / height)
    else:
        h, w = int(256 * height / width), 256
    top, left = int(round((h - 224) / 2.0)), int(round((w - 224) / 2.0))
    scale = np.array([height / h, width / w])
    np.testing.assert_allclose(box[:2], scale * (top, left), rtol=1e-12)
    np.testing.assert_allclose(box[2:], scale * 224, rtol=1e-12)


@pytest.mark.parametrize("size", [(61, 47), (47, 61)])
def test_shorter_side_is_a_part_at_whole_pixels_of_a_resized_image(size: tuple[int, int]) -> None:
    """VGG, section 3.1: S is uniform in 26..40, and then all places are equally likely."""
    crop = crops.create("shorter_side", OUT, **KNOBS["shorter_side"])
    rng = np.random.default_rng(0)
    sides, along = [], []
    for _ in range(3_000):
        box = crop.host_box(*size, rng)
        h, w = size[0] * OUT[0] / box.height, size[1] * OUT[1] / box.width
        top, left = box.top * h / size[0], box.left * w / size[1]
        for value in (h, w, top, left):
            assert value == pytest.approx(round(value), abs=1e-9)
        s = round(min(h, w))
        assert round(max(h, w)) == int(s * 61 / 47)
        assert 0 <= round(top) <= round(h) - 24 and 0 <= round(left) <= round(w) - 20
        sides.append(s)
        along.append((round(top) + 0.5) / (round(h) - 24 + 1))
    assert stats.chisquare(np.bincount(sides)[26:], np.full(15, 200)).pvalue > 0.001
    assert max(sides) == 40
    assert np.mean(along) == pytest.approx(0.5, abs=0.03)
    assert np.min(along) < 0.05 and np.max(along) > 0.95


def random_resized_crop(u, height, width, area, aspect):
    """Do what torchvision's RandomResizedCrop does, with `u` as its random numbers."""
    for i in range(10):
        target = height * width * (area[0] + (area[1] - area[0]) * u[i])
        low, high = math.log(aspect[0]), math.log(aspect[1])
        ratio = math.exp(low + (high - low) * u[10 + i])
        w, h = round(math.sqrt(target * ratio)), round(math.sqrt(target / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(u[20] * (height - h + 1)), int(u[21] * (width - w + 1)), h, w
    h, w = height, width
    if width / height < aspect[0]:
        h = round(width / aspect[0])
    elif width / height > aspect[1]:
        w = round(height * aspect[1])
    return (height - h) // 2, (width - w) // 2, h, w


class Drawn:
    """A random generator whose numbers are given."""

    def __init__(self, row):
        self.row = row

    def random(self, count):
        assert count == len(self.row)
        return self.row


@pytest.mark.parametrize("size", [(300, 400), (400, 300), (30, 400), (400, 20), (5, 5)])
def test_inception_is_random_resized_crop_on_host_and_device(size: tuple[int, int]) -> None:
    """Narrow images often or always use up their ten tries."""
    knobs = KNOBS["inception"]
    crop = crops.create("inception", OUT, **knobs)
    u = np.random.default_rng(0).random((200, crop.draws))
    expected = [random_resized_crop(row, *size, knobs["area"], knobs["aspect"]) for row in u]
    assert [tuple(map(float, crop.training_box(row, *size))) for row in u] == expected
    generators: list[Any] = [Drawn(row) for row in u]
    assert [tuple(crop.host_box(*size, generator)) for generator in generators] == expected
    boxes = jax.jit(jax.vmap(lambda row: crop.training_box(row, *size)))(jnp.float32(u))
    same = (np.stack(boxes, 1) == np.array(expected)).all(1)
    assert same.mean() > 0.98  # but for what float32 rounds elsewhere


def test_inception_s_areas_are_uniform_and_its_aspect_ratios_log_uniform():
    """A region of up to 3/4 of the area always fits into a square image."""
    crop = crops.create("inception", OUT, area=(0.1, 0.7), aspect=(3 / 4, 4 / 3), evaluate=30)
    rng = np.random.default_rng(0)
    boxes = [crop.host_box(4_000, 4_000, rng) for _ in range(2_000)]
    area = np.array([b.height * b.width / 4_000**2 for b in boxes])
    aspect = np.array([b.width / b.height for b in boxes])
    assert stats.kstest(area, stats.uniform(0.1, 0.6).cdf).pvalue > 0.001
    half = math.log(4 / 3)
    assert stats.kstest(np.log(aspect), stats.uniform(-half, 2 * half).cdf).pvalue > 0.001
    places = np.array([b.top / (4_000 - b.height) for b in boxes])
    assert stats.kstest(places, "uniform").pvalue > 0.001


@pytest.mark.parametrize("name", ["shorter_side", "inception"])
def test_a_region_lies_inside_of_its_image(name):
    crop = crops.create(name, OUT, **KNOBS[name])
    rng = np.random.default_rng(0)
    for size in [(61, 47), (24, 300), (300, 20), (1, 1), (2, 500)]:
        for _ in range(50):
            box = crop.host_box(*size, rng)
            assert box.top >= 0 and box.left >= 0 and box.height > 0 and box.width > 0
            assert box.top + box.height <= size[0] * (1 + 1e-12)
            assert box.left + box.width <= size[1] * (1 + 1e-12)
            assert all(type(value) is float for value in box)


def test_mirror_exchanges_left_and_right_in_half_of_the_images():
    images = as_float(RANDOM.integers(0, 256, (2_000, 3, 4, 1)))
    out = np.asarray(jax.jit(crops.random_flip)(jax.random.key(0), images))
    mirrored = (out == images[:, :, ::-1]).all((1, 2, 3))
    same = (out == images).all((1, 2, 3))
    assert (mirrored ^ same).all()
    assert stats.binomtest(int(mirrored.sum()), 2_000).pvalue > 0.001


@pytest.mark.parametrize(
    "name, knobs, message",
    [
        ("square", {"side": 23}, "crop.side=23: must be at least 24"),
        ("shorter_side", {"smallest": 23}, "crop.smallest=23"),
        ("shorter_side", {"largest": 25}, "crop.largest=25: must be at least 26, crop.smallest"),
        ("shorter_side", {"evaluate": 23}, "crop.evaluate=23"),
        ("inception", {"evaluate": 23}, "crop.evaluate=23"),
    ],
)
def test_a_knob_out_of_its_range_is_named(name, knobs, message):
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        crops.create(name, OUT, **{**KNOBS[name], **knobs})
