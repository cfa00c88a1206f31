"""Reconstruct what activates maps of a layer by a deconvnet (Zeiler & Fergus 2014, figure 2)."""

import heapq
from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn_archs.errors import ConfigError
from cnn_archs.evaluate.predict import Predictor
from cnn_archs.layer_patterns import ModulePath
from cnn_archs.models.deconvnet import deconvnet
from cnn_archs.models.summary import summarize
from cnn_archs.visualize.images import as_pixels, unnormalized
from cnn_archs.visualize.layers import output_of

MAPS = 16  # of a layer, at most
PEAKS = 9  # activations of a map, at most, each in another image

Reconstruct = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], jax.Array]


class Peak(NamedTuple):
    """The strongest activation of a map in an image u8[H, W, C], and its place in the map."""

    value: float
    image: np.ndarray
    row: int
    column: int


class Reconstruction(NamedTuple):
    """The signal f32[h, w, C] of a peak, and the part of the image that it lies in, u8[h, w, C].

    Both are as large as the receptive field of the layer, or as the image if that is smaller.
    """

    value: float
    signal: np.ndarray
    part: np.ndarray


def reconstruct_layer(
    run: Predictor, path: ModulePath, batches: Iterable[np.ndarray]
) -> dict[int, list[Reconstruction]]:
    """Return {map: the reconstructions of its strongest activations, the strongest first}.

    batches: images u8[N, H, W, C]. Raises ConfigError if the network has no ReLU.
    """
    reconstruct, found = make_reconstruct(run, path), {}
    of_maps = find_peaks(run, path, batches)
    most = max(map(len, of_maps.values()), default=0)
    for number, peaks in of_maps.items():
        filled = [*peaks, *[peaks[0]] * (most - len(peaks))]  # one compiled program for all maps
        images = np.stack([p.image for p in filled])
        rows, columns = (np.array([p[i] for p in filled]) for i in (2, 3))
        signals = np.asarray(reconstruct(images, np.full(most, number), rows, columns))
        signals, images = signals[: len(peaks)], images[: len(peaks)]
        shown = as_pixels(unnormalized_view(run, images))
        found[number] = [
            Reconstruction(p.value, *cut_field(run, path, signal, image, p))
            for p, signal, image in zip(peaks, signals, shown, strict=True)
        ]
    return found


def find_peaks(
    run: Predictor, path: ModulePath, batches: Iterable[np.ndarray]
) -> dict[int, list[Peak]]:
    """Return {map: its PEAKS strongest activations above 0, each in another image}.

    The maps are MAPS of those that are active in the first batch: the strongest ones if that is a
    single image, else evenly spaced ones.
    """
    output = output_of(run, path)

    @jax.jit
    def peaks_of(images: jax.Array) -> tuple[jax.Array, jax.Array]:
        maps = output(run.prepare(None, images)).astype(jnp.float32)
        flat = maps.reshape(len(maps), -1, maps.shape[-1])
        return flat.max(1), flat.argmax(1)

    width = jax.eval_shape(output, zeros(run)).shape[2]
    kept: dict[int, list[tuple[float, int, Peak]]] = {}
    seen = 0
    for images in batches:
        values, places = (np.asarray(a) for a in peaks_of(images))
        if not kept:
            kept = {int(k): [] for k in choose_maps(values)}
        for number, heap in kept.items():
            for i in np.argsort(-values[:, number], kind="stable")[:PEAKS]:
                value, place = float(values[i, number]), int(places[i, number])
                if value > 0 and (len(heap) < PEAKS or value > heap[0][0]):
                    peak = Peak(value, images[i].copy(), place // width, place % width)
                    push = heapq.heappush if len(heap) < PEAKS else heapq.heapreplace
                    push(heap, (value, -seen - int(i), peak))
        seen += len(images)
    return {number: [p for _, _, p in sorted(heap)[::-1]] for number, heap in kept.items()}


def choose_maps(values: np.ndarray) -> np.ndarray:
    """Return the numbers of at most MAPS maps, from their peaks f32[N, maps] in N images."""
    if len(values) == 1:
        order = np.argsort(-values[0], kind="stable")[:MAPS]
        return order[values[0, order] > 0]
    active = np.flatnonzero(values.max(0) > 0)
    some = np.linspace(0, len(active) - 1, min(MAPS, len(active))).round().astype(int)
    return active[some]


def make_reconstruct(run: Predictor, path: ModulePath) -> Reconstruct:
    """Return the function from images u8[N, H, W, C] and activations to their reconstructions.

    It takes (images, maps, rows, columns), i[N] each, and returns f32[N, H, W, C]: one activation
    of each image is led back to the network's input, all others being 0. Raises ConfigError if the
    network has no ReLU, so that it has no deconvnet.
    """
    output = output_of(run, path)
    with deconvnet() as net:
        jax.eval_shape(output, zeros(run))
    if not net.rectified:
        raise ConfigError(
            f"--kind=deconv: a deconvnet is made of a network with ReLU, and {run.experiment.name} "
            "has none here; --kind=gradcam and --kind=occlusion take every network with maps"
        )

    @jax.jit
    def reconstruct(
        images: jax.Array, maps: jax.Array, rows: jax.Array, columns: jax.Array
    ) -> jax.Array:
        with deconvnet():
            out, back = jax.vjp(output, run.prepare(None, images))
        at = (jnp.arange(len(images)), rows, columns, maps)
        (signal,) = back(jnp.zeros_like(out).at[at].set(out[at]))
        return signal

    return reconstruct


def zeros(run: Predictor) -> jax.ShapeDtypeStruct:
    """Return the shape of one input of the network."""
    return jax.ShapeDtypeStruct((1, *run.experiment.image_shape), np.float32)


def unnormalized_view(run: Predictor, images: np.ndarray) -> jax.Array:
    """Return images u8[N, H, W, C] as the network sees them, from 0 to 255, without a border."""
    return unnormalized(run.experiment.inputs).make_preprocess({})(None, jnp.asarray(images))


def cut_field(
    run: Predictor, path: ModulePath, signal: np.ndarray, image: np.ndarray, peak: Peak
) -> tuple[np.ndarray, np.ndarray]:
    """Cut the receptive field of a peak out of its signal and out of the image, as it is seen.

    A field that reaches over the edge is moved inside.
    """
    pad, name = run.experiment.inputs.pad, "/".join(path)
    signal = signal[pad : len(signal) - pad, pad : signal.shape[1] - pad]
    if run.experiment.inputs.reverse_channels:
        signal = signal[..., ::-1]
    rows = [
        row
        for row in summarize(run.experiment.model, run.experiment.image_shape)
        if row.name == name or row.name.startswith(f"{name}/")
    ]
    whole = min(image.shape[:2])
    fields = [
        (r.receptive_field, r.stride, r.offset)
        for r in rows
        if r.receptive_field is not None and r.stride is not None and r.offset is not None
    ]
    side, stride, offset = max(fields, default=(whole, 0, 0))
    side = min(side, whole)
    top, left = (
        int(np.clip(offset + place * stride - pad, 0, n - side))
        for place, n in zip((peak.row, peak.column), image.shape[:2], strict=True)
    )
    window = slice(top, top + side), slice(left, left + side)
    return signal[window], image[window]
