"""Networks under a test protocol: the views of each image, cut on the devices, and their mean.

The images of a batch are put on the devices once for all networks and views; one view of the
batch is cut, shown and added up at a time, so that memory grows with the number of neither.
"""

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
from cnn_archs.data.datasets.sources import Split
from cnn_archs.data.loading import sampler, shape_buckets
from cnn_archs.data.loading.shape_buckets import Canvases, Fit
from cnn_archs.data.loading.streaming import Streamed
from cnn_archs.data.transforms import crops
from cnn_archs.data.transforms.crops import Size
from cnn_archs.data.transforms.preprocess import Inputs
from cnn_archs.errors import ConfigError, first_line
from cnn_archs.evaluate.crop_views import compile_view_cutter
from cnn_archs.evaluate.views import Pass, View, scale_pixels
from cnn_archs.experiment import Classifier
from cnn_archs.metrics import MetricSums

DENSE_PIXELS = 2**20  # on a device at a time: VGG's first maps take a quarter of a gigabyte of them
EXAMPLES_PER_REPORT = 1000  # examples whose probabilities are counted at a time


class Probabilities(NamedTuple):
    """of: f32[networks, N, K], mean probabilities of each example under each network; labels:
    i32[N]; seen: bool[N], False for an example that could not be read."""

    of: np.ndarray
    labels: np.ndarray
    seen: np.ndarray


def mean_probabilities(
    net: Classifier,
    networks: Sequence[dict[str, Any]],
    data: Split | Streamed,
    passes: Sequence[Pass],
    statistics: dict[str, Any],
    batch_size: int,
    mesh: Mesh,
) -> Probabilities:
    """The mean of softmax(logits) over the views of `passes`, of all examples of `data`.

    networks: variables of `net.model`, params and batch_stats. statistics: of the training images,
    for `net.inputs`. batch_size: images at a time, as large as the network sees in training.
    """
    n = len(data)
    of = np.zeros((len(networks), n, net.classes), np.float32)
    labels, seen = np.zeros(n, np.int32), np.zeros(n, bool)
    put = partial(jax.device_put, device=NamedSharding(mesh, P("data")))
    add = compile_add_probabilities(net.model, mesh)
    cut = compile_view_cutter(net.inputs, statistics, isinstance(data, Split), mesh)
    for one in passes:
        for batch in resized_batches(net.inputs, data, one, statistics, batch_size, mesh):
            rows, shape = batch.examples[batch.mask], (len(batch.mask), net.classes)
            labels[rows], seen[rows] = batch.labels[batch.mask], True
            totals = [put(np.zeros(shape, np.float32)) for _ in networks]
            shown = put(batch.images)
            views = batch_views(one, batch.sizes, net.inputs.crop.out)
            for view in views:
                size = (view[0].height, view[0].width)
                out = size if one.dense else net.inputs.crop.out
                corners = np.array([(v.top, v.left) for v in view], np.int32)
                x = cut(shown, put(corners), put(batch.sizes), view[0].mirrored, size, out)
                before = totals
                totals = [add(v, x, t) for v, t in zip(networks, before, strict=True)]
                jax.block_until_ready(before)  # or the images of all views could be waiting
            for k, total in enumerate(totals):
                of[k, rows] += one.share / len(views) * np.asarray(total)[batch.mask]
    return Probabilities(of, labels, seen)


def batch_views(one: Pass, sizes: np.ndarray, out: Size) -> list[tuple[View, ...]]:
    """For each view of a pass, where it is in each image of a batch. sizes: i32[B, 2]."""
    pairs = [(int(height), int(width)) for height, width in sizes]
    layouts = {size: one.layout(*size, out) for size in set(pairs)}
    return list(zip(*(layouts[size] for size in pairs), strict=True))


def resized_batches(
    inputs: Inputs,
    data: Split | Streamed,
    one: Pass,
    statistics: dict[str, Any],
    batch_size: int,
    mesh: Mesh,
) -> Iterator[Canvases]:
    """The images of `data` as the pass `one` resizes them."""
    out, devices = inputs.crop.out, mesh.shape["data"]

    def rows(shape: Size, examples: int) -> int:
        """How large a batch is where so many images of a shape are left: a multiple of the devices.

        Of few it is a power of two a device, so that little of it is empty and few programs are
        compiled.
        """
        most = ceil_div(min(batch_size, len(data)), devices)
        if one.dense:
            at_once = min(batch_size * out[0] * out[1], DENSE_PIXELS * devices)
            most = min(max(at_once // (shape[0] * shape[1] * devices), 1), most)
        enough = 1 << (ceil_div(examples, devices) - 1).bit_length()
        return min(most, enough) * devices

    if isinstance(data, Split):
        fit = (
            shape_buckets.resized_whole(one.scale)
            if one.scale
            else shape_buckets.delivered(inputs.crop)
        )
        return in_memory_batches(inputs, data, fit, statistics, rows, mesh)
    if not one.scale:
        return shape_buckets.streamed(data, shape_buckets.delivered(inputs.crop), 1, rows)
    if one.dense:
        return shape_buckets.streamed(
            data, shape_buckets.trimmed(one.scale, scale_pixels(32, out)), 1, rows
        )
    return shape_buckets.streamed(
        data, shape_buckets.resized_whole(one.scale), scale_pixels(64, out), rows
    )


def in_memory_batches(
    inputs: Inputs,
    data: Split,
    fit: Fit,
    statistics: dict[str, Any],
    rows: shape_buckets.Rows,
    mesh: Mesh,
) -> Iterator[Canvases]:
    """Images of one size: on the devices, the mean is taken off and all are resized by `fit`."""
    box, size = fit(*data.images.shape[1:3])
    split, everything = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())

    @partial(jax.jit, in_shardings=(everything, split), out_shardings=split)
    def made(images: jax.Array, index: jax.Array) -> jax.Array:
        x = images[index].astype(jnp.float32)
        if inputs.mean != "none":
            x = x - jnp.asarray(statistics["mean"])[None]
        return crops.resized(x, box, size)

    images = jax.device_put(data.images, everything)
    for index, mask in zip(*sampler.evaluation(len(data), rows(size, len(data))), strict=True):
        sizes = np.tile(np.array(size, np.int32), (len(index), 1))
        yield Canvases(made(images, index), sizes, index, data.labels[index], mask)


def compile_add_probabilities(model: models.Network, mesh: Mesh) -> Callable[..., jax.Array]:
    """add(variables, images f32[B, H, W, C], total f32[B, K]), jitted: total + softmax(logits)."""
    split, whole = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())

    @partial(jax.jit, in_shardings=(whole, split, split), out_shardings=split)
    def add(variables, images, total):
        heads: Any = model.apply(variables, images, train=False)
        return total + jax.nn.softmax(heads["logits"].astype(jnp.float32))

    return add


def check_dense_scales(net: Classifier, protocol: str, passes: Sequence[Pass]) -> None:
    """ConfigError where the network cannot be shown what `passes` show."""

    def logits(size: Size) -> jax.Array:
        key = jax.random.key(0)
        made = net.model.init(
            {"params": key, "dropout": key}, blank_image(net.image_shape), train=True
        )
        pad = 2 * net.inputs.pad
        large = blank_image((size[0] + pad, size[1] + pad, net.image_shape[2]))
        heads: Any = net.model.apply(made, large, train=False)
        return heads["logits"]

    for scale in (one.scale for one in passes if one.dense):
        try:
            found = jax.eval_shape(partial(logits, (scale, 2 * scale))).shape
        except (flax.errors.FlaxError, ValueError, TypeError) as e:
            flattens = isinstance(e, flax.errors.FlaxError)
            why = "its dense layers are for one size" if flattens else first_line(e)
            raise ConfigError(
                f"--protocol={protocol}: the network takes no images of {scale}x{2 * scale} "
                f"({why}); ten_crop and the grids show it images of its own size"
            ) from e
        assert found == (1, net.classes), found


def blank_image(shape: tuple[int, int, int]) -> jax.Array:
    return jnp.zeros((1, *shape))


def report_probabilities(of: np.ndarray, labels: np.ndarray, seen: np.ndarray) -> dict[str, float]:
    """The report of the examples that were `seen`, from probabilities f32[N, K].

    The loss is -log of the right class' probability, of which the smallest that float32 has is
    the least.
    """
    total = MetricSums.zeros()
    for start in range(0, len(of), EXAMPLES_PER_REPORT):
        some = slice(start, start + EXAMPLES_PER_REPORT)
        right = np.take_along_axis(of[some], labels[some, None], axis=1)[:, 0]
        loss = -np.log(np.maximum(right, np.finfo(np.float32).tiny))
        scores, label, losses, mask = map(jnp.asarray, (of[some], labels[some], loss, seen[some]))
        total += MetricSums.from_logits(scores, label, losses, mask)
    return total.report()
