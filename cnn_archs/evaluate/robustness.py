"""Measure the error on test images that are shifted, rotated, scaled or sheared.

Convolution and pooling should make a network insensitive to where things are; a dense network has
to learn it. A warp other than a shift keeps the center of the image in place, and pixels from
outside the image repeat its edge. The error for each amount is the mean over evenly
spread directions.
"""

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from cnn_archs.data.datasets.splits import Split
from cnn_archs.data.loading.in_memory import Resident
from cnn_archs.data.transforms import affine
from cnn_archs.distributed import mesh as meshes
from cnn_archs.errors import ConfigError
from cnn_archs.evaluate.evaluator import finite_report, sum_metrics
from cnn_archs.evaluate.load import load_images, open_run, restore_run
from cnn_archs.evaluate.runs import load_statistics
from cnn_archs.evaluate.shares import own_share, sum_over_shares
from cnn_archs.evaluate.step import compile_eval, make_eval_step
from cnn_archs.metrics import MetricSums

IMAGES_PER_WARP = 1000  # images warped at a time
SIGNS = (1.0, -1.0)
SIDES = (0.0, 90.0, 180.0, 270.0)  # degrees: down, right, up, left

# Maps a place in the result to a place in the image: (matrix, shift), rows before columns.
Warp = tuple[jax.Array, tuple[float, float]]


@dataclasses.dataclass(frozen=True)
class WarpKind:
    """A kind of warp, with the amounts (in `unit`; the first is 0) and directions to measure.

    warp: (amount, direction) -> Warp, the arguments of `affine.warp_about_center`.
    """

    unit: str
    amounts: tuple[float, ...]
    directions: tuple[float, ...]
    warp: Callable[[float, float], Warp]


def shift_warp(pixels: float, degrees: float) -> Warp:
    """Move the content by `pixels`: down at 0 degrees, to the right at 90 degrees."""
    angle = math.radians(degrees)
    return jnp.eye(2), (-pixels * round(math.cos(angle), 9), -pixels * round(math.sin(angle), 9))


def rotation_warp(degrees: float, sign: float) -> Warp:
    """Rotate the content counterclockwise, or clockwise if `sign` is -1."""
    return affine.rotation_matrix(jnp.array([sign * degrees]))[0], (0.0, 0.0)


def scaling_warp(fraction: float, sign: float) -> Warp:
    """Scale the content up by the factor 1 + `fraction`, or down by it if `sign` is -1."""
    return jnp.eye(2) * (1 + fraction) ** -sign, (0.0, 0.0)


def shear_warp(columns: float, sign: float) -> Warp:
    """Move each row of the content by `columns` pixels more than the row above it."""
    return jnp.array([[1.0, 0.0], [-sign * columns, 1.0]]), (0.0, 0.0)


KINDS = {
    "shift": WarpKind("pixels", (0, 1, 2, 3, 4, 6), SIDES, shift_warp),
    "rotate": WarpKind("degrees", (0, 10, 20, 30, 45), SIGNS, rotation_warp),
    "scale": WarpKind("times larger, less 1", (0, 0.1, 0.2, 0.3, 0.5), SIGNS, scaling_warp),
    "shear": WarpKind("columns a row", (0, 0.1, 0.2, 0.3, 0.5), SIGNS, shear_warp),
}


def measure_robustness(workdir: Path, data_dir: str = "") -> dict[str, Any]:
    """Return the errors of a run's networks on its warped test images.

    data_dir: where the images are; empty: where they were in training.

    The result is {kind of warp: {"unit", "amounts", "directions": their number, "top1_error": one
    list for each amount, with the error of each seed}}. Raises ConfigError if the images of the
    dataset differ in size.
    """
    experiment = open_run(workdir, data_dir)
    dataset, net, mesh = experiment.dataset, experiment.net, meshes.own_mesh()
    if not dataset.in_memory:
        raise ConfigError(
            f"robustness: the images of {dataset.name} differ in size, so a shift in pixels has no "
            "fixed meaning; use a dataset with images of one size, such as mnist or cifar10"
        )
    saved, (images, _) = restore_run(workdir, experiment), load_images(workdir, experiment, "test")
    share = own_share(images)
    assert isinstance(share, Split)
    loss, prepare = (
        experiment.recipe.loss,
        net.inputs.make_preprocess(load_statistics(workdir, experiment)),
    )
    eval_step = make_eval_step(net.model, loss, prepare)
    eval_step = compile_eval(eval_step, mesh, resident=True)
    networks = [saved.seed_variables(i) for i in range(len(experiment.seeds))]

    def measure(matrix: jax.Array, shifted: tuple[float, float]) -> list[MetricSums]:
        if not len(share):
            return [sum_over_shares(None, images) for _ in networks]
        moved: Any = warp_images(share.images, matrix, shifted, mesh)
        data = Resident(dataclasses.replace(share, images=moved), mesh)
        own = [sum_metrics(eval_step, v, data, experiment.eval_batch_size, mesh) for v in networks]
        return [sum_over_shares(one, images) for one in own]

    unmoved = measure(jnp.eye(2), (0.0, 0.0))
    return {name: measure_kind(kind, measure, unmoved) for name, kind in KINDS.items()}


def measure_kind(
    kind: WarpKind,
    measure: Callable[[jax.Array, tuple[float, float]], list[MetricSums]],
    unmoved: list[MetricSums],
) -> dict[str, Any]:
    """Return the errors under one kind of warp, in the form of `measure_robustness`.

    measure: (matrix, shift) -> the MetricSums of each seed on the warped test images. unmoved: the
    MetricSums of each seed for the amount 0.
    """
    errors = []
    for amount in kind.amounts:
        sums = unmoved
        if amount:
            by_direction = [measure(*kind.warp(amount, direction)) for direction in kind.directions]
            by_seed = zip(*by_direction, strict=True)
            sums = [sum(rest, first) for first, *rest in by_seed]
        reports = [finite_report(one, f"images altered by {amount:g} {kind.unit}") for one in sums]
        errors.append([report["top1_error"] for report in reports])
    return {
        "unit": kind.unit,
        "amounts": list(kind.amounts),
        "directions": len(kind.directions),
        "top1_error": errors,
    }


def warp_images(
    images: Any, matrix: jax.Array, shifted: tuple[float, float], mesh: jax.sharding.Mesh
) -> jax.Array:
    """Warp all images u8[N, H, W, C] alike, on the devices; the result is u8[N, H, W, C]."""
    put = partial(jax.device_put, device=NamedSharding(mesh, P()))
    parts = (images[i : i + IMAGES_PER_WARP] for i in range(0, len(images), IMAGES_PER_WARP))
    return jnp.concatenate([warp_batch(put(x), matrix, jnp.array(shifted)) for x in parts])


@jax.jit
def warp_batch(images: jax.Array, matrix: jax.Array, shifted: jax.Array) -> jax.Array:
    """Warp images u8[N, H, W, C] by matrix f32[2, 2] and shifted f32[2], rounding the result."""
    n, height, width, _ = images.shape
    matrices, shifts = jnp.tile(matrix, (n, 1, 1)), jnp.tile(shifted, (n, 1))
    warp = affine.warp_about_center(matrices, shifts, height, width)
    moved = affine.apply_warps(images.astype(jnp.float32), warp, "nearest", 0.0)
    return jnp.round(moved).astype(jnp.uint8)
