"""Keras' standardization against numpy, in the order of Keras 3's steps."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_archs.data.transforms.keras_generator import ImageDataGenerator
from cnn_archs.data.transforms.keras_standardize import Standardization

IMAGES = np.random.default_rng(0).integers(0, 256, (300, 4, 5, 3), dtype=np.uint8)
FLAGS = (
    "samplewise_center",
    "samplewise_std_normalization",
    "featurewise_center",
    "featurewise_std_normalization",
    "zca_whitening",
)


def keras_fit(images, scale, center, std, zca):
    """Compute Keras 3's fit in float64: mean, std and whitening, as far as asked for."""
    x = images.astype(float) * scale
    found = {}
    if center or std or zca:
        found["mean"] = x.mean((0, 1, 2))
        x = x - found["mean"]
    if std and not zca:
        found["std"] = x.std((0, 1, 2))
        x = x / (found["std"] + 1e-6)
    if zca:
        u, s, _ = np.linalg.svd(x.reshape(len(x), -1).T, full_matrices=False)
        found["whitening"] = (u * (np.sqrt(len(x)) / (s + 1e-6))) @ u.T
    return found


def keras_standardize(images, scale, sample_center, sample_std, found):
    """Compute Keras 3's standardize in float64, one image after another."""
    out = []
    for image in images:
        x = image.astype(float) * scale
        if sample_center or sample_std:
            x = x - x.mean()
        if sample_std:
            x = x / (x.std() + 1e-6)
        if "mean" in found:
            x = x - found["mean"]
        if "std" in found:
            x = x / (found["std"] + 1e-6)
        if "whitening" in found:
            x = (x.reshape(-1) @ found["whitening"]).reshape(x.shape)
        out.append(x)
    return np.stack(out)


@pytest.mark.parametrize("rescale", [None, 1 / 255])
@pytest.mark.parametrize("flags", list(itertools.product([False, True], repeat=5)))
def test_every_combination_is_keras_s(flags, rescale):
    sample_center, sample_std, center, std, zca = flags
    standardization = Standardization(**dict(zip(FLAGS, flags, strict=True)), rescale=rescale)
    statistics = standardization.fit(IMAGES)
    found = keras_fit(IMAGES, rescale or 1.0, center, std, zca)
    assert statistics.keys() == found.keys()
    for name, value in found.items():
        assert statistics[name].dtype == np.float32
        np.testing.assert_allclose(np.squeeze(statistics[name]), value, rtol=1e-5, atol=1e-6)
    out = standardization.standardize(IMAGES[:20], statistics)
    assert out.dtype == jnp.float32
    expected = keras_standardize(IMAGES[:20], rescale or 1.0, sample_center, sample_std, found)
    np.testing.assert_allclose(out, expected, atol=1e-4, rtol=1e-4)


def test_whitened_images_are_uncorrelated():
    standardization = Standardization(zca_whitening=True)
    out = standardization.standardize(IMAGES, standardization.fit(IMAGES)).reshape(300, 60)
    np.testing.assert_allclose(out.T @ out / 300, np.eye(60), atol=1e-4)


def test_whitening_of_fewer_images_than_pixels_leaves_the_others_out():
    few = IMAGES[:20]
    statistics = Standardization(zca_whitening=True).fit(few)
    whitening = statistics["whitening"].astype(float)
    assert np.linalg.matrix_rank(whitening, tol=1e-3 * np.linalg.norm(whitening, 2)) == 20
    out = Standardization(zca_whitening=True).standardize(few, statistics).reshape(20, 60)
    np.testing.assert_allclose(out @ out.T / 20, np.eye(20), atol=1e-3)


def test_fit_is_the_same_whatever_is_read_at_once(monkeypatch):
    standardization = Standardization(featurewise_std_normalization=True, zca_whitening=False)
    whole = standardization.fit(IMAGES)
    rescaled = Standardization.rescaled_chunks
    monkeypatch.setattr(
        Standardization, "rescaled_chunks", lambda self, x: rescaled(self, x, size=7)
    )
    for name, value in standardization.fit(IMAGES).items():
        np.testing.assert_allclose(value, whole[name], rtol=1e-6)


def test_the_function_of_one_image_comes_first():
    def top_left(image):
        assert image.shape == (4, 5, 3)
        return image - image[:1, :1]

    standardization = Standardization(preprocessing_function=top_left, rescale=2.0)
    out = standardization.standardize(IMAGES, {})
    expected = 2 * (IMAGES.astype(float) - IMAGES[:, :1, :1])
    np.testing.assert_allclose(out, expected, atol=1e-4)


def test_one_setting_overrides_another_as_in_keras():
    whitening = Standardization(zca_whitening=True, featurewise_std_normalization=True)
    assert whitening.featurewise_center and not whitening.featurewise_std_normalization
    assert Standardization(featurewise_std_normalization=True).featurewise_center
    assert Standardization(samplewise_std_normalization=True).samplewise_center
    assert Standardization(rescale=0.0).standardize(IMAGES, {}).max() == 255  # 0 is none


def test_the_generator_standardises_too():
    generator = ImageDataGenerator(featurewise_std_normalization=True, rotation_range=20.0)
    out = generator.standardize(IMAGES, generator.fit(IMAGES))
    np.testing.assert_allclose(out.mean((0, 1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(out.std((0, 1, 2)), 1, atol=1e-4)


def test_statistics_of_another_fit_are_refused():
    standardization = Standardization(featurewise_std_normalization=True)
    mean = Standardization(featurewise_center=True).fit(IMAGES)
    with pytest.raises(ValueError, match="no std"):
        standardization.standardize(IMAGES, mean)


def test_standardization_is_one_compiled_program():
    standardization = Standardization(featurewise_std_normalization=True)
    statistics = standardization.fit(IMAGES)
    traced = jax.make_jaxpr(standardization.standardize)(IMAGES, statistics)
    assert [equation.primitive.name for equation in traced.eqns] == ["jit"]
