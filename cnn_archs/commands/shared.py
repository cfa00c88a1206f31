"""Shared parts of the commands: their declaration, checks of paths, and printing."""

import argparse
import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from cnn_archs.config_files import split_argument
from cnn_archs.errors import ConfigError, escaped
from cnn_archs.runtime.console import print_result

# cli.add_command without its first parameter: declare a command and get its parser.
Declare = Callable[..., argparse.ArgumentParser]


def user_path(text: str) -> str:
    """Return a path with ~ expanded, which shells leave as it is in `--workdir=~/x`."""
    return os.path.expanduser(text)


def check_output(output: Path, suffix: str, flag: str = "--output") -> None:
    """Raise ConfigError unless a file of the kind `suffix` can be written at `output`.

    flag: whose value `output` is. Other programs tell the kind of a file by the end of its name, so
    a file must end in its own; a device, such as /dev/null, may have any name.
    """
    if not output.resolve().parent.is_dir():
        raise ConfigError(f"{flag}: there is no folder {output.resolve().parent}")
    if output.is_dir():
        raise ConfigError(f"{flag}={output} is a folder: name a file")
    if output.suffix != suffix and (output.is_file() or not output.exists()):
        right = output.name.removesuffix(output.suffix).removesuffix(suffix) + suffix
        raise ConfigError(
            f"{flag}={output}: the name of the file must end in {suffix}, as in "
            f"{flag}={output.with_name(right)}"
        )


def check_at_least(least: int, **values: int) -> None:
    """Raise ConfigError if a flag's value is below `least`. values: name of the flag -> value."""
    for flag, value in values.items():
        if value < least:
            raise ConfigError(f"--{flag}={value}: must be at least {least}")


def declare_changed_data(parser: argparse.ArgumentParser) -> None:
    """Declare the flag --accept_changed_data."""
    parser.add_argument(
        "--accept_changed_data",
        action="store_true",
        help="go on with a run whose images have changed since it began; its record, history and "
        "result will say so",
    )


def declare_data_dir(parser: argparse.ArgumentParser) -> None:
    """Declare the flag --data_dir."""
    parser.add_argument(
        "--data_dir",
        default="",
        type=user_path,
        metavar="DIR",
        help="where the images are: the folder of images, or of tfds' datasets (default: where "
        "they were in training)",
    )


def declare_normalization(parser: argparse.ArgumentParser) -> None:
    """Declare the flag --normalization, for `normalizations.normalization_overrides`."""
    parser.add_argument(
        "--normalization",
        default="",
        metavar="NAME",
        help="the network's input, as data.mean, data.std, data.pixel_range and "
        "data.channel_order: imagenet (torchvision's), caffe, inception, cifar10, cifar100, mnist, "
        "or none (pixels from 0 to 1)",
    )


def default_workdir(experiment: str) -> str:
    """Return runs/NAME for an experiment or sweep, or runs/NAME_ARGUMENT if it has an argument."""
    path, argument = split_argument(experiment)
    stem = Path(path).name.removesuffix(".py")
    return f"runs/{stem}_{argument}" if argument else f"runs/{stem}"


def require_workdir(arguments: argparse.Namespace) -> Path:
    """Return --workdir. Raises ConfigError unless it is given and holds a run."""
    return require_run(Path(require_workdir_flag(arguments)))


def require_workdirs(arguments: argparse.Namespace) -> list[Path]:
    """Return the folders of --workdir=A[,B,...]. Raises ConfigError unless each holds a run."""
    return [require_run(folder) for folder in split_folders(require_workdir_flag(arguments))]


def split_folders(text: str) -> list[Path]:
    """Split `a,b` into folders; a comma that belongs to the name of one does not divide it."""
    parts = text.split(",")
    for count in range(len(parts), 1, -1):
        folder = Path(user_path(",".join(parts[:count])))
        if folder.is_dir():
            return [folder, *(split_folders(",".join(parts[count:])) if parts[count:] else [])]
    return [Path(user_path(parts[0])), *(split_folders(",".join(parts[1:])) if parts[1:] else [])]


def declare_weights(parser: argparse.ArgumentParser) -> None:
    """Declare the flag --weights, for `trained_runs`."""
    parser.add_argument(
        "--weights",
        default="",
        metavar="NAME",
        help="in place of --workdir: trained weights that come with the package, such as "
        "lenet5_mnist, or a .safetensors file with its card beside it",
    )


@contextmanager
def trained_runs(arguments: argparse.Namespace) -> Iterator[list[Path]]:
    """Yield the folders of the runs of --workdir=A[,B,...] or --weights=A[,B,...].

    Those of --weights exist during the body only. Raises what `check_trained_runs` does.
    """
    check_trained_runs(arguments)
    if not arguments.weights:
        yield require_workdirs(arguments)
        return
    from cnn_archs.conversion.stored import run_of_weights

    with ExitStack() as runs:
        names = split_names(arguments.weights)
        yield [runs.enter_context(run_of_weights(name)) for name in names]


def check_trained_runs(arguments: argparse.Namespace) -> None:
    """Raise ConfigError unless --workdir or --weights, one of them, is given and names runs."""
    if arguments.workdir and arguments.weights:
        raise ConfigError(f"{arguments.command} takes --workdir or --weights, not both")
    if arguments.weights:
        from cnn_archs.conversion.stored import locate_weights

        for name in split_names(arguments.weights):
            locate_weights(name)
    elif arguments.workdir:
        require_workdirs(arguments)
    else:
        raise ConfigError(
            f"{arguments.command} needs --workdir=DIR, the folder of a run, or --weights=NAME"
        )


def require_workdir_flag(arguments: argparse.Namespace) -> str:
    """Return the text of --workdir. Raises ConfigError if it is not given."""
    if not arguments.workdir:
        raise ConfigError(f"{arguments.command} needs --workdir=DIR, the folder of a run")
    return str(arguments.workdir)


def require_run(workdir: Path) -> Path:
    """Return `workdir`. Raises ConfigError unless it holds a run."""
    from cnn_archs.run_dir import RunDir

    RunDir(workdir).check_run()
    return workdir


def split_names(text: str) -> list[str]:
    """Split `a,b` into its names; an empty text has none."""
    return text.split(",") if text else []


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Format rows as CSV, each of them one line, in which a spreadsheet finds no formula.

    A text that begins like a formula, and is no number, gets an apostrophe in front of it.
    """
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(map(csv_cell, row) for row in rows)
    return file.getvalue().rstrip("\n")


def csv_cell(value: object) -> str:
    text = escaped(str(value))
    if not text.startswith(("=", "+", "-", "@")):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def emit(arguments: argparse.Namespace, value: Any, text: str) -> None:
    """Print `value` as one JSON document with --format=json, and `text` otherwise."""
    print_result(json.dumps(value, indent=1) if arguments.format == "json" else text)
