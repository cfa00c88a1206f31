"""Commands that prepare a dataset and show its augmentation."""

import argparse
from pathlib import Path

from cnn_archs.commands.shared import Declare, check_at_least, check_output, emit, user_path
from cnn_archs.errors import escaped
from cnn_archs.runtime.console import counted


def declare(command: Declare) -> None:
    c = command(
        prepare,
        examples=(
            "cnn-archs prepare mnist",
            "cnn-archs prepare cifar10 --from=cifar-10-python.tar.gz",
            "cnn-archs prepare imagenet2012 --manual_dir=archives",
            "cnn-archs prepare photos --image_folder=photos",
        ),
        notes="A stopped preparation is resumed by the same command. mnist, fashion_mnist, kmnist, "
        "cifar10 and cifar100 are downloaded, or read from --from. Datasets other than these, "
        "imagenet2012 and those of --image_folder need TensorFlow: pip install '.[prepare]'",
    )
    c.add_argument(
        "dataset", metavar="DATASET", help="name in tfds, or a new name with --image_folder"
    )
    for flag, purpose in (
        ("--data_dir", "where to write it (default: $TFDS_DATA_DIR, else ~/tensorflow_datasets)"),
        ("--manual_dir", "directory of ImageNet's archives (default: DATA_DIR/downloads/manual)"),
        ("--image_folder", "directory of the images to make DATASET from"),
    ):
        c.add_argument(flag, type=user_path, metavar="DIR", default="", help=purpose)
    c.add_argument(
        "--from",
        dest="source",
        type=user_path,
        metavar="PATH",
        default="",
        help="what you have of mnist, cifar10 or their like: a folder, an archive or an .npz",
    )
    c = command(
        augment,
        config="default",
        examples=(
            "cnn-archs augment --config=shapes:augmented --output=shapes.png",
            "cnn-archs augment --config=cnn_cifar10 --images=4 --variants=10",
        ),
    )
    c.add_argument(
        "--output",
        default="augment.png",
        type=user_path,
        metavar="FILE",
        help="PNG to write (default: %(default)s)",
    )
    c.add_argument(
        "--images", type=int, default=8, metavar="N", help="number of images (default: %(default)s)"
    )
    c.add_argument(
        "--variants",
        type=int,
        default=7,
        metavar="N",
        help="augmented variants of each image (default: %(default)s)",
    )


def prepare(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Prepare a tfds dataset, or a folder of images, as array_record files for training."""
    from cnn_archs.data.prepare import prepare

    done = prepare.prepare_dataset(
        arguments.dataset,
        arguments.data_dir,
        arguments.manual_dir,
        arguments.image_folder,
        arguments.source,
    )
    counts = ", ".join(f"{split} {count:,}" for split, count in done["splits"].items())
    emit(arguments, done, escaped(f"{done['name']} is in {done['path']}: {counts}"))


def augment(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Draw training images beside augmented variants of them."""
    from cnn_archs import config as configs

    config = configs.load_config(arguments.config, overrides)
    output = Path(arguments.output)
    check_output(output, ".png")
    check_at_least(1, images=arguments.images, variants=arguments.variants)

    from cnn_archs.experiment import start_experiment
    from cnn_archs.runtime.files import write_errors
    from cnn_archs.visualize import variants

    with write_errors(output.parent):
        done = variants.write_variants(
            start_experiment(config), output, arguments.images, arguments.variants
        )
    each = f"{counted(done['images'], 'image')} and {counted(done['variants'], 'variant')} of each"
    text = f"{done['file']}: {each}"
    emit(arguments, done, escaped(text))
