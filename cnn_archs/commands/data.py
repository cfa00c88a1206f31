"""Commands of data: to get it, and to see what augmentation makes of it."""

import argparse
from pathlib import Path

from cnn_archs.commands.shared import Declare, check_output, emit
from cnn_archs.errors import ConfigError


def declare(command: Declare) -> None:
    c = command(prepare)
    c.add_argument("dataset", metavar="DATASET", help="of tfds, or a name for --image_folder")
    for flag, purpose in (
        ("--data_dir", "where it goes (default: $TFDS_DATA_DIR, else tfds' own)"),
        ("--manual_dir", "where ImageNet's archives are (default: downloads/manual in data_dir)"),
        ("--image_folder", "of whose images DATASET is made"),
    ):
        c.add_argument(flag, metavar="DIR", default="", help=purpose)
    c = command(augment, "config")
    c.add_argument("--output", default="augment.png", metavar="FILE", help="(default: %(default)s)")
    c.add_argument("--images", type=int, default=8, help="rows (default: %(default)s)")
    c.add_argument("--variants", type=int, default=7, help="of each (default: %(default)s)")


def prepare(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Prepares a tfds dataset, or a folder of images, as array_record; run again, it goes on."""
    from cnn_archs.data.prepare import prepare

    done = prepare.prepare(
        arguments.dataset, arguments.data_dir, arguments.manual_dir, arguments.image_folder
    )
    counts = ", ".join(f"{split} {count:,}" for split, count in done["splits"].items())
    emit(arguments, done, f"{done['name']} is in {done['path']}: {counts}")


def augment(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Draws training images beside what an experiment's augmentation makes of them."""
    from cnn_archs import config as configs

    config = configs.load_config(arguments.config, overrides)
    output = Path(arguments.output)
    check_output(output)
    if min(arguments.images, arguments.variants) < 1:
        raise ConfigError("augment: --images and --variants must be at least 1")

    from cnn_archs.experiment import start_experiment
    from cnn_archs.runtime.files import write_errors
    from cnn_archs.visualize import pictures

    with write_errors(output.parent):
        done = pictures.write_variants(
            start_experiment(config), output, arguments.images, arguments.variants
        )
    text = f"{done['file']}: {done['images']} images and {done['variants']} variants of each"
    emit(arguments, done, text)
