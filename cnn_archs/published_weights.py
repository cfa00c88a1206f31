"""Know published weights, by the digest of their file: `experiments/published_weights.toml`.

Others trained them. Their errors, measured here, are results of their own kind, which no claim of a
paper counts.
"""

import functools
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cnn_archs import config_files
from cnn_archs.errors import DataError
from cnn_archs.normalizations import normalization_values
from cnn_archs.result_files import read_result

FILE = config_files.EXPERIMENTS / "published_weights.toml"


@functools.cache
def known_weights() -> tuple[dict[str, Any], ...]:
    """Return the entries of the file, in its order."""
    return tuple(tomllib.loads(FILE.read_text("utf-8"))["weights"])


def find(sha256: str) -> dict[str, Any] | None:
    """Return what is known of the file with this digest in hexadecimal, or None."""
    return next((known for known in known_weights() if known["sha256"] == sha256), None)


def notes(known: Mapping[str, Any], data: Mapping[str, Any]) -> list[str]:
    """Return sentences about known weights, for a run whose config has the section `data`."""
    name = known["normalization"]
    found = [
        f"this file is {known['network']} of {known['source']}, commit {known['commit']}, license "
        f"{known['license']}: {known['stated']:.2f} % error on {known['dataset']}, as stated there"
    ]
    expected = normalization_values(name)
    if any(data[key] != value for key, value in expected.items()):
        found.append(
            f"it was trained on images normalized with --normalization={name}, but this run has "
            f"data.mean={data['mean']} and data.std={data['std']}"
        )
    return found


def read_evaluation(known: Mapping[str, Any], results: Path) -> dict[str, Any] | None:
    """Read the result of evaluating known weights here; None if the folder `results` has none.

    Raises DataError if the file is damaged, or is the result of other weights.
    """
    path = results / known["result"]
    if not path.is_file():
        return None
    result = read_result(path)
    of_file = result.get("made", {}).get("imported", {})
    if (of_file.get("sha256"), result["name"], result.get("steps")) != (
        known["sha256"],
        known["network"],
        0,
    ):
        raise DataError(f"{path} is no evaluation of {known['file']} as it was published")
    return result
