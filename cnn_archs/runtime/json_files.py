"""Read JSON files and files of JSON lines, and check that they have the shape that is expected.

A shape is a type, a tuple of types, `[shape]` for a list of any length, or {key: shape} for an
object. A key that ends with `?` may be missing, and `...` is the shape of all other keys, which may
be anything if it is not stated.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from cnn_archs.errors import DataError
from cnn_archs.runtime.console import print_status
from cnn_archs.runtime.files import check_regular, read_errors

Shape = Any
NUMBER = (int, float)
MOST_BYTES = 2**28  # of a JSON object
MOST_BYTES_OF_A_LINE = 2**24


def read_json(path: Path, shape: Shape = dict) -> dict[str, Any]:
    """Read a JSON object of a shape. Raises DataError if it is missing, damaged or of another."""
    with read_errors(path), open_regular(path) as file:
        encoded = file.read(MOST_BYTES + 1)
        if len(encoded) > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES // 2**20} MB")
        tree = decode_object(encoded)
    if wrong := wrong_shape(tree, shape):
        raise DataError(f"{path} is damaged: {wrong}")
    return tree


def read_json_lines(path: Path, shape: Shape) -> list[dict[str, Any]]:
    """Read a file with one JSON object of a shape per line; [] if there is no such file.

    Other lines are left out, and one line on stderr says which: a process may have been killed
    while it wrote the last one, or the disk may have lost some.
    """
    if not path.exists():
        return []
    found, lost = [], []
    number = 0
    with read_errors(path), open_regular(path) as file:
        while line := file.readline(MOST_BYTES_OF_A_LINE):
            number += 1
            try:
                if len(line) == MOST_BYTES_OF_A_LINE:
                    read_to_end_of_line(file)
                    raise ValueError("a line that is too long")
                value = decode_object(line)
                if wrong := wrong_shape(value, shape):
                    raise ValueError(wrong)
                found.append(value)
            except (ValueError, RecursionError):
                lost.append(number)
    if lost:
        which = f"line {lost[0]}" if len(lost) == 1 else f"lines {lost[0]} to {lost[-1]}"
        print_status(
            f"{path}: {len(lost)} of {number:,} lines are damaged or cut off ({which}) and are "
            "left out"
        )
    return found


def open_regular(path: Path) -> BinaryIO:
    """Open a file to read its bytes. Raises OSError for a pipe or a device, which may block."""
    check_regular(path)
    return open(path, "rb")


def read_to_end_of_line(file: BinaryIO) -> None:
    while (rest := file.readline(MOST_BYTES_OF_A_LINE)) and not rest.endswith(b"\n"):
        pass


def decode_object(encoded: bytes) -> dict[str, Any]:
    """Decode a JSON object from UTF-8. Raises ValueError if it is anything else."""
    value = json.loads(
        encoded.decode(),
        parse_constant=refuse_number,
        parse_float=decode_float,
        parse_int=decode_int,
    )
    if not isinstance(value, dict):
        raise ValueError(f"a JSON object was expected, not {type(value).__name__}")
    return value


def refuse_number(text: str) -> NoReturn:
    raise ValueError(f"{text:.20} is not a finite number")


def decode_float(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else refuse_number(text)


def decode_int(text: str) -> int:
    if len(text) > 19:
        raise ValueError(f"{text[:20]}... is too large a number")
    return int(text)


def wrong_shape(value: Any, shape: Shape, name: str = "") -> str:
    """Return what is wrong with a value, in words that name its place; "" if it has the shape.

    name: the place of the value in its file.
    """
    if isinstance(shape, Mapping):
        if not isinstance(value, dict):
            return f"{name} is {value!r:.40}"
        return wrong_keys(value, shape, name and f"{name}.")
    if isinstance(shape, list):
        if not isinstance(value, list):
            return f"{name} is {value!r:.40}"
        found = (wrong_shape(v, shape[0], f"{name}[{i}]") for i, v in enumerate(value))
        return next(filter(None, found), "")
    kinds = shape if isinstance(shape, tuple) else (shape,)
    # True is an int for Python.
    fits = isinstance(value, kinds) and (not isinstance(value, bool) or {bool, object} & {*kinds})
    return "" if fits else f"{name} is {value!r:.40}"


def wrong_keys(tree: dict[str, Any], shape: Mapping[Any, Shape], prefix: str) -> str:
    """Return what is wrong with the keys and values of an object; see `wrong_shape`."""
    stated = {key.removesuffix("?"): of for key, of in shape.items() if key is not ...}
    for key in shape:
        if key is not ... and not key.endswith("?") and key not in tree:
            return f"it has no {prefix}{key}"
    others = shape.get(..., object)
    found = (wrong_shape(v, stated.get(key, others), f"{prefix}{key}") for key, v in tree.items())
    return next(filter(None, found), "")


def check_shape(path: Path, value: Any, shape: Shape, name: str = "") -> None:
    """Raise DataError unless a value has a shape. path: its file. name: its place there."""
    if wrong := wrong_shape(value, shape, name):
        raise DataError(f"{path} is damaged: {wrong}")
