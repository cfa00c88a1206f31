"""Trained weights that are kept as files with a card each, and runs made of them.

NAME.safetensors holds the weights. NAME.json, its card, holds what a run needs beside them and what
they were made by; NAME.md says the same to a reader. Those that come with the package stand in the
folder `weights`.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from cnn_archs import config as configs
from cnn_archs.conversion.import_weights import fitting_variables, read_state
from cnn_archs.data.corruption import data_errors
from cnn_archs.data.loading.pixel_statistics import write_statistics
from cnn_archs.data.record import Recorded, parse_record, write_record
from cnn_archs.errors import ConfigError, DataError, closest_word, escaped
from cnn_archs.experiment import resolve_settings
from cnn_archs.run_dir import RunDir
from cnn_archs.runtime.files import file_sha256, read_errors
from cnn_archs.runtime.json_files import Shape, read_json
from cnn_archs.shipped import shipped_folder
from cnn_archs.training.weights_file import create_run

SUFFIX = ".safetensors"
CARD: Shape = {"name": str, "sha256": str, "config": dict, "data": dict, "statistics": {...: list}}


def list_weights() -> list[str]:
    """List the names of the weights that come with the package."""
    return sorted(path.stem for path in shipped_folder("weights").glob(f"*{SUFFIX}"))


def is_weights(text: str) -> bool:
    """Return whether `text` names weights of the package, or ends as a file of weights does."""
    return text in list_weights() or text.endswith(SUFFIX)


def locate_weights(text: str) -> Path:
    """Return the file of weights that `text` names: one of the package's, or a path.

    Raises ConfigError if there is none, or no card beside it.
    """
    path, names = Path(text).expanduser(), list_weights()
    if text in names:
        return shipped_folder("weights") / f"{text}{SUFFIX}"
    if path.suffix != SUFFIX:
        near = closest_word(text, names)
        hint = f"did you mean {near!r}?" if near else f"there are {', '.join(names) or 'none'}"
        raise ConfigError(f"there are no weights {text!r}; {hint}; a file ends in {SUFFIX}")
    if not path.is_file():
        raise ConfigError(f"there is no file {path}")
    if not path.with_suffix(".json").is_file():
        raise ConfigError(
            f"{path} has no card {path.with_suffix('.json').name} beside it, which says what "
            "network and images it is for: make a run of it with 'cnn-archs import'"
        )
    return path


@contextmanager
def run_of_weights(text: str) -> Iterator[Path]:
    """Yield the folder of a run of the weights that `text` names; it exists during the body.

    Raises ConfigError if there are none, DataError if a file is damaged.
    """
    path = locate_weights(text)
    card = read_json(path.with_suffix(".json"), CARD)
    with tempfile.TemporaryDirectory(prefix="cnn-archs-") as folder:
        workdir = Path(folder) / path.stem
        make_run(path, card, workdir, called=text)
        yield workdir


def make_run(path: Path, card: Mapping[str, Any], workdir: Path, called: str) -> None:
    """Make `workdir` a run with the weights of the file `path`, which `card` belongs to.

    called: what the user calls the weights, for messages, which do not name `workdir`.
    """
    with read_errors(path):
        digest = file_sha256(path)
    if digest != card["sha256"]:
        raise DataError(f"{path} is not the file that its card is of: its content differs")
    where = path.with_suffix(".json")
    with data_errors(str(where)):
        record = parse_record(card["data"])
        statistics = {
            name: np.array(values, np.float32) for name, values in card["statistics"].items()
        }
    config = configs.parse_config(card["config"], where)
    settings = resolve_settings(config, Recorded(record, {}))
    state, _ = read_state(path, settings, strides="")
    variables = fitting_variables(path, settings, state, new_head=False)
    trained = {"weights": escaped(called), "steps": card.get("steps", 0)}
    create_run(workdir, settings, variables, path, {"file": escaped(path.name), **trained})
    write_record(RunDir(workdir), record, {})
    if statistics:
        write_statistics(RunDir(workdir).statistics, statistics)
