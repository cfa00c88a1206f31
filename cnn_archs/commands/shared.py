"""What several commands do alike: say what they take, find a run, print."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cnn_archs.errors import ConfigError

# declare(command, *flags, forms=...) -> the parser of that command, for further arguments.
Declare = Callable[..., argparse.ArgumentParser]


def check_output(output: Path, flag: str = "--output") -> None:
    """ConfigError where a file `output`, which `flag` names, cannot be."""
    if not output.resolve().parent.is_dir():
        raise ConfigError(f"{flag}: there is no folder {output.resolve().parent}")
    if output.is_dir():
        raise ConfigError(f"{flag}={output} is a folder: name a file")


def default_workdir(experiment: str) -> str:
    """runs/<experiment>, with its argument where it has one."""
    path, _, argument = experiment.partition(":")
    stem = Path(path).name.removesuffix(".py")
    return f"runs/{stem}_{argument}" if argument else f"runs/{stem}"


def workdir_of(arguments: argparse.Namespace) -> Path:
    """The --workdir that must be there, with a run in it."""
    if not arguments.workdir:
        raise ConfigError(f"{arguments.command}: which run? --workdir=DIR")
    return run_in(Path(arguments.workdir))


def workdirs_of(arguments: argparse.Namespace) -> list[Path]:
    """Those of --workdir=A[,B,...], each with a run in it."""
    if not arguments.workdir:
        raise ConfigError(f"{arguments.command}: which run? --workdir=DIR")
    return [run_in(Path(workdir)) for workdir in arguments.workdir.split(",")]


def run_in(workdir: Path) -> Path:
    """`workdir`, if there is a run in it."""
    from cnn_archs.run_dir import RunDir

    RunDir(workdir).check_run()
    return workdir


def names_of(text: str) -> list[str]:
    """The names in `a,b`; none in an empty text."""
    return text.split(",") if text else []


def emit(arguments: argparse.Namespace, value: Any, text: str) -> None:
    """On stdout: `value` as one JSON document, or `text`."""
    print(json.dumps(value, indent=1) if arguments.format == "json" else text, flush=True)
