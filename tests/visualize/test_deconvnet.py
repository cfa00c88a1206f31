"""The deconvnet against section 2.1 of Zeiler & Fergus in plain loops of numpy, in float64."""

from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_archs import models
from cnn_archs.errors import ConfigError
from cnn_archs.evaluate.predict import Predictor
from cnn_archs.visualize import reconstructions

RANDOM = np.random.default_rng(0)
SIDE = 47  # pool2's last windows hang over its map; pool1 is exact
FIELDS: dict[str, Any] = dict(num_classes=3, widths=(4, 6, 5, 7, 4), hidden=(8, 8), dtype="float64")


def predictor(model, variables, image_shape):
    """Return a network whose images need no preprocessing; nothing else of a run is asked."""
    experiment: Any = SimpleNamespace(model=model, name="net", image_shape=image_shape)
    none: Any = None
    return Predictor(experiment, variables, lambda key, x: x, none, ("a", "b", "c"))


def convolved(x, kernel, bias, stride, pad):
    x = np.pad(x, ((pad, pad), (pad, pad), (0, 0)))
    size, maps = kernel.shape[0], kernel.shape[-1]
    h, w = ((n - size) // stride + 1 for n in x.shape[:2])
    out = np.zeros((h, w, maps))
    for i in range(h):
        for j in range(w):
            part = x[i * stride : i * stride + size, j * stride : j * stride + size]
            out[i, j] = np.tensordot(part, kernel, 3) + bias
    return out


def transposed(signal, kernel, stride, pad, shape):
    """Filter a signal with the transposed kernel: back to the map of `shape` below."""
    size = kernel.shape[0]
    out = np.zeros((shape[0] + 2 * pad, shape[1] + 2 * pad, shape[2]))
    for i, j, m in np.ndindex(signal.shape):
        rows, columns = slice(i * stride, i * stride + size), slice(j * stride, j * stride + size)
        out[rows, columns] += signal[i, j, m] * kernel[..., m]
    return out[pad : pad + shape[0], pad : pad + shape[1]]


def pooled(x):
    """3x3/2, the last window hanging over: the maxima, and the place of each (its switch)."""
    h, w = (-(-(n - 3) // 2) + 1 for n in x.shape[:2])
    out, switches = np.zeros((h, w, x.shape[2])), {}
    for i, j, m in np.ndindex(out.shape):
        part = x[2 * i : 2 * i + 3, 2 * j : 2 * j + 3, m]
        at = np.unravel_index(part.argmax(), part.shape)
        switches[i, j, m] = (2 * i + at[0], 2 * j + at[1], m)
        out[i, j, m] = part[at]
    return out, switches


def unpooled(signal, switches, shape):
    out = np.zeros(shape)
    for at, place in switches.items():
        out[place] += signal[at]
    return out


def normalized(x):
    """AlexNet's normalization over five maps."""
    squares = np.pad(x**2, ((0, 0), (0, 0), (2, 2)))
    return x / (2 + 1e-4 * sum(squares[..., i : i + x.shape[-1]] for i in range(5))) ** 0.75


LAYERS = {  # ZFNet: window, stride, padding of conv; whether a pool and a normalization follow
    "conv1": (2, 1, True),
    "conv2": (2, 0, True),
    "conv3": (1, 1, False),
    "conv4": (1, 1, False),
    "conv5": (1, 1, False),
}


def forward(params, image, until):
    """Return the maps of the layer `until` before its ReLU, and what leads back from each layer."""
    x, way = image, list[Any]()
    for name, (stride, pad, pools) in LAYERS.items():
        kernel, bias = params[name]["kernel"], params[name]["bias"]
        before, x = x, convolved(x, kernel, bias, stride, pad)
        way.append((kernel, stride, pad, before.shape))
        if name == until:
            return x, way
        x = np.maximum(x, 0)
        if pools:
            shape = x.shape
            x, switches = pooled(x)
            x = normalized(x)
            way.append((switches, shape))
    raise AssertionError(until)


def reconstructed(params, image, until, number, at):
    """Unpool, rectify, filter, and so on down to the pixels (section 2.1)."""
    maps, way = forward(params, image, until)
    signal = np.zeros_like(maps)
    signal[(*at, number)] = maps[(*at, number)]
    for step in way[::-1]:
        if len(step) == 2:
            signal = unpooled(signal, *step)
        else:
            kernel, stride, pad, shape = step
            signal = transposed(np.maximum(signal, 0), kernel, stride, pad, shape)
    return signal


@pytest.fixture(scope="module")
def zfnet():
    """A narrow ZFNet in float64 with random weights and biases, and three images."""
    model = models.create("zfnet", **{**FIELDS, "dtype": "float32"})
    shapes = models.shapes(model, (SIDE, SIDE, 3)).variables["params"]
    params = jax.tree.map(
        lambda leaf: RANDOM.normal(0, np.prod(leaf.shape[:-1] or (4,)) ** -0.5, leaf.shape), shapes
    )
    return model.clone(dtype="float64"), params, RANDOM.normal(size=(3, SIDE, SIDE, 3))


@pytest.mark.parametrize(
    "layer", [*(pytest.param(f"conv{i}", marks=pytest.mark.slow) for i in (1, 2, 3, 4)), "conv5"]
)
def test_an_activation_is_led_back_to_the_pixels(zfnet, layer):
    model, params, images = zfnet
    with jax.enable_x64(True):
        run = predictor(model, {"params": params}, images.shape[1:])
        output = jax.jit(reconstructions.output_of(run, (layer,)))
        maps = np.asarray(output(jnp.asarray(images)))
        numbers = maps.max((1, 2)).argmax(-1)  # the strongest map of each image
        places = [
            np.unravel_index(m[..., k].argmax(), m.shape[:2])
            for m, k in zip(maps, numbers, strict=True)
        ]
        rows, columns = (np.array(p) for p in zip(*places, strict=True))
        found = reconstructions.make_reconstruct(run, (layer,))(images, numbers, rows, columns)
    assert found.dtype == np.float64
    for i, image in enumerate(images):
        want = reconstructed(params, image, layer, numbers[i], places[i])
        np.testing.assert_allclose(forward(params, image, layer)[0], maps[i], atol=1e-12)
        assert np.abs(want).max() > 1e-3
        np.testing.assert_allclose(found[i], want, atol=1e-12)


@pytest.mark.slow
def test_it_is_not_the_gradient(zfnet):
    """ReLU on the way back is what differs; the plain gradient would have passed elsewhere."""
    model, params, images = zfnet
    with jax.enable_x64(True):
        run = predictor(model, {"params": params}, images.shape[1:])
        output = reconstructions.output_of(run, ("conv5",))
        at = (0, 0, 0, 1)
        value, plain = jax.jit(jax.value_and_grad(lambda x: output(x)[at]))(jnp.asarray(images[:1]))
        zero = np.zeros(1, int)
        found = reconstructions.make_reconstruct(run, ("conv5",))(images[:1], zero + 1, zero, zero)
    assert np.abs(value * plain - found).max() > 0.1 * np.abs(found).max()


def test_the_strongest_activations_of_each_map_are_found_in_different_images():
    """Over batches, with their places; nothing of a map that is never active."""
    model = models.create("zfnet", **{**FIELDS, "dtype": "float32"})
    images = RANDOM.normal(size=(24, SIDE, SIDE, 3)).astype(np.float32)
    shapes = models.shapes(model, (SIDE, SIDE, 3)).variables["params"]
    params = jax.tree.map(lambda leaf: RANDOM.normal(size=leaf.shape).astype(np.float32), shapes)
    params["conv1"]["bias"] = np.array([0, 0, -1e3, 0], np.float32)
    run = predictor(model, {"params": params}, (SIDE, SIDE, 3))
    maps = np.asarray(jax.jit(reconstructions.output_of(run, ("conv1",)))(images))
    found = reconstructions.find_peaks(run, ("conv1",), np.split(images, (7, 14)))
    assert list(found) == [0, 1, 3]
    for number, peaks in found.items():
        best = np.sort(maps[..., number].max((1, 2)))[::-1][: reconstructions.PEAKS]
        np.testing.assert_allclose([p.value for p in peaks], best, rtol=1e-6)
        for peak in peaks:
            (i,) = np.flatnonzero((images == peak.image).all((1, 2, 3)))
            assert maps[i, peak.row, peak.column, number] == pytest.approx(peak.value)


def test_of_a_single_image_the_strongest_maps_are_shown():
    values = np.arange(-3.0, 37.0)[None] % 23
    chosen = reconstructions.choose_maps(values)
    assert len(chosen) == reconstructions.MAPS
    assert set(values[0, chosen]) == set(np.sort(values[0])[-reconstructions.MAPS :])


def test_a_network_without_relu_has_no_deconvnet():
    model = models.create("lenet5", activation="tanh")
    shapes = models.shapes(model, (28, 28, 1)).variables
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    with pytest.raises(ConfigError, match="--kind=deconv: .* ReLU, and net has none"):
        reconstructions.make_reconstruct(predictor(model, zeros, (28, 28, 1)), ("C1",))
