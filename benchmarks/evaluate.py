"""Measure the photographs per second of each test protocol, on a CPU.

python benchmarks/evaluate.py [--network=18] [--side=224] [--images=4] [--batch=4]
    [--protocols=single,dense] [--format=json] [--write]
There is no goal. `ratio` is the seconds per view of the slowest protocol / those of `single`, which
shows the cost of resizing, cutting and larger images.

The images are drawings of 500x375, read, decoded and resized on the host as `evaluate` does it. The
network is a residual net with its initial weights and an input of `side` x `side` pixels, and all
scales of the experiment are changed in that proportion. Each protocol is run once to compile its
programs and then timed.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import common


def experiment_of(network: str, side: int, folder: Path) -> Any:
    """Resolve the experiment of `network` on the images of `folder`, with inputs of side `side`."""
    from cnn_archs import config as configs
    from cnn_archs.experiment import start_experiment

    usual = configs.load_config(f"resnet_imagenet:{network}", [])
    sizes = {key: usual.crop[key] for key in ("smallest", "largest", "evaluate")}
    scales = [round(scale * side / 224) for scale in usual.test_scales]
    overrides = [
        "data.name=image_folder",
        f"data.data_dir={folder}",
        "data.holdout=0",
        "data.mean=none",
        "schedule.name=constant",
        f"data.image_shape=({side},{side},3)",
        f"test_scales={tuple(scales)}".replace(" ", ""),
        *(f"crop.{key}={round(value * side / 224)}" for key, value in sizes.items()),
    ]
    return start_experiment(configs.load_config(f"resnet_imagenet:{network}", overrides))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Time all protocols, one row each."""
    from drawings import draw

    with tempfile.TemporaryDirectory() as folder:
        # A fifth of the folder becomes the test split.
        draw(Path(folder), 5 * options.images)
        rows = rows_of(experiment_of(options.network, options.side, Path(folder)), options)
    seconds_per_view = {row["protocol"]: row["seconds"] / row["views"] for row in rows}
    return {
        "ratio": max(seconds_per_view.values())
        / seconds_per_view.get("single", max(seconds_per_view.values())),
        "rows": rows,
        "network": f"resnet{options.network}",
        "side": options.side,
        "images": options.images,
    }


def rows_of(experiment: Any, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the seconds per image and the number of views of each protocol."""
    import jax

    from cnn_archs import models
    from cnn_archs.distributed import mesh as meshes
    from cnn_archs.evaluate import protocols, views

    net, mesh = experiment.net, meshes.make_mesh()
    variables = models.init(net.model, jax.random.key(0), net.image_shape)
    data: Any = experiment.dataset.split("test", net.inputs.crop)
    add = protocols.compile_add_probabilities(net.model, mesh)
    cut = protocols.compile_view_cutter(net.inputs, {}, False, mesh)
    rows = []
    for protocol in options.protocols.split(",") if options.protocols else views.PROTOCOLS:
        passes = views.protocol_passes(protocol, net.inputs.crop, experiment.test_scales)

        def run(passes: Any = passes) -> None:
            shown: Any = (net, [variables], data, passes, {}, options.batch, mesh)
            assert protocols.mean_probabilities(*shown).readable.all()

        with (  # lets the second call find the programs of the first
            mock.patch.object(protocols, "compile_add_probabilities", lambda *_: add),
            mock.patch.object(protocols, "compile_view_cutter", lambda *_: cut),
        ):
            run()
            turn, _ = common.timed(run, len(data))
        number = views.count_views(passes, net.inputs.crop.out)
        rows.append({"protocol": protocol, "views": number, **turn._asdict()})
        common.say(f"{protocol}: {1 / turn.seconds:.2f} images/s")
    return rows


def table(result: dict[str, Any]) -> common.Rows:
    """Return the rows: images and views per second of each protocol."""
    label = f"{result['network']} at {result['side']}x{result['side']}"
    rows = [(f"protocol, {label}", "views", "images/s", "views/s")]
    for row in result["rows"]:
        rate = 1 / row["seconds"]
        views = f"{rate * row['views']:.1f}"
        rows.append((row["protocol"], str(row["views"]), f"{rate:.2f}", views))
    return rows


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--network", default="18", help="argument of resnet_imagenet (default: 18)")
    parser.add_argument("--side", type=int, default=224, help="input side in pixels (default: 224)")
    parser.add_argument("--images", type=int, default=4, help="number of test images (default: 4)")
    parser.add_argument("--batch", type=int, default=4, help="images per batch (default: 4)")
    parser.add_argument("--protocols", default="", help="NAME,... (default: all)")


if __name__ == "__main__":
    common.main(__doc__, declare, measure, table)
