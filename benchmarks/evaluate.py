"""Photographs a second under each test protocol, on a CPU.

python benchmarks/evaluate.py [--network=18] [--side=224] [--images=4] [--batch=4]
    [--protocols=single,dense] [--format=json] [--write]
There is no goal. `ratio`: the seconds of a view in the slowest protocol / those in `single`, which
says what resizing and cutting add, and what larger images cost.

The images are drawings of 500x375, read, decoded and resized on the host as `evaluate` does; the
network is a residual net at its first weights, which sees `side` x `side` pixels; all scales are
the experiment's, in that proportion. Each protocol is run once to compile its programs, and timed
then.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import common


def experiment_of(network: str, side: int, folder: Path) -> Any:
    """The experiment, seeing smaller images of a folder."""
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
    """A row for each protocol."""
    from drawings import draw

    with tempfile.TemporaryDirectory() as folder:
        # A fifth of the folder is the test.
        draw(Path(folder), 5 * options.images)
        rows = rows_of(experiment_of(options.network, options.side, Path(folder)), options)
    a_view = {row["protocol"]: row["seconds"] / row["views"] for row in rows}
    return {
        "ratio": max(a_view.values()) / a_view.get("single", max(a_view.values())),
        "rows": rows,
        "network": f"resnet{options.network}",
        "side": options.side,
        "images": options.images,
    }


def rows_of(experiment: Any, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Seconds an image and number of views of each protocol."""
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

        with (  # so that the second call finds the programs of the first
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
    """Images a second."""
    label = f"{result['network']} at {result['side']}x{result['side']}"
    rows = [(f"protocol, {label}", "views", "images/s", "views/s")]
    for row in result["rows"]:
        rate = 1 / row["seconds"]
        views = f"{rate * row['views']:.1f}"
        rows.append((row["protocol"], str(row["views"]), f"{rate:.2f}", views))
    return rows


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--network", default="18", help="argument of resnet_imagenet")
    parser.add_argument("--side", type=int, default=224, help="of what the network sees, pixels")
    parser.add_argument("--images", type=int, default=4, help="that are tested")
    parser.add_argument("--batch", type=int, default=4, help="images at a time")
    parser.add_argument("--protocols", default="", help="NAME,... (default: all)")


if __name__ == "__main__":
    common.main(__doc__, declare, measure, table)
