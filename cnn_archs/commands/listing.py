"""The command that lists what the other commands take by name."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from cnn_archs.commands.shared import Declare, emit
from cnn_archs.config_files import EXPERIMENTS, execute_file, list_names
from cnn_archs.config_keys import unknown_message
from cnn_archs.errors import ConfigError

PAPERS = {  # of the networks in each file of models/
    "lenet": "LeCun et al. 1998",
    "lenet_ancestors": "LeCun et al. 1998",
    "mnist_nets": "lecture notes",
    "cifar_cnn": "Krizhevsky et al. 2012",
    "alexnet": "Krizhevsky et al. 2012",
    "zfnet": "Zeiler & Fergus 2013",
    "nin": "Lin et al. 2013",
    "vgg": "Simonyan & Zisserman 2014",
    "googlenet": "Szegedy et al. 2014",
    "inception": "Szegedy et al. 2014",
    "inception_v2": "Ioffe & Szegedy 2015",
    "inception_v3": "Szegedy et al. 2015",
    "inception_v4": "Szegedy et al. 2016",
    "inception_resnet": "Szegedy et al. 2016",
    "resnet": "He et al. 2015",
}
Rows = list[dict[str, object]]  # one for each name, with the same keys


def declare(command: Declare) -> None:
    c = command(
        list_,
        examples=(
            "cnn-archs list",
            "cnn-archs list experiments",
            "cnn-archs list networks --format=json",
        ),
    )
    c.add_argument(
        "what",
        nargs="?",
        default="",
        metavar="WHAT",
        help=f"{', '.join(list(LISTS)[:-1])} or {list(LISTS)[-1]} (default: all of them)",
    )


def list_(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """List the networks, experiments, sweeps, datasets and test protocols."""
    if arguments.what and arguments.what not in LISTS:
        raise ConfigError(unknown_message("list", arguments.what, list(LISTS), what="list"))
    names = [arguments.what] if arguments.what else list(LISTS)
    found = {name: LISTS[name]() for name in names}
    if arguments.what:
        return emit(arguments, found[arguments.what], rows_text(found[arguments.what]))
    emit(arguments, found, "\n\n".join(f"{n}\n\n{rows_text(rows)}" for n, rows in found.items()))


def list_networks() -> Rows:
    """List the networks: paper, layers with weights, and the settings of each form."""
    from cnn_archs import models
    from cnn_archs.report.runs import depth_of, format_setting

    rows: Rows = []
    for name in models.MODELS:
        fields, preset = models.fields(name), models.presets(name)
        family = models.module_of(name).__module__.rpartition(".")[2]
        later = preset.get("unit") == "preactivation"
        rows.append(
            {
                "name": name,
                "layers": str(depth_of(fields) or ""),
                "paper": "He et al. 2016" if later else PAPERS[family],
                "settings": " ".join(f"{k}={format_setting(v)}" for k, v in preset.items()),
                "is": models.describe(name),
            }
        )
    return rows


def list_files(folder: Path) -> Rows:
    """List the experiments or sweeps in `folder`, with their arguments and first lines."""
    rows: Rows = []
    for name in list_names(folder):
        module = execute_file(folder / f"{name}.py")
        known: Sequence[str] = [a for a in vars(module).get("ARGUMENTS", ()) if a]
        text = (module.__doc__ or "").partition("\n")[0]
        rows.append({"name": name, "arguments": list(known), "is": text})
    return rows


def list_datasets() -> Rows:
    """List the datasets, and where the files of each are."""
    from cnn_archs.data.datasets import sources, tfds_source

    here = tfds_source.list_prepared()
    rows: Rows = []
    for name, ((h, w, c), classes) in sources.DATASET_SPECS.items():
        train, test = sources.SPLIT_SIZES[name]
        size = f"{h}x{w}x{c}" if h else "varies"
        if name in tfds_source.NOT_OF_TFDS:
            files = "needs none"
        else:
            files = "prepared" if name in here else f"cnn-archs prepare {name}"
        row = {"name": name, "images": size, "classes": classes, "train": train, "test": test}
        rows.append({**row, "files": files})
    unknown = {"images": "", "classes": "", "train": "", "test": "", "files": "prepared"}
    yours = "your own, in --config.data.data_dir=DIR"
    rows.append({"name": "image_folder", **unknown, "images": "varies", "files": yours})
    return rows + [{"name": name, **unknown} for name in here if name not in sources.DATASET_SPECS]


def list_protocols() -> Rows:
    """List the test protocols, each with the views of an image that it takes."""
    from cnn_archs.evaluate import views

    return [{"name": name, "views": views.DESCRIPTIONS[name]} for name in views.PROTOCOLS]


LISTS: Mapping[str, Callable[[], Rows]] = {
    "networks": list_networks,
    "experiments": partial(list_files, EXPERIMENTS),
    "sweeps": partial(list_files, EXPERIMENTS / "sweeps"),
    "datasets": list_datasets,
    "protocols": list_protocols,
}


def rows_text(rows: Rows) -> str:
    """Format rows as a table for a terminal; the arguments of a name stand on lines below it."""
    from cnn_archs.report.table import Table

    heads = [key for key in rows[0] if key != "arguments"]
    lines = []
    for row in rows:
        lines.append([format_cell(row[key]) for key in heads])
        arguments = row.get("arguments", [])
        assert isinstance(arguments, list)
        for i in range(0, len(arguments), 8):
            some = f"  :{' :'.join(arguments[i : i + 8])}"
            lines.append(["", some, *[""] * (len(heads) - 2)])
    words = [i for i, key in enumerate(heads) if not isinstance(rows[0][key], int)]
    return Table(heads, lines, words).text()


def format_cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
