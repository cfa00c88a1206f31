"""What augmentation costs: images a second of each kind, and its part of a ResNet-20 step.

python benchmarks/augment.py [--format=json] [--batch=128] [--repeats=15]
Expected on two CPU cores: padding, cropping and mirroring 20,000 images/s or more, and `ratio`
(their time / that of a training step of ResNet-20, same batch, same run) below 0.05.

Images are random, 32x32x3, float32; no time depends on what they show. Each augmentation is one
compiled program of its own, called once to warm up; the median of `repeats` calls counts. Inside of
a training step it can only be cheaper: there is no call, and no copy.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

PAD = "pad, crop, mirror"


def augmentations() -> dict[str, Callable[..., Any]]:
    """Name -> (key, images) -> images."""
    import jax

    from cnn_archs.data import augment, colour, crops

    pad = crops.create("pad", (32, 32), pixels=4)

    def pad_crop_mirror(key: jax.Array, images: jax.Array) -> jax.Array:
        of_crop, of_mirror = jax.random.split(key)
        return crops.mirror(of_mirror, pad.resident(of_crop, images))

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
    return {
        PAD: pad_crop_mirror,
        "mirror": crops.mirror,
        "crop square": square.resident,
        "crop shorter_side": shorter.resident,
        "crop inception": inception.resident,
        "colour pca": colour.create("pca", sigma=0.1),
        "colour jitter": colour.create("jitter", brightness=0.4, contrast=0.4, saturation=0.4),
        "distortions": augment.create(
            "distortions", translate=2.0, scale=0.15, squeeze=0.15, shear=0.2
        ),
        "generator, places": augment.create("generator", **moves),
        "generator, values": augment.create("generator", **values),
        "generator, all": augment.create("generator", **moves, **values),
    }


def training_step() -> tuple[Callable[..., Any], Any]:
    """One step of ResNet-20, batch normalisation and momentum included, and its first state."""
    import jax
    import optax

    from cnn_archs import models

    model = models.create("resnet20")
    optimizer = optax.sgd(0.1, momentum=0.9)
    variables = models.init(model, jax.random.key(0), (32, 32, 3))

    def loss_of(params: Any, batch_stats: Any, images: Any, labels: Any) -> tuple[Any, Any]:
        heads, updated = model.apply(
            {"params": params, "batch_stats": batch_stats},
            images,
            train=True,
            mutable=["batch_stats"],
        )
        loss = optax.softmax_cross_entropy_with_integer_labels(heads["logits"], labels)
        return loss.mean(), updated["batch_stats"]

    def step(state: tuple[Any, Any, Any], images: Any, labels: Any) -> tuple[Any, Any, Any]:
        params, batch_stats, momenta = state
        gradients, batch_stats = jax.grad(loss_of, has_aux=True)(
            params, batch_stats, images, labels
        )
        updates, momenta = optimizer.update(gradients, momenta)
        return optax.apply_updates(params, updates), batch_stats, momenta

    params = variables["params"]
    return jax.jit(step), (params, variables["batch_stats"], optimizer.init(params))


def median_seconds(call: Callable[[], Any], repeats: int) -> float:
    """Of `repeats` calls, after one that is not counted."""
    import jax

    seconds = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds[1:])


def measure(batch: int, repeats: int) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    from cnn_archs.environment import environment

    key = jax.random.key(0)
    images = jnp.round(jax.random.uniform(key, (batch, 32, 32, 3), maxval=255.0))
    labels = jax.random.randint(key, (batch,), 0, 10)
    seconds = {}
    for name, augmentation in augmentations().items():
        compiled = jax.jit(augmentation)
        seconds[name] = median_seconds(lambda f=compiled: f(key, images), repeats)
    step, state = training_step()
    of_step = median_seconds(lambda: step(state, images / 255, labels), repeats)
    made = environment()
    return {
        "ratio": seconds[PAD] / of_step,
        "seconds": seconds[PAD],
        "resnet20_step_seconds": of_step,
        "images_per_second": {name: batch / s for name, s in seconds.items()},
        "batch": batch,
        "repeats": repeats,
        "machine": {
            "devices": made["devices"],
            "cores": made["cpus"],
            "load_average": os.getloadavg()[0],
            "platform": made["platform"],
        },
        "versions": {
            **made["packages"],
            "python": made["python"],
            "git_commit": made["git_commit"],
        },
    }


def table(result: dict[str, Any]) -> str:
    """The result as a person reads it."""
    rates = result["images_per_second"].items()
    return "\n".join(
        [
            f"batches of {result['batch']} images, 32x32x3: images/s",
            *(f"{name:20} {rate:12,.0f}" for name, rate in rates),
            f"{PAD}: {1e3 * result['seconds']:.2f} ms, {100 * result['ratio']:.2f} % of a "
            f"ResNet-20 step ({1e3 * result['resnet20_step_seconds']:.0f} ms)",
            f"{result['machine']['cores']} cores, load {result['machine']['load_average']:.1f}; "
            f"{', '.join(result['machine']['devices'])}; jax {result['versions']['jax']}",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=128, help="images")
    parser.add_argument("--repeats", type=int, default=15, help="timed calls of each")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    arguments = parser.parse_args()
    result = measure(arguments.batch, arguments.repeats)
    as_json = arguments.format == "json"
    print(table(result), file=sys.stderr if as_json else sys.stdout)
    if as_json:
        print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
