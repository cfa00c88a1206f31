"""Commands of data: to get it, and to see what augmentation makes of it."""

import argparse
from pathlib import Path

from cnn_archs.commands.shared import Declare, check_output, emit
from cnn_archs.errors import ConfigError


def declare(command: Declare) -> None:
    c = command(prepare)
    c.add_argument("dataset", metavar="DATASET", help="a tfds dataset, like mnist")
    c.add_argument("--data_dir", default="", help="default: $TFDS_DATA_DIR, else tfds' own")
    c = command(augment, "config")
    c.add_argument("--output", default="augment.png", metavar="FILE", help="(default: %(default)s)")
    c.add_argument("--images", type=int, default=8, help="rows (default: %(default)s)")
    c.add_argument("--variants", type=int, default=7, help="of each (default: %(default)s)")


def prepare(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Downloads a tfds dataset and prepares it as array_record (extra `prepare`)."""
    from cnn_archs.data import prepare

    done = prepare.prepare(arguments.dataset, arguments.data_dir)
    emit(arguments, done, f"{done['name']} is in {done['path']}")


def augment(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Draws training images beside what an experiment's augmentation makes of them."""
    from cnn_archs import config as configs

    config = configs.load(arguments.config, overrides)
    output = Path(arguments.output)
    check_output(output)
    if min(arguments.images, arguments.variants) < 1:
        raise ConfigError("augment: --images and --variants must be at least 1")

    from cnn_archs import pictures
    from cnn_archs.train import guard

    with guard.writing(output.parent):
        done = pictures.variants(config, output, arguments.images, arguments.variants)
    text = f"{done['file']}: {done['images']} images and {done['variants']} variants of each"
    emit(arguments, done, text)
