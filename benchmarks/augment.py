"""Time each augmentation: images per second, and its share of a ResNet-20 step.

python benchmarks/augment.py [--batch=128] [--repeats=15] [--format=json] [--write]
Goal: `ratio`, the time to pad, crop and mirror / that of the recipe's training step of ResNet-20
without them, is at most 0.05, and 20,000 images per second or more, on two CPU cores.

Images are random, 32x32x3, float32; their contents do not affect the time. Each augmentation is a
compiled program of its own, and its time is the median of `repeats` calls after one that compiles.
Inside a training step it can only be cheaper, because there is no call and no copy.
"""

import argparse
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import common

PAD = "pad, crop, mirror"


def augmentations() -> dict[str, Callable[..., Any]]:
    """Return the augmentations by name: (key, images f32[N, 32, 32, 3]) -> images."""
    import jax

    from cnn_archs.data.transforms import augment, color, crops

    pad = crops.create("pad", (32, 32), pixels=4)

    def pad_crop_mirror(key: jax.Array, images: jax.Array) -> jax.Array:
        crop_key, mirror_key = jax.random.split(key)
        return crops.random_flip(mirror_key, pad.crop_on_device(crop_key, images))

    square = crops.create("square", (28, 28), side=32, resize="shorter")
    inception = crops.create(
        "inception", (32, 32), area=(0.08, 1.0), aspect=(3 / 4, 4 / 3), evaluate=32
    )
    shorter = crops.create("shorter_side", (32, 32), smallest=36, largest=48, evaluate=36)
    moves = {
        "rotation_range": 15.0,
        "width_shift_range": 0.1,
        "height_shift_range": 0.1,
        "zoom_range": 0.1,
        "horizontal_flip": True,
    }
    values = {"channel_shift_range": 20.0, "brightness_range": (0.5, 1.5)}
    found: dict[str, Any] = {
        PAD: pad_crop_mirror,
        "mirror": crops.random_flip,
        "crop square": square.crop_on_device,
        "crop shorter_side": shorter.crop_on_device,
        "crop inception": inception.crop_on_device,
        "color pca": color.create("pca", sigma=0.1),
        "color jitter": color.create("jitter", brightness=0.4, contrast=0.4, saturation=0.4),
        "distortions": augment.create(
            "distortions", translate=2.0, scale=0.15, squeeze=0.15, shear=0.2, share=1.0
        ),
        "generator, places": augment.create("generator", **moves),
        "generator, values": augment.create("generator", **values),
        "generator, all": augment.create("generator", **moves, **values),
    }
    return found


def median_seconds(call: Callable[[], Any], repeats: int) -> float:
    """Return the median seconds of `repeats` calls, after one that compiles."""
    import jax

    call()
    turns = [common.timed(lambda: jax.block_until_ready(call()), 1)[0] for _ in range(repeats)]
    return statistics.median(turn.seconds for turn in turns)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Time each augmentation and a training step, in one process."""
    import jax
    import jax.numpy as jnp
    from our_step import assemble_run, random_images

    batch = options.batch
    key = jax.random.key(0)
    images = jnp.round(jax.random.uniform(key, (batch, 32, 32, 3), maxval=255.0))
    seconds = {
        name: median_seconds(partial(jax.jit(augmentation), key, images), options.repeats)
        for name, augmentation in augmentations().items()
    }
    plain = ["crop.name=none", "mirror=false", "steps=100000", "model.bn_group=0"]
    split = random_images((32, 32, 3), 10, 10 * batch)
    run = assemble_run("resnet_cifar10:20", [*plain, f"data.batch_size={batch}"], split)
    step_seconds = median_seconds(run.run_steps, options.repeats)
    return {
        "ratio": seconds[PAD] / step_seconds,
        "seconds": seconds[PAD],
        "resnet20_step_seconds": step_seconds,
        "images_per_second": {name: batch / s for name, s in seconds.items()},
        "batch": batch,
        "repeats": options.repeats,
    }


def table(result: dict[str, Any]) -> common.Rows:
    """Return the rows: images per second and share of a step for each augmentation."""
    rows = [("augmentation of 32x32x3", "images/s", "% of a ResNet-20 step")]
    for name, rate in result["images_per_second"].items():
        part = 100 * result["batch"] / rate / result["resnet20_step_seconds"]
        rows.append((name, f"{rate:,.0f}", f"{part:.1f}"))
    return rows


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch", type=int, default=128, help="images per call (default: 128)")
    parser.add_argument(
        "--repeats", type=int, default=15, help="timed calls of each augmentation (default: 15)"
    )


if __name__ == "__main__":
    common.main(__doc__, declare, measure, table)
