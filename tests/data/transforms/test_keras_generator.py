"""The notes' generator against Keras' code rewritten in numpy; its draws by distribution."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage, stats

from cnn_archs.data.transforms.keras_generator import ImageDataGenerator, Transform

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (40, 12, 12, 3), dtype=np.uint8)
EVERYTHING: dict[str, Any] = {
    "rotation_range": 40.0,
    "width_shift_range": 0.2,
    "height_shift_range": 0.1,
    "shear_range": 20.0,
    "zoom_range": (0.7, 1.4),
    "channel_shift_range": 50.0,
    "brightness_range": (0.3, 1.7),
    "horizontal_flip": True,
    "vertical_flip": True,
}


def keras_transform(image, drawn, i, fill_mode, cval):
    """Do what Keras 3's apply_transform does to one image, in its order; its x are columns."""
    size = image.shape[0]
    theta, shear = np.deg2rad(drawn.theta[i]), np.deg2rad(drawn.shear[i])
    (ty, tx), (zy, zx) = np.asarray(drawn.shifts[i], float), np.asarray(drawn.zooms[i], float)
    rotate = [[np.cos(theta), -np.sin(theta), 0], [np.sin(theta), np.cos(theta), 0], [0, 0, 1]]
    lean = [[1, -np.sin(shear), 0], [0, np.cos(shear), 0], [0, 0, 1]]
    matrix = np.array(rotate) @ [[1, 0, tx], [0, 1, ty], [0, 0, 1]] @ lean @ np.diag([zx, zy, 1])
    o = size / 2 - 0.5
    matrix = np.array([[1, 0, o], [0, 1, o], [0, 0, 1]]) @ matrix
    matrix = matrix @ np.array([[1, 0, -o], [0, 1, -o], [0, 0, 1]])
    matrix = matrix[[1, 0, 2]][:, [1, 0, 2]]
    channels = [
        ndimage.affine_transform(
            image[..., c], matrix[:2, :2], matrix[:2, 2], order=1, mode=fill_mode, cval=cval
        )
        for c in range(image.shape[-1])
    ]
    x = np.stack(channels, -1)
    x = np.clip(x + float(drawn.channel_shift[i]), x.min(), x.max())
    if drawn.flips[i, 1]:
        x = x[:, ::-1]
    if drawn.flips[i, 0]:
        x = x[::-1]
    return np.clip(x * float(drawn.brightness[i]), 0, 255)


@pytest.mark.parametrize("fill_mode", ["nearest", "constant", "reflect", "wrap"])
def test_a_transform_is_keras_s(fill_mode):
    generator = ImageDataGenerator(**EVERYTHING, fill_mode=fill_mode, cval=99.0)
    key, unit = jax.random.key(0), IMAGES / 255.0
    drawn = generator.get_random_transform(key, IMAGES.shape)
    assert all(len(np.unique(np.asarray(part))) > 1 for part in drawn)
    out = np.asarray(generator.random_transform(key, IMAGES)) / 255
    scaled = drawn._replace(channel_shift=drawn.channel_shift / 255)
    for i, image in enumerate(unit):
        expected = np.minimum(keras_transform(image, scaled, i, fill_mode, 99 / 255), 1)
        np.testing.assert_allclose(out[i], expected, atol=1e-4)


def drawn_of(shape=(4_000, 20, 10, 3), **knobs):
    drawn = ImageDataGenerator(**knobs).get_random_transform(jax.random.key(0), shape)
    return jax.tree.map(np.asarray, drawn)


def is_uniform(values, low, high):
    inside = low <= values.min() and values.max() <= high
    return inside and stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > 0.001


def test_ranges_are_uniform_and_independent():
    drawn = drawn_of(**EVERYTHING)
    assert is_uniform(drawn.theta, -40, 40)
    assert is_uniform(drawn.shear, -20, 20)
    assert is_uniform(drawn.shifts[:, 0], -0.1 * 20, 0.1 * 20)  # height: of 20 rows
    assert is_uniform(drawn.shifts[:, 1], -0.2 * 10, 0.2 * 10)
    assert is_uniform(drawn.zooms[:, 0], 0.7, 1.4)
    assert is_uniform(drawn.zooms[:, 1], 0.7, 1.4)
    assert is_uniform(drawn.channel_shift, -50, 50)
    assert is_uniform(drawn.brightness, 0.3, 1.7)
    for flips in drawn.flips.T:
        assert stats.binomtest(int(flips.sum()), len(flips)).pvalue > 0.001
    columns = np.concatenate([np.reshape(part, (4_000, -1)) for part in drawn], 1).T
    assert np.abs(np.corrcoef(columns) - np.eye(len(columns))).max() < 0.08


def test_without_knobs_nothing_is_drawn_and_nothing_changes():
    drawn = drawn_of()
    for part, still in zip(drawn, (0, 0, 0, 1, 0, False, 1), strict=True):
        assert (part == still).all()
    out = ImageDataGenerator().random_transform(jax.random.key(0), IMAGES)
    assert out.dtype == jnp.float32
    assert (out == IMAGES).all()


def test_a_float_zoom_is_around_1():
    assert is_uniform(drawn_of(zoom_range=0.3).zooms[:, 0], 0.7, 1.3)


def test_a_float_shift_from_1_on_is_in_pixels():
    drawn = drawn_of(height_shift_range=1.0, width_shift_range=3.5)
    assert is_uniform(drawn.shifts[:, 0], -1, 1)
    assert is_uniform(drawn.shifts[:, 1], -3.5, 3.5)


@pytest.mark.parametrize(
    "shift, expected",
    [
        (3, {0: 1 / 3, 1: 1 / 6, -1: 1 / 6, 2: 1 / 6, -2: 1 / 6}),  # of range(3), plus or minus
        (1, {0: 1}),
        ([2, 5], {2: 1 / 4, -2: 1 / 4, 5: 1 / 4, -5: 1 / 4}),
        ([0.1, 0.5], {1: 1 / 4, -1: 1 / 4, 5: 1 / 4, -5: 1 / 4}),  # of 10 columns
        ((0.5, 4), {0.5: 1 / 4, -0.5: 1 / 4, 4: 1 / 4, -4: 1 / 4}),
    ],
)
def test_whole_and_several_shifts_are_choices(shift, expected):
    columns = np.round(drawn_of(width_shift_range=shift).shifts[:, 1], 5)
    values, counts = np.unique(columns, return_counts=True)
    found = dict(zip(values.tolist(), counts / 4_000, strict=True))
    assert found == pytest.approx(expected, abs=0.035)  # 5 standard deviations


@pytest.mark.parametrize("low, high", [(0, 255), (-120, 135), (100, 700), (5, 90)])
def test_brightness_stays_in_0_to_255_or_the_image_s_own_range(low, high):
    """Keras maps an image that leaves 0..255 onto it, multiplies, clips, and maps back."""
    images = np.linspace(low, high, 48).reshape(1, 4, 4, 3).astype(np.float32)
    nothing: dict[str, Any] = dict.fromkeys(Transform._fields)
    generator = ImageDataGenerator(brightness_range=(0.0, 2.0))
    for factor in (0.0, 0.5, 1.0, 1.9):
        drawn = Transform(**nothing | {"brightness": jnp.full(1, factor, jnp.float32)})
        out = np.asarray(generator.apply_transform(jnp.asarray(images), drawn))
        if low < 0 or high > 255:
            unit = (images - low) / (high - low) * 255
            expected = np.clip(unit * factor, 0, 255) / 255 * (high - low) + low
        else:
            expected = np.clip(images * factor, 0, 255)
        np.testing.assert_allclose(out, expected, atol=1e-3)


def test_a_channel_shift_stays_in_the_image_s_own_range():
    images = np.float32(RANDOM.uniform(60, 150, (200, 4, 4, 3)))
    generator = ImageDataGenerator(channel_shift_range=200.0)
    out = np.asarray(generator.random_transform(jax.random.key(0), images))
    axes = (1, 2, 3)
    assert (out.min(axes) >= images.min(axes)).all() and (out.max(axes) <= images.max(axes)).all()
    assert (out.min(axes) == out.max(axes)).any()  # shifted as far as that


def test_a_batch_is_one_compiled_program_and_a_function_of_its_key():
    generator = ImageDataGenerator(**EVERYTHING)
    traced = jax.make_jaxpr(generator.random_transform)(jax.random.key(0), IMAGES)
    assert [equation.primitive.name for equation in traced.eqns] == ["jit"]
    a, b, other = (generator.random_transform(jax.random.key(k), IMAGES) for k in (1, 1, 2))
    assert (a == b).all() and (a != other).any()
    same = ImageDataGenerator(**{**EVERYTHING, "zoom_range": [0.7, 1.4]})  # a list, as in the notes
    assert same == generator and hash(same) == hash(generator)


@pytest.mark.parametrize(
    "knobs",
    [
        {"rotation_range": -1.0},
        {"width_shift_range": -0.1},
        {"height_shift_range": []},
        {"shear_range": -1.0},
        {"zoom_range": 1.0},
        {"zoom_range": (1.2, 0.8)},
        {"zoom_range": (1.0, 1.1, 1.2)},
        {"channel_shift_range": -1.0},
        {"brightness_range": 0.5},
        {"brightness_range": (1.5, 0.5)},
        {"brightness_range": (-0.5, 0.5)},
        {"fill_mode": "mirror"},
        {"zca_epsilon": -1.0},
    ],
)
def test_a_knob_without_meaning_is_named(knobs):
    (knob,) = knobs
    with pytest.raises(ValueError, match=f"{knob}="):
        ImageDataGenerator(**knobs)
    unknown: dict[str, Any] = {f"{knob}s": 0}
    with pytest.raises(TypeError):
        ImageDataGenerator(**unknown)
