"""Warps against scipy.ndimage and Keras' composition of matrices; LeNet-5's distortions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage, stats

from cnn_archs.data.transforms import affine

compiled = jax.jit(affine.apply_warps, static_argnums=(2, 3))
distort = jax.jit(affine.distort)


def scipy_affine(images, matrices, offsets, mode, cval):
    """Warp one image with scipy, one channel after another, in float64."""
    out = np.empty(images.shape)
    for image, matrix, offset, into in zip(images, matrices, offsets, out, strict=True):
        for c in range(image.shape[-1]):
            into[..., c] = ndimage.affine_transform(
                image[..., c].astype(float),
                np.asarray(matrix, float),
                np.asarray(offset, float),
                order=1,
                mode=mode,
                cval=cval,
            )
    return out


def random_warps(n, spread, reach):
    random = np.random.default_rng(1)
    matrices = np.eye(2)[None] + random.normal(0, spread, (n, 2, 2))
    offsets = random.normal(0, reach, (n, 2))
    return jnp.asarray(matrices, jnp.float32), jnp.asarray(offsets, jnp.float32)


@pytest.mark.parametrize("mode", affine.FILL_MODES)
@pytest.mark.parametrize("size", [(8, 8), (7, 12), (31, 32), (2, 3), (1, 5)])
@pytest.mark.parametrize("spread, reach", [(0.2, 3.0), (1.5, 60.0)])
def test_affine_is_scipy_s_in_every_mode(mode, size, spread, reach):
    """Compare points near the image, and points many times its size away from it."""
    images = np.random.default_rng(0).random((30, *size, 2), np.float32)
    matrices, offsets = random_warps(30, spread, reach)
    out = compiled(images, affine.Affine(matrices, offsets), mode, 0.25)
    expected = scipy_affine(images, matrices, offsets, mode, 0.25)
    np.testing.assert_allclose(out, expected, atol=1e-4)


@pytest.mark.parametrize("mode", affine.FILL_MODES)
def test_whole_pixels_land_where_scipy_puts_them(mode):
    """Compare points exactly on the edges, where the modes jump: all shifts and quarter turns."""
    images = np.random.default_rng(0).random((1, 4, 5, 1), np.float32)
    shifts = np.array([(r, c) for r in range(-9, 10) for c in range(-11, 12)], np.float32)
    turns = [np.eye(2), [[0, 1], [-1, 0]], [[-1, 0], [0, -1]], [[0, -1], [1, 0]]]
    for turn in turns:
        matrices = np.repeat(np.asarray(turn, np.float32)[None], len(shifts), 0)
        batch = np.repeat(images, len(shifts), 0)
        warps = affine.Affine(jnp.asarray(matrices), jnp.asarray(shifts))
        out = compiled(batch, warps, mode, -1.0)
        expected = scipy_affine(batch, matrices, shifts, mode, -1.0)
        np.testing.assert_allclose(out, expected, atol=1e-6)


def test_the_identity_changes_no_bit():
    images = np.random.default_rng(0).random((3, 9, 8, 3), np.float32)
    identity = affine.Affine(jnp.repeat(jnp.eye(2)[None], 3, 0), jnp.zeros((3, 2)))
    for mode in affine.FILL_MODES:
        assert (compiled(images, identity, mode, 0.0) == images).all()


def keras_chain(theta, tx, ty, shear, zx, zy, size):
    """Compose (matrix, offset), rows first, as Keras 3 does for a square image."""
    theta, shear = np.deg2rad(theta), np.deg2rad(shear)
    rotate = [[np.cos(theta), -np.sin(theta), 0], [np.sin(theta), np.cos(theta), 0], [0, 0, 1]]
    shift = [[1, 0, tx], [0, 1, ty], [0, 0, 1]]
    lean = [[1, -np.sin(shear), 0], [0, np.cos(shear), 0], [0, 0, 1]]
    zoom = np.diag([zx, zy, 1])
    o = size / 2 - 0.5
    there, back = np.eye(3), np.eye(3)
    there[:2, 2], back[:2, 2] = o, -o
    whole = there @ np.array(rotate) @ np.array(shift) @ np.array(lean) @ zoom @ back
    x_is_columns = whole[[1, 0, 2]][:, [1, 0, 2]]
    return x_is_columns[:2, :2], x_is_columns[:2, 2]


def test_rotation_shift_shear_and_zoom_are_composed_as_by_keras():
    random = np.random.default_rng(0)
    theta, shear = random.uniform(-180, 180, (2, 50))
    shifts, zooms = random.uniform(-5, 5, (50, 2)), random.uniform(0.5, 1.5, (50, 2))
    turns, moves, leans, sizes = map(jnp.float32, (theta, shifts, shear, zooms))
    warp = affine.keras_warp(turns, moves, leans, sizes, 12, 12)
    for i in range(50):
        (rows, columns), (zy, zx) = shifts[i], zooms[i]
        matrix, offset = keras_chain(theta[i], columns, rows, shear[i], zx, zy, 12)
        np.testing.assert_allclose(warp.matrices[i], matrix, atol=1e-6)
        np.testing.assert_allclose(warp.offsets[i], offset, atol=1e-5)


def warped(images, theta=0.0, shifts=(0.0, 0.0), shear=0.0, zooms=(1.0, 1.0)):
    n, h, w, _ = images.shape
    turns, moves, leans, sizes = (
        jnp.full((n, *np.shape(v)), jnp.array(v)) for v in (theta, shifts, shear, zooms)
    )
    warp = affine.keras_warp(turns, moves, leans, sizes, h, w)
    return np.asarray(compiled(images, warp, "nearest", 0.0))


def test_the_center_stays_in_its_place_also_of_an_oblong_image():
    image = np.zeros((1, 5, 9, 1), np.float32)
    image[0, 2, 4] = 1
    for change in ({"theta": 37.0}, {"shear": 20.0}, {"zooms": (0.5, 1.5)}):
        assert warped(image, **change)[0, 2, 4, 0] == pytest.approx(1, abs=1e-5)


def test_what_each_of_keras_transformations_does():
    image = np.random.default_rng(0).random((1, 8, 8, 1), np.float32)
    np.testing.assert_allclose(warped(image, theta=90.0), np.rot90(image, 1, (1, 2)), atol=1e-5)
    moved_up = warped(image, shifts=(2.0, 0.0))
    np.testing.assert_allclose(moved_up[:, :6], image[:, 2:], atol=1e-6)
    moved_left = warped(image, shifts=(0.0, 3.0))
    np.testing.assert_allclose(moved_left[:, :, :5], image[:, :, 3:], atol=1e-6)
    wide = np.zeros((1, 8, 8, 1), np.float32)
    wide[:, :, 2:6] = 1  # 4 columns: half as many once zoomed out
    assert warped(wide, zooms=(1.0, 2.0)).sum() == pytest.approx(2 * 8, abs=1e-4)
    assert warped(wide, zooms=(2.0, 1.0)).sum() == pytest.approx(4 * 8, abs=1e-4)


def distorted_maps(n, **amounts):
    """Return the matrices f64[n, 2, 2] and shifts of the center f64[n, 2] of random distortions.

    They are found from an image whose two channels are its own coordinates.
    """
    size = 31
    at = np.stack(np.meshgrid(np.arange(size), np.arange(size), indexing="ij"), -1)
    images = np.repeat(at.astype(np.float32)[None] + 100, n, 0)  # 0 is outside
    out = np.asarray(distort(jax.random.key(0), images, **amounts), float) - 100
    middle, step = size // 2, 4
    here = out[:, middle, middle]
    down, right = out[:, middle + step, middle], out[:, middle, middle + step]
    matrices = np.stack([(down - here) / step, (right - here) / step], -1)
    return matrices, here - middle


def is_uniform(values, amount):
    return stats.kstest(values, stats.uniform(-amount, 2 * amount).cdf).pvalue > 0.001


def test_distortions_are_lenet_5_s_four_each_within_its_amount():
    """LeCun et al. 1998, section III.B: a shear of columns by row @ factors of the axes."""
    amounts = {"translate": 2.0, "scale": 0.15, "squeeze": 0.1, "shear": 0.2}
    matrices, shifts = distorted_maps(1_000, **amounts)
    rows, columns = matrices[:, 0, 0], matrices[:, 1, 1]
    np.testing.assert_allclose(matrices[:, 0, 1], 0, atol=1e-4)  # nothing moves rows by column
    size, ratio = np.log(rows * columns) / 2, np.log(rows / columns) / 2
    assert is_uniform(size, np.log(1.15))
    assert is_uniform(ratio, np.log(1.1))
    assert is_uniform(matrices[:, 1, 0] / rows, 0.2)
    assert is_uniform(shifts[:, 0], 2.0)
    assert is_uniform(shifts[:, 1], 2.0)
    drawn = np.stack([size, ratio, matrices[:, 1, 0] / rows, *shifts.T])
    assert np.abs(np.corrcoef(drawn) - np.eye(5)).max() < 0.15  # each of its own


@pytest.mark.parametrize("only", ["translate", "scale", "squeeze", "shear"])
def test_a_distortion_alone_changes_nothing_else(only):
    amounts = {"translate": 0.0, "scale": 0.0, "squeeze": 0.0, "shear": 0.0, only: 0.3}
    matrices, shifts = distorted_maps(20, **amounts)
    rows, columns, lean = matrices[:, 0, 0], matrices[:, 1, 1], matrices[:, 1, 0]
    changed = {
        "translate": np.abs(shifts).max() > 0.1,
        "scale": np.abs(rows * columns - 1).max() > 0.1,
        "squeeze": np.abs(rows / columns - 1).max() > 0.1,
        "shear": np.abs(lean).max() > 0.1,
    }
    assert [name for name, is_changed in changed.items() if is_changed] == [only]


def test_what_a_distortion_brings_in_is_background():
    white = np.full((50, 20, 20, 1), 255, np.float32)
    out = np.asarray(distort(jax.random.key(0), white, 3.0, 0.0, 0.0, 0.0))
    assert set(np.unique(out)) == {0, 255}
    assert (out == 0).any((1, 2, 3)).all()
