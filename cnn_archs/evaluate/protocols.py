"""Evaluate networks under a test protocol: average the probabilities over the views of an image.

The images of a batch are put on the devices once for all networks and views. One view of the batch
is cut, shown to the networks and added to the sums at a time, so memory does not grow with the
number of views or networks.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.errors
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from cnn_archs import models
from cnn_archs.arithmetic import ceil_div
from cnn_archs.data.datasets.splits import Split
from cnn_archs.data.loading import sampler, shape_buckets
from cnn_archs.data.loading.shape_buckets import BucketedBatch, ResizeRule
from cnn_archs.data.loading.streaming import Streamed
from cnn_archs.data.transforms import crops
from cnn_archs.data.transforms.boxes import Size, resize_box
from cnn_archs.data.transforms.preprocess import Preprocessor
from cnn_archs.errors import ConfigError, first_line
from cnn_archs.evaluate.crop_views import compile_view_cutter
from cnn_archs.evaluate.evaluator import finite_report
from cnn_archs.evaluate.views import Pass, View, scale_pixels
from cnn_archs.experiment import Classifier
from cnn_archs.metrics import MetricSums

# Input pixels per device at a time with dense views: VGG's first maps of them take 256 MiB.
DENSE_PIXELS = 2**20
EXAMPLES_PER_REPORT = 1000  # examples in one batch of `report_probabilities`


class Probabilities(NamedTuple):
    """Predictions for all examples of a split.

    by_network: f32[networks, N, K], the mean probabilities of each example under each network.
    labels: i32[N]. readable: bool[N], False for an example that could not be read.
    """

    by_network: np.ndarray
    labels: np.ndarray
    readable: np.ndarray


def mean_probabilities(
    net: Classifier,
    networks: Sequence[dict[str, Any]],
    data: Split | Streamed,
    passes: Sequence[Pass],
    statistics: dict[str, Any],
    batch_size: int,
    mesh: Mesh,
) -> Probabilities:
    """Return the mean of softmax(logits) over the views of `passes`, for all examples of `data`.

    networks: the variables (params and batch_stats) of each network, all of them of `net.model`.
    statistics: of the training images, for `net.inputs`. batch_size: number of images at a
    time, if they have the training size; batches of larger images are smaller.
    """
    n = len(data)
    by_network = np.zeros((len(networks), n, net.classes), np.float32)
    labels, readable = np.zeros(n, np.int32), np.zeros(n, bool)
    if not n:
        return Probabilities(by_network, labels, readable)
    put = partial(jax.device_put, device=NamedSharding(mesh, P("data")))
    add = compile_add_probabilities(net.model, mesh)
    cut = compile_view_cutter(net.inputs, statistics, isinstance(data, Split), mesh)
    for test_pass in passes:
        for batch in resized_batches(net.inputs, data, test_pass, statistics, batch_size, mesh):
            rows, shape = batch.examples[batch.mask], (len(batch.mask), net.classes)
            labels[rows], readable[rows] = batch.labels[batch.mask], True
            totals = [put(np.zeros(shape, np.float32)) for _ in networks]
            images = put(batch.images)
            views = batch_views(test_pass, batch.sizes, net.inputs.crop.out)
            for view in views:
                size = (view[0].height, view[0].width)
                out = size if test_pass.dense else net.inputs.crop.out
                corners = np.array([(v.top, v.left) for v in view], np.int32)
                x = cut(images, put(corners), put(batch.sizes), view[0].mirrored, size, out)
                before = totals
                totals = [add(v, x, t) for v, t in zip(networks, before, strict=True)]
                # Without waiting, the inputs of all views could be on the devices at once.
                jax.block_until_ready(before)
            for k, total in enumerate(totals):
                by_network[k, rows] += test_pass.share / len(views) * np.asarray(total)[batch.mask]
    return Probabilities(by_network, labels, readable)


def batch_views(test_pass: Pass, sizes: np.ndarray, out: Size) -> list[tuple[View, ...]]:
    """List the views of a pass, each as its view of every image in a batch. sizes: i32[B, 2]."""
    pairs = [(int(height), int(width)) for height, width in sizes]
    layouts = {size: test_pass.layout(*size, out) for size in set(pairs)}
    return list(zip(*(layouts[size] for size in pairs), strict=True))


def resized_batches(
    inputs: Preprocessor,
    data: Split | Streamed,
    test_pass: Pass,
    statistics: dict[str, Any],
    batch_size: int,
    mesh: Mesh,
) -> Iterator[BucketedBatch]:
    """Yield the images of `data`, resized as `test_pass` says, in batches of one shape."""
    out, devices = inputs.crop.out, mesh.shape["data"]

    def rows(shape: Size, examples: int) -> int:
        """Return the batch size for `examples` remaining images of `shape`.

        The size is a multiple of the devices. For small remainders it is a power of two per
        device, which needs little padding and few compiled programs.
        """
        most = ceil_div(min(batch_size, len(data)), devices)
        if test_pass.dense:
            at_once = min(batch_size * out[0] * out[1], DENSE_PIXELS * devices)
            most = min(max(at_once // (shape[0] * shape[1] * devices), 1), most)
        enough = 1 << (ceil_div(examples, devices) - 1).bit_length()
        return min(most, enough) * devices

    if isinstance(data, Split):
        fit = (
            shape_buckets.whole_resize(test_pass.scale)
            if test_pass.scale
            else shape_buckets.evaluation_resize(inputs.crop)
        )
        return in_memory_batches(inputs, data, fit, statistics, rows, mesh)
    if not test_pass.scale:
        return shape_buckets.bucketed_batches(
            data, shape_buckets.evaluation_resize(inputs.crop), 1, rows
        )
    if test_pass.dense:
        return shape_buckets.bucketed_batches(
            data, shape_buckets.trimmed_resize(test_pass.scale, scale_pixels(32, out)), 1, rows
        )
    return shape_buckets.bucketed_batches(
        data, shape_buckets.whole_resize(test_pass.scale), scale_pixels(64, out), rows
    )


def in_memory_batches(
    inputs: Preprocessor,
    data: Split,
    fit: ResizeRule,
    statistics: dict[str, Any],
    rows: shape_buckets.BatchSizeFn,
    mesh: Mesh,
) -> Iterator[BucketedBatch]:
    """Yield images of one size: subtract the mean and resize by `fit`, on the devices."""
    box, size = fit(*data.images.shape[1:3])
    split, everything = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())

    @partial(jax.jit, in_shardings=(everything, split), out_shardings=split)
    def gather(images: jax.Array, index: jax.Array) -> jax.Array:
        x = images[index].astype(jnp.float32)
        if inputs.mean != "none":
            x = x - jnp.asarray(statistics["mean"])[None]
        return resize_box(x, box, size)

    images = jax.device_put(data.images, everything)
    for index, mask in zip(
        *sampler.evaluation_indices(len(data), rows(size, len(data))), strict=True
    ):
        sizes = np.tile(np.array(size, np.int32), (len(index), 1))
        yield BucketedBatch(gather(images, index), sizes, index, data.labels[index], mask)


def compile_add_probabilities(model: models.Network, mesh: Mesh) -> Callable[..., jax.Array]:
    """Return jitted add(variables, images f32[B, H, W, C], total f32[B, K]) -> f32[B, K].

    The result is total + softmax(logits).
    """
    split, whole = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())

    @partial(jax.jit, in_shardings=(whole, split, split), out_shardings=split)
    def add(variables, images, total):
        heads: Any = model.apply(variables, images, train=False)
        return total + jax.nn.softmax(heads["logits"].astype(jnp.float32))

    return add


def with_view_size(net: Classifier, size: int) -> Classifier:
    """Return `net` with one view of another size, as it is evaluated in He et al. 2016, table 5.

    An image is resized to a shorter side of `size` pixels, and the network sees the square in its
    middle. Raises ConfigError if the network cannot take it, or if the images need another crop.
    """
    crop, side = net.inputs.crop, size - 2 * net.inputs.pad
    if isinstance(crop, crops.DeslantCrop | crops.ReduceCrop):
        raise ConfigError(f"--size={size}: the crop of this run changes digits of one size only")
    if side < 1:
        raise ConfigError(
            f"--size={size}: must be more than the {2 * net.inputs.pad} pixels of pad"
        )
    check_image_size(net, (side, side), f"--size={size}", "evaluate it without --size")
    square = crops.ShorterSideCrop((side, side), smallest=side, largest=side, evaluate=side)
    inputs = dataclasses.replace(net.inputs, crop=square)
    return net._replace(image_shape=(size, size, net.image_shape[2]), inputs=inputs)


def images_at_once(images: int, trained: Sequence[int], seen: Sequence[int]) -> int:
    """Return how many images of shape `seen` have as many pixels as `images` of shape `trained`.

    It is one at least and `images` at most.
    """
    return min(max(images * math.prod(trained) // math.prod(seen), 1), images)


def check_dense_scales(net: Classifier, protocol: str, passes: Sequence[Pass]) -> None:
    """Raise ConfigError if the network cannot take images of the sizes of the dense `passes`."""
    for scale in (test_pass.scale for test_pass in passes if test_pass.dense):
        hint = "ten_crop and the grids use crops of its own size"
        check_image_size(net, (scale, 2 * scale), f"--protocol={protocol}", hint)


def check_image_size(net: Classifier, size: Size, flag: str, hint: str) -> None:
    """Raise ConfigError if the network cannot take images of `size`, before they are padded.

    flag, hint: the beginning and the end of the message.
    """

    def logits() -> jax.Array:
        key = jax.random.key(0)
        variables = net.model.init(
            {"params": key, "dropout": key}, blank_image(net.image_shape), train=True
        )
        pad = 2 * net.inputs.pad
        large = blank_image((size[0] + pad, size[1] + pad, net.image_shape[2]))
        heads: Any = net.model.apply(variables, large, train=False)
        return heads["logits"]

    try:
        found = jax.eval_shape(logits).shape
    except (flax.errors.FlaxError, ValueError, TypeError) as e:
        flattens = isinstance(e, flax.errors.FlaxError)
        why = "its dense layers fix the image size" if flattens else first_line(e)
        raise ConfigError(
            f"{flag}: the network cannot take images of {size[0]}x{size[1]} ({why}); {hint}"
        ) from e
    assert found == (1, net.classes), found


def blank_image(shape: tuple[int, int, int]) -> jax.Array:
    return jnp.zeros((1, *shape))


def report_probabilities(
    probabilities: np.ndarray, labels: np.ndarray, readable: np.ndarray
) -> dict[str, float]:
    """Return loss and errors of the `readable` examples, from probabilities f32[N, K].

    The loss is -log of the probability of the right class, which is clipped at the smallest normal
    float32.
    """
    total = MetricSums.zeros()
    for start in range(0, len(probabilities), EXAMPLES_PER_REPORT):
        some = slice(start, start + EXAMPLES_PER_REPORT)
        scores, label = probabilities[some], labels[some]
        right = np.take_along_axis(scores, label[:, None], axis=1)[:, 0]
        loss = -np.log(np.maximum(right, np.finfo(np.float32).tiny))
        total += MetricSums.from_logits(
            jnp.asarray(scores), jnp.asarray(label), jnp.asarray(loss), jnp.asarray(readable[some])
        )
    return finite_report(total, "the views of the images")
