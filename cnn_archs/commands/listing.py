"""The command that lists what the other commands take by name."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from cnn_archs.commands.shared import Declare, emit
from cnn_archs.config_files import EXPERIMENTS, execute_file, list_names
from cnn_archs.config_keys import unknown_message
from cnn_archs.errors import ConfigError

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
    """List the networks, each with the first line of its documentation."""
    from cnn_archs import models

    return [{"name": name, "is": models.describe(name)} for name in models.MODELS]


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
