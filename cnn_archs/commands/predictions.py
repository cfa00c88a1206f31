"""Commands that show what a trained network makes of images."""

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cnn_archs.commands.processes import FOUND, declare_processes, share_work
from cnn_archs.commands.shared import (
    Declare,
    check_at_least,
    check_output,
    csv_text,
    declare_data_dir,
    declare_weights,
    emit,
    require_workdir,
    trained_runs,
    user_path,
)
from cnn_archs.errors import ConfigError, DataError, escaped
from cnn_archs.runtime.console import print_notes, print_status

TOP = 5  # classes that are printed for an image


def declare(command: Declare) -> None:
    c = command(
        predict,
        forms=("text", "json", "csv"),
        examples=(
            "cnn-archs predict --workdir=runs/lenet5_digits digit.png",
            "cnn-archs predict --workdir=runs/lenet5_digits digit.png --invert --top=3",
            "cnn-archs predict --weights=lenet5_mnist digit.png",
            "cnn-archs predict --workdir=runs/resnet_imagenet_18 photos/test1 --format=csv",
        ),
        notes=f"Several processes share the images, and process 0 prints all of them. {FOUND}",
    )
    c.add_argument("--workdir", type=user_path, metavar="DIR", help="directory of the run")
    declare_weights(c)
    c.add_argument(
        "images",
        nargs="+",
        type=user_path,
        metavar="IMAGE",
        help="image file, or directory of images",
    )
    c.add_argument(
        "--top",
        type=int,
        metavar="K",
        help=f"number of classes to print for each image (default: {TOP}; 1 as CSV)",
    )
    c.add_argument(
        "--invert",
        action="store_true",
        help="predict the negatives of the images: black on white becomes white on black",
    )
    c.add_argument(
        "--sheet",
        type=user_path,
        metavar="FILE",
        help="also draw the images with their classes (PNG)",
    )
    declare_processes(c)
    c = command(
        figures,
        examples=(
            "cnn-archs figures --workdir=runs/lenet5_digits",
            "cnn-archs figures --workdir=runs/lenet5_digits --image=digit.png",
            "cnn-archs figures --workdir=runs/zfnet --kind=deconv --layer=conv3",
            "cnn-archs figures --workdir=runs/resnet50 --kind=gradcam --image=dog.jpg",
        ),
    )
    c.add_argument("--workdir", type=user_path, metavar="DIR", help="directory of the run")
    c.add_argument(
        "--image",
        type=user_path,
        metavar="FILE",
        help="image whose feature maps, or whose explanation, are drawn (default: test images of "
        "the dataset)",
    )
    c.add_argument(
        "--kind",
        choices=("deconv", "occlusion", "gradcam"),
        help="instead, draw what moves the network: deconvnet reconstructions of the strongest "
        "activations of a layer, what a gray square over each place changes, or where Grad-CAM "
        "finds the predicted class",
    )
    c.add_argument(
        "--layer",
        metavar="NAME",
        help="layer of --kind, as 'summarize' names it (default: the last convolution; for "
        "gradcam the last maps)",
    )
    declare_data_dir(c)

    c = command(
        neighbours,
        examples=(
            "cnn-archs neighbours --workdir=runs/alexnet --layer=fc7",
            "cnn-archs neighbours --workdir=runs/lenet5_digits --image=digit.png",
        ),
    )
    c.add_argument("--workdir", type=user_path, metavar="DIR", help="directory of the run")
    c.add_argument(
        "--layer",
        metavar="NAME",
        help="layer whose output are the features, as 'summarize' names it (default: the last "
        "hidden layer, after its activation function)",
    )
    c.add_argument(
        "--image",
        type=user_path,
        metavar="FILE",
        help="image whose nearest training images are found (default: test images)",
    )
    c.add_argument(
        "--images", type=int, default=5, metavar="N", help="number of test images (default: 5)"
    )
    declare_data_dir(c)


def predict(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Print the most probable classes of image files."""
    missing = [f for f in arguments.images if not os.path.lexists(f)]
    if missing:
        raise ConfigError(f"there is no file {missing[0]}")
    if arguments.sheet:
        check_output(Path(arguments.sheet), ".png", "--sheet")
    top = TOP if arguments.top is None else arguments.top
    check_at_least(1, top=top)
    if arguments.format == "csv" and arguments.top not in (None, 1):
        raise ConfigError(
            f"--top={top}: a CSV has the most probable class of each image only; use --format=json "
            "for more"
        )
    share_work(arguments)
    from cnn_archs.distributed import multihost
    from cnn_archs.evaluate import predict

    with multihost.exit_on_error():
        files, notes = files_to_predict(arguments.images)
        with trained_runs(arguments) as workdirs:
            if len(workdirs) > 1:
                raise ConfigError("predict takes one run, not several")
            run = predict.load_predictor(workdirs[0])
        paths = [Path(path) for path in files]
        done = predict.predict_files(run, paths, top, invert=arguments.invert)
    if not multihost.is_primary():
        return
    print_notes(notes)
    if arguments.sheet and done.found:
        from cnn_archs.runtime.files import write_errors
        from cnn_archs.visualize import predictions

        sheet = Path(arguments.sheet)
        with write_errors(sheet.parent):
            predictions.write_predictions(run, done.found, sheet, invert=arguments.invert)
    if done.found or arguments.format != "text":
        emit(arguments, done.found, predictions_text(arguments.format, files, done.found))
    print_notes(done.notes)
    for error in done.errors.values():
        print_status(f"not predicted: {error}")
    if done.errors:
        some = ", ".join(list(done.errors)[:3]) + ", ..." * (len(done.errors) > 3)
        raise DataError(f"{len(done.errors):,} of {len(files):,} files cannot be predicted: {some}")


def files_to_predict(given: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Return {path: name in a table} of the files in `given`, and of the images in its folders.

    Names differ. Returns lines for the user about what is left out too. Raises DataError for a
    folder without images.
    """
    from cnn_archs.data.datasets import image_files, image_folder

    paths, notes = list[Path](), list[str]()
    for f in given:
        if not Path(f).is_dir():
            paths.append(Path(f))
            continue
        found = image_folder.list_unlabeled(f)
        paths += map(Path, found.paths)
        if found.left_out:
            notes.append(image_files.left_out_line(f, found.left_out))
    once = [str(path) for path in {path.absolute(): path for path in paths}.values()]
    if len(once) < len(paths):
        notes.append(f"{len(paths) - len(once)} files are named twice, and predicted once")
    return dict(zip(once, image_files.distinct_names(once), strict=True)), notes


def predictions_text(form: str, names: Mapping[str, str], found: Sequence[dict[str, Any]]) -> str:
    """Format predictions as text, or as CSV in the form of a submission to Kaggle.

    names: path -> name in the CSV, whose labels are the names of classes.
    """
    if form == "csv":
        rows = ((names[p["file"]], p["top"][0]["class"]) for p in found)
        return csv_text([("id", "label"), *rows])
    return "\n".join(
        escaped(p["file"])
        + ": "
        + ", ".join(f"{escaped(t['class'])} {100 * t['probability']:.1f} %" for t in p["top"])
        for p in found
    )


def figures(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Draw a run's filters, confusion matrix, mistakes and feature maps, or what moves it."""
    if arguments.layer and not arguments.kind:
        raise ConfigError(f"--layer={arguments.layer} needs --kind=deconv, occlusion or gradcam")
    workdir = require_workdir(arguments)
    if arguments.image and not Path(arguments.image).is_file():
        raise ConfigError(f"there is no file {arguments.image}")

    from cnn_archs.report.table import Table
    from cnn_archs.runtime.files import write_errors
    from cnn_archs.visualize import explanations, pictures

    with write_errors(workdir):
        image, data_dir = Path(arguments.image) if arguments.image else None, arguments.data_dir
        if arguments.kind:
            layer = arguments.layer or ""
            done = explanations.write_explanation(arguments.kind, workdir, layer, image, data_dir)
        else:
            done = pictures.write_figures(workdir, image, data_dir)
    emit(arguments, done, Table((), list(done.items()), words=(0, 1)).text())


def neighbours(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Find the six training images whose features are nearest to those of each test image."""
    workdir = require_workdir(arguments)
    check_at_least(1, images=arguments.images)
    if arguments.image and not Path(arguments.image).is_file():
        raise ConfigError(f"there is no file {arguments.image}")

    from cnn_archs.report.table import Table
    from cnn_archs.runtime.files import write_errors
    from cnn_archs.visualize import neighbors

    image = Path(arguments.image) if arguments.image else None
    with write_errors(workdir):
        done = neighbors.write_neighbors(
            workdir, arguments.layer or "", image, arguments.images, arguments.data_dir
        )
    rows = [
        (
            one["image"],
            ", ".join(f"{n['class']} {n['distance']:.4g}" for n in one["nearest"]),
        )
        for one in done["images"]
    ]
    head = ("image", "nearest training images, with their distances")
    table = Table(head, rows, words=(0, 1)).text()
    emit(arguments, done, f"{table}\n\n{escaped(done['file'])}: by {done['features']}")
