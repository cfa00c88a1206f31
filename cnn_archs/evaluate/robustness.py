"""Error against how far the test images are moved, turned, scaled or sheared.

Convolution and pooling should make a network care little where things are; a dense network has to
learn it. A warp keeps the center of the image where it is, but for a shift; what comes in at an
edge repeats the edge. Each amount is tried in evenly spread directions, and their errors averaged.
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

from cnn_archs.data.datasets.sources import Split
from cnn_archs.data.loading.in_memory import Resident
from cnn_archs.data.transforms import affine
from cnn_archs.distributed import mesh as meshes
from cnn_archs.errors import ConfigError
from cnn_archs.evaluate.evaluator import sum_metrics
from cnn_archs.evaluate.load import restore_run
from cnn_archs.evaluate.runs import load_statistics
from cnn_archs.evaluate.step import compile_eval, make_eval_step
from cnn_archs.experiment import start_experiment
from cnn_archs.metrics import MetricSums
from cnn_archs.run_dir import RunDir

IMAGES_PER_WARP = 1000  # images warped at a time
SIGNS = (1.0, -1.0)
SIDES = (0.0, 90.0, 180.0, 270.0)  # degrees: down, right, up, left

# From where in the result to where in the image: (matrix, shift), rows before columns.
Warp = tuple[jax.Array, tuple[float, float]]


@dataclasses.dataclass(frozen=True)
class WarpKind:
    """Warps of a kind. amounts: of `unit`, the first of them 0; directions: of each of them.

    warp: (amount, direction) -> the warp, in the terms of `affine.about_center`.
    """

    unit: str
    amounts: tuple[float, ...]
    directions: tuple[float, ...]
    warp: Callable[[float, float], Warp]


def shift_warp(pixels: float, degrees: float) -> Warp:
    """The content moves by `pixels`: down, to the right at 90 degrees."""
    angle = math.radians(degrees)
    return jnp.eye(2), (-pixels * round(math.cos(angle), 9), -pixels * round(math.sin(angle), 9))


def rotation_warp(degrees: float, sign: float) -> Warp:
    """The content turns counterclockwise, with a sign of -1 clockwise."""
    return affine.rotation_matrix(jnp.array([sign * degrees]))[0], (0.0, 0.0)


def scaling_warp(fraction: float, sign: float) -> Warp:
    """The content grows by `fraction`, with a sign of -1 shrinks by as many times."""
    return jnp.eye(2) * (1 + fraction) ** -sign, (0.0, 0.0)


def shear_warp(columns: float, sign: float) -> Warp:
    """Each row of the content moves by so many columns more than the one above it."""
    return jnp.array([[1.0, 0.0], [-sign * columns, 1.0]]), (0.0, 0.0)


KINDS = {
    "shift": WarpKind("pixels", (0, 1, 2, 3, 4, 6), SIDES, shift_warp),
    "rotate": WarpKind("degrees", (0, 10, 20, 30, 45), SIGNS, rotation_warp),
    "scale": WarpKind("times larger, less 1", (0, 0.1, 0.2, 0.3, 0.5), SIGNS, scaling_warp),
    "shear": WarpKind("columns a row", (0, 0.1, 0.2, 0.3, 0.5), SIGNS, shear_warp),
}


def measure_robustness(workdir: Path) -> dict[str, Any]:
    """The error of a run's networks on its warped test images, one for each seed.

    {kind of warp: {"unit", "amounts", "directions": how many of each amount, "top1_error": [[one a
    seed] for each amount]}}. ConfigError where the images are not of one size.
    """
    experiment = start_experiment(RunDir(workdir).config())
    dataset, net, mesh = experiment.dataset, experiment.net, meshes.make_mesh()
    if not dataset.in_memory:
        raise ConfigError(
            f"robustness: the images of {dataset.name} differ in size, so that pixels of a "
            "shift mean nothing; it is there for mnist, cifar10 and the like"
        )
    saved, images = restore_run(workdir, experiment), dataset.split("test", net.inputs.crop)
    assert isinstance(images, Split)
    loss, prepare = experiment.recipe.loss, net.inputs.prepare(load_statistics(workdir, experiment))
    eval_step = make_eval_step(net.model, loss, prepare)
    eval_step = compile_eval(eval_step, mesh, resident=True)
    networks = [saved.seed_variables(i) for i in range(len(experiment.seeds))]

    def counts(matrix: jax.Array, shifted: tuple[float, float]) -> list[MetricSums]:
        moved: Any = warp_images(images.images, matrix, shifted, mesh)
        data = Resident(dataclasses.replace(images, images=moved), mesh)
        return [sum_metrics(eval_step, v, data, experiment.eval_batch_size, mesh) for v in networks]

    unmoved = counts(jnp.eye(2), (0.0, 0.0))
    return {name: measure_kind(kind, counts, unmoved) for name, kind in KINDS.items()}


def measure_kind(
    kind: WarpKind,
    counts: Callable[[jax.Array, tuple[float, float]], list[MetricSums]],
    unmoved: Any,
) -> dict[str, Any]:
    """The part of the document that is of one kind of warp.

    counts: of the test images under a warp, for each seed; unmoved: those of amount 0.
    """
    errors = []
    for amount in kind.amounts:
        sums = unmoved
        if amount:
            each = [counts(*kind.warp(amount, direction)) for direction in kind.directions]
            sums = [sum(of_seed[1:], of_seed[0]) for of_seed in zip(*each, strict=True)]
        errors.append([of_seed.report()["top1_error"] for of_seed in sums])
    return {
        "unit": kind.unit,
        "amounts": list(kind.amounts),
        "directions": len(kind.directions),
        "top1_error": errors,
    }


def warp_images(
    images: Any, matrix: jax.Array, shifted: tuple[float, float], mesh: jax.sharding.Mesh
) -> jax.Array:
    """u8[N, H, W, C], all by one warp, on the devices; in whole numbers again, as images are."""
    put = partial(jax.device_put, device=NamedSharding(mesh, P()))
    parts = (images[i : i + IMAGES_PER_WARP] for i in range(0, len(images), IMAGES_PER_WARP))
    return jnp.concatenate([warp_batch(put(x), matrix, jnp.array(shifted)) for x in parts])


@jax.jit
def warp_batch(images: jax.Array, matrix: jax.Array, shifted: jax.Array) -> jax.Array:
    """u8[N, H, W, C], matrix f32[2, 2], shifted f32[2] -> u8[N, H, W, C]."""
    n, height, width, _ = images.shape
    matrices, shifts = jnp.tile(matrix, (n, 1, 1)), jnp.tile(shifted, (n, 1))
    warp = affine.about_center(matrices, shifts, height, width)
    moved = affine.affine(images.astype(jnp.float32), warp, "nearest", 0.0)
    return jnp.round(moved).astype(jnp.uint8)
