"""Changes of color against Pillow, numpy and the papers' formulas."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance
from scipy import stats

from cnn_archs.data.transforms import color
from cnn_archs.errors import ConfigError

IMAGES = np.random.default_rng(0).integers(0, 256, (300, 6, 5, 3)).astype(np.float32)
WEIGHTS = np.array([0.299, 0.587, 0.114])
# As they are printed in fb.resnet.torch: eigenvectors in columns, pixels in [0, 1].
EIGENVALUES = np.array([0.2175, 0.0188, 0.0045])
EIGENVECTORS = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
)


def changed(name, images, seed=0, **knobs):
    change = jax.jit(color.create(name, **knobs))
    return np.asarray(change(jax.random.key(seed), jnp.asarray(images)))


def shifts(n, sigma, seed=0):
    """Return what `pca` adds to each of n images, f32[n, 3]."""
    black = np.zeros((n, 2, 2, 3), np.float32)
    return changed("pca", black, seed, sigma=sigma)[:, 0, 0]


def test_pca_adds_one_color_to_all_pixels_of_an_image_and_clips_nothing():
    out = changed("pca", IMAGES, sigma=1.0)
    added = out - IMAGES
    np.testing.assert_allclose(added, np.broadcast_to(added[:, :1, :1], added.shape), atol=1e-4)
    assert len(np.unique(np.round(added[:, 0, 0], 3), axis=0)) == len(IMAGES)
    assert out.min() < 0 and out.max() > 255


def test_pca_s_shifts_have_the_paper_s_covariance():
    """AlexNet, section 4.1: covariance P diag(sigma lambda)^2 P^T, here for pixels in 0..255."""
    found = shifts(40_000, 0.1)
    std = 255 * 0.1 * EIGENVALUES
    expected = EIGENVECTORS @ np.diag(std**2) @ EIGENVECTORS.T
    np.testing.assert_allclose(np.cov(found.T), expected, atol=0.03 * expected.max())
    assert np.abs(found.mean(0)).max() < 0.1
    along = found @ np.linalg.inv(EIGENVECTORS).T  # how much of each component
    np.testing.assert_allclose(along.std(0), std, rtol=0.03)
    assert along[:, 0].std() == pytest.approx(5.5, abs=0.15)
    for component, deviation in zip(along.T[:, :2_000], std, strict=True):
        assert stats.kstest(component, stats.norm(0, deviation).cdf).pvalue > 0.001


def test_pca_of_sigma_0_changes_nothing():
    assert (changed("pca", IMAGES, sigma=0.0) == IMAGES).all()


def gray(image):
    return image @ WEIGHTS if image.shape[-1] == 3 else image[..., 0]


def blend(image, which, f):
    """Apply torchvision's adjust_brightness, _contrast or _saturation, in float64."""
    other = (0.0, gray(image).mean(), gray(image)[..., None])[which]
    return np.clip(f * image + (1 - f) * other, 0, 255)


@pytest.mark.parametrize("which, name", [(0, "Brightness"), (1, "Contrast"), (2, "Color")])
def test_the_three_blends_are_pillow_s(which, name):
    images = IMAGES[:20]
    f = np.linspace(0.2, 1.8, 20, dtype=np.float32)
    factors = np.full((20, 3), np.nan, np.float32)  # the other two take no part
    factors[:, which] = f
    out = color.blend(jnp.asarray(images), jnp.full(20, which), jnp.asarray(factors))
    for image, factor, ours in zip(images, f, np.asarray(out), strict=True):
        picture = Image.fromarray(image.astype(np.uint8))
        theirs = np.asarray(getattr(ImageEnhance, name)(picture).enhance(float(factor)), float)
        assert np.abs(ours - theirs).max() <= 1.5  # Pillow rounds what it blends with, and blends
        np.testing.assert_allclose(ours, blend(image.astype(float), which, factor), atol=1e-3)


AMOUNTS = {"brightness": 0.4, "contrast": 0.3, "saturation": 0.2}


def drawn_factors(channels=3, seed=0, **amounts):
    """Return the factors f64[N, 3] of `jitter`, found from images that are never clipped.

    Whatever the order, the mean gray reveals brightness, the spread of gray contrast, and the
    spread of color saturation.
    """
    dull = 110 + IMAGES[..., :channels] / 16
    out = changed("jitter", dull, seed, **amounts).astype(float)
    found = []
    for before, after in zip(dull.astype(float), out, strict=True):
        b = gray(after).mean() / gray(before).mean()
        bc = gray(after).std() / gray(before).std()
        colorful = [(image - gray(image)[..., None]).std() for image in (before, after)]
        found.append((b, bc / b, colorful[1] / colorful[0] / bc if channels == 3 else 1.0))
    return np.array(found), dull, out


def test_jitter_s_factors_are_uniform_within_their_amounts():
    factors, _, _ = drawn_factors(**AMOUNTS)
    for f, amount in zip(factors.T, AMOUNTS.values(), strict=True):
        assert stats.kstest(f, stats.uniform(1 - amount, 2 * amount).cdf).pvalue > 0.001
    assert np.abs(np.corrcoef(factors.T) - np.eye(3)).max() < 0.2


def test_jitter_is_the_three_blends_in_an_order_of_its_own_for_each_image():
    """Dull images reveal the factors; bright ones, which are clipped on the way, the order."""
    factors, _, _ = drawn_factors(**AMOUNTS)
    out = changed("jitter", IMAGES, **AMOUNTS)
    counts = dict.fromkeys(itertools.permutations(range(3)), 0)
    for image, f, after in zip(IMAGES, factors, out, strict=True):
        distances = {}
        for order in counts:
            expected = image.astype(float)
            for which in order:
                expected = blend(expected, which, f[which])
            distances[order] = np.abs(after - expected).max()
        best = min(distances, key=lambda order: distances[order])
        assert distances[best] < 0.05
        if sorted(distances.values())[1] > 0.5:  # no other order does the same
            counts[best] += 1
    assert min(counts.values()) >= 8  # of some 20; of images that clipping touches little, none


def test_jitter_stays_between_0_and_255():
    out = changed("jitter", IMAGES, brightness=3.0, contrast=3.0, saturation=3.0)
    assert out.min() == 0 and out.max() == 255


def test_a_factor_is_never_below_0():
    factors, _, _ = drawn_factors(brightness=0.0, contrast=0.0, saturation=1.5)
    assert stats.kstest(factors[:, 2], stats.uniform(0, 2.5).cdf).pvalue > 0.001


def test_jitter_of_gray_images_leaves_them_gray():
    factors, _, _ = drawn_factors(channels=1, **AMOUNTS)
    assert (np.abs(factors[:, :2] - 1).max(0) > 0.2).all()
    saturated = changed("jitter", IMAGES[..., :1], brightness=0.0, contrast=0.0, saturation=0.5)
    np.testing.assert_allclose(saturated, IMAGES[..., :1], atol=1e-3)


@pytest.mark.parametrize("name, knobs", [("pca", {"sigma": 0.1}), ("jitter", AMOUNTS)])
def test_a_change_is_a_function_of_its_key(name, knobs):
    a, b, other = (changed(name, IMAGES, seed, **knobs) for seed in (1, 1, 2))
    assert (a == b).all() and (a != other).any()


def test_none_is_the_images():
    images = jnp.asarray(IMAGES)
    assert color.create("none")(jax.random.key(0), images) is images


@pytest.mark.parametrize(
    "name, knobs, channels, message",
    [
        ("pca", {"sigma": 0.1}, 1, "pca: needs 3 channels, not 1"),
        ("jitter", AMOUNTS, 2, "jitter: needs 1 or 3 channels, not 2"),
    ],
)
def test_what_makes_no_sense_is_named(name, knobs, channels, message):
    with pytest.raises(ConfigError, match=message):
        color.create(name, **knobs)(jax.random.key(0), jnp.zeros((1, 2, 2, channels)))
