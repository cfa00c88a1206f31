"""Read the layers of a .caffemodel, without Caffe and without the schema of its messages.

The file is a message of protocol buffers: a sequence of fields, each a key and a value. The key is
8 times the number of the field plus the form of its value: 0 is a number of variable length, 1 and
5 are 8 and 4 bytes, and 2 is a length and so many bytes, which may be a message. The numbers below
are those of Caffe's `caffe.proto`. A network is stored as `layers` in files from before 2015
(V1LayerParameter) and as `layer` since then (LayerParameter).

Nothing in the file decides how much is read at a time or how deep: every message that is looked
into is named here, the number of fields is bounded, and arrays are views of the file's bytes.
"""

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cnn_archs.errors import DataError
from cnn_archs.runtime.files import read_errors, read_regular

MOST_FIELDS = 100_000  # in a file; ResNet-152 has about 20,000
MOST_AXES = 32  # of an array, as in Caffe
MOST_LETTERS = 1000  # of a name
HDF5 = b"\x89HDF\r\n\x1a\n"
Message = memoryview
Value = int | memoryview  # of a field


class Form(NamedTuple):
    """The numbers of the fields of one form of layer. settings: {kind of layer: its field}."""

    name: int
    kind: int
    bottom: int
    top: int
    blobs: int
    settings: Mapping[str, int]


NET_V1, NET_LAYER = 2, 100  # the fields of a network: layers, layer
LAYER = Form(
    name=1,
    kind=2,
    bottom=3,
    top=4,
    blobs=7,
    settings={
        **{"Convolution": 106, "InnerProduct": 117, "LRN": 118, "Pooling": 121},
        **{"ReLU": 123, "BatchNorm": 139},
    },
)
V1 = Form(
    name=4,
    kind=5,
    bottom=2,
    top=3,
    blobs=6,
    settings={"Convolution": 10, "InnerProduct": 17, "LRN": 18, "Pooling": 19, "ReLU": 30},
)
V1_KINDS = {4: "Convolution", 14: "InnerProduct", 15: "LRN", 17: "Pooling", 18: "ReLU"}
V1_OLDEST = 1  # the field of V1LayerParameter that holds a layer of the form before it

METHOD, GLOBAL = "method (0: maximum, 1: mean)", "pooling over the whole map"
# Kind of layer -> {setting: (the numbers of its fields, whether it is a float32, default)}. Where
# there are several fields, the later ones state the height and the width apart.
SETTINGS: dict[str, dict[str, tuple[tuple[int, ...], bool, float]]] = {
    "Convolution": {
        **{"pad": ((3, 9, 10), False, 0), "kernel": ((4, 11, 12), False, 0)},
        **{"stride": ((6, 13, 14), False, 1), "dilation": ((18,), False, 1)},
        **{"group": ((5,), False, 1)},
    },
    "InnerProduct": {"transpose": ((6,), False, 0)},
    "LRN": {
        **{"n": ((1,), False, 5), "alpha": ((2,), True, 1.0), "beta": ((3,), True, 0.75)},
        **{"within_channel": ((4,), False, 0), "k": ((5,), True, 1.0)},
    },
    "Pooling": {
        **{METHOD: ((1,), False, 0), "kernel": ((2, 5, 6), False, 0)},
        **{"stride": ((3, 7, 8), False, 1), "pad": ((4, 9, 10), False, 0)},
        **{GLOBAL: ((12,), False, 0)},
    },
    "ReLU": {"negative_slope": ((1,), True, 0.0)},
    "BatchNorm": {"eps": ((3,), True, 1e-5)},
}


class CaffeLayer(NamedTuple):
    """A layer of a file.

    kind: its type in LayerParameter, such as `InnerProduct`. bottoms, tops: the names of what it
    takes and gives. blobs: its arrays. settings: see SETTINGS; {} if the file states none. A
    setting that differs in height and width is a pair.
    """

    name: str
    kind: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    blobs: tuple[np.ndarray, ...]
    settings: Mapping[str, Any]


def read_caffemodel(path: Path) -> list[CaffeLayer]:
    """Return the layers of a .caffemodel in their order. Raises DataError if it is none."""
    with read_errors(path):
        content = read_regular(path)
    if content.startswith(HDF5):
        raise DataError(
            f"{path} is in Caffe's HDF5 form: save it as binary protobuf, Caffe's usual form"
        )
    try:
        layers = list(Reader().layers(memoryview(content)))
        if not layers:
            raise ValueError("there are no layers in it")
    except ValueError as e:
        raise DataError(f"{path} is not a valid .caffemodel: {e}") from e
    return layers


class Reader:
    """Reads the messages of one file, and counts their fields to stay within MOST_FIELDS."""

    def __init__(self) -> None:
        self.left = MOST_FIELDS

    def layers(self, net: Message) -> Iterator[CaffeLayer]:
        """Yield the layers of a NetParameter."""
        for number, value in self.fields(net):
            if number in (NET_V1, NET_LAYER):
                yield self.layer(message(value), V1 if number == NET_V1 else LAYER)

    def layer(self, layer: Message, form: Form) -> CaffeLayer:
        """Return a layer in the given form."""
        name, kind, bottoms, tops, blobs = "", "", [], [], []
        stated: dict[int, Message] = {}
        for number, value in self.fields(layer):
            if number == form.name:
                name = text(value)
            elif number == form.kind:
                kind = text(value) if form is LAYER else V1_KINDS.get(whole(value), f"type {value}")
            elif number == form.bottom:
                bottoms.append(text(value))
            elif number == form.top:
                tops.append(text(value))
            elif number == form.blobs:
                blobs.append(self.blob(message(value)))
            elif number in form.settings.values():
                stated[number] = message(value)
            elif form is V1 and number == V1_OLDEST:
                raise ValueError(
                    "it is of the form that Caffe had before 2014: convert it with Caffe's "
                    "upgrade_net_proto_binary"
                )
        known = form.settings.get(kind)
        settings = self.settings(stated[known], SETTINGS[kind]) if known in stated else {}
        return CaffeLayer(name, kind, tuple(bottoms), tuple(tops), tuple(blobs), settings)

    def blob(self, blob: Message) -> np.ndarray:
        """Return the array of a BlobProto, as float32 or float64."""
        parts: dict[int, list[Message]] = {5: [], 8: []}  # data, double_data
        old, shape = [0, 0, 0, 0], None
        for number, value in self.fields(blob):
            if number in parts:
                parts[number].append(message(value))
            elif 1 <= number <= 4:  # num, channels, height, width
                old[number - 1] = whole(value)
            elif number == 7:
                shape = [n for field, v in self.fields(message(value)) for n in self.wholes(v)]
        values = joined(parts[5], "<f4") if parts[5] else joined(parts[8], "<f8")
        if shape is None:
            shape = old if any(old) else [values.size]
        if len(shape) > MOST_AXES or math.prod(shape) != values.size:
            stated = "x".join(map(str, shape[:MOST_AXES]))
            raise ValueError(f"an array of shape {stated} has {values.size} numbers")
        return values.reshape(shape)

    def settings(
        self, stated: Message, known: Mapping[str, tuple[tuple[int, ...], bool, float]]
    ) -> dict[str, Any]:
        """Return the settings of a layer; those that are not stated have Caffe's defaults."""
        found: dict[int, list[float]] = {}
        floats = {n: is_float for numbers, is_float, _ in known.values() for n in numbers}
        for number, value in self.fields(stated):
            if number in floats:
                numbers = [single(value)] if floats[number] else self.wholes(value)
                found.setdefault(number, []).extend(numbers)
        settings: dict[str, Any] = {}
        for name, ((number, *apart), _, default) in known.items():
            sides = found.get(number, [default])
            if any(n in found for n in apart):
                sides = [found.get(n, [default])[-1] for n in apart]
            settings[name] = sides[0] if len(set(sides)) == 1 else tuple(sides)
        return settings

    def wholes(self, value: Value) -> list[int]:
        """Return the whole numbers of a repeated field, packed into one value or not."""
        if isinstance(value, int):
            return [whole(value)]
        numbers, at = [], 0
        while at < len(value):
            number, at = varint(value, at)
            numbers.append(whole(number))
            self.count()
        return numbers

    def fields(self, fields: Message) -> Iterator[tuple[int, Value]]:
        """Yield (number, value) of each field: a whole number, or the bytes of all other values.

        Raises ValueError if the bytes are not those of a message.
        """
        at, end = 0, len(fields)
        while at < end:
            self.count()
            key, at = varint(fields, at)
            number, form = key >> 3, key & 7
            if form == 0:
                value, at = varint(fields, at)
                yield number, value
                continue
            size = {1: 8, 5: 4}.get(form)
            if form == 2:
                size, at = varint(fields, at)
            if size is None or number == 0:
                raise ValueError(f"its bytes are not a message: field {number} of form {form}")
            if size > end - at:
                raise ValueError(f"it ends inside a field of {size} bytes")
            yield number, fields[at : at + size]
            at += size

    def count(self) -> None:
        """Count one field. Raises ValueError if there are too many."""
        self.left -= 1
        if self.left < 0:
            raise ValueError(f"it has more than {MOST_FIELDS:,} fields")


def varint(data: Message, at: int) -> tuple[int, int]:
    """Return (the number of variable length at `at`, the position after it).

    Seven bits stand in each byte, the lowest first; the eighth says that more follow.
    """
    number = 0
    for i, byte in enumerate(data[at : at + 10]):
        number |= (byte & 127) << (7 * i)
        if byte < 128:
            return number, at + i + 1
    raise ValueError("it ends inside a number")


def whole(value: Value) -> int:
    """Return a whole number that is not negative. Raises ValueError for anything else."""
    if not isinstance(value, int) or value >= 1 << 63:
        raise ValueError("a size is not a whole number from 0")
    return value


def single(value: Value) -> float:
    """Return a float32. Raises ValueError for anything else."""
    if isinstance(value, int) or len(value) != 4:
        raise ValueError("a setting is not a number of 4 bytes")
    return float(struct.unpack("<f", value)[0])


def message(value: Value) -> Message:
    """Return the bytes of a field. Raises ValueError for a number."""
    if isinstance(value, int):
        raise ValueError("a number stands where a message should")
    return value


def text(value: Value) -> str:
    """Return a text; bytes that are not UTF-8 are escaped. Raises ValueError for a long one."""
    encoded = message(value)
    if len(encoded) > MOST_LETTERS:
        raise ValueError(f"a name in it has {len(encoded):,} bytes")
    return bytes(encoded).decode("utf-8", "backslashreplace")


def joined(parts: Sequence[Message], kind: str) -> np.ndarray:
    """Return the numbers of the type `kind` in all `parts`, without a copy if there is one part."""
    arrays = [np.frombuffer(part, kind) for part in parts]
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays or [np.empty(0, kind)])
