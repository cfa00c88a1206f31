"""Read pickles of arrays and of plain values, and run nothing that they name.

A pickle may call any function. Here the only names that it may use are the constructors of numpy's
arrays, and even these are replaced by classes that keep what they are given: an array is made of it
by `as_array`, after its type, shape and size have been checked.
"""

import io
import pickle
from typing import Any

import numpy as np

KINDS = ("|b1", "|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f4", "<f8")


class StoredType:
    """Keeps the arguments of numpy.dtype, of which the first is the name of the type."""

    def __init__(self, name: object, *flags: object):
        self.name = name.decode("ascii") if isinstance(name, bytes) else name

    def __setstate__(self, state: Any) -> None:
        if state[1] == ">" or state[1] == b">":
            raise pickle.UnpicklingError("it has an array of big-endian numbers")

    def numpy_type(self) -> np.dtype:
        """Return the type. Raises UnpicklingError if it is not one of plain numbers."""
        for kind in KINDS:
            if self.name in (kind, kind[1:], np.dtype(kind).name):
                return np.dtype(kind)
        raise pickle.UnpicklingError(f"it has an array of {self.name!r}, not of plain numbers")


class StoredArray:
    """Keeps the state of a pickled array: its shape, type and bytes."""

    def __init__(self, *arguments: object):
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def array(self) -> np.ndarray:
        """Return the array. Raises UnpicklingError if the state is not that of an array."""
        match self.state:
            case (
                _,
                tuple() as shape,
                StoredType() as kind,
                bool() | int() as fortran,
                bytes() as b,
            ):
                found = np.frombuffer(b, kind.numpy_type())
                return found.reshape(shape, order="F" if fortran else "C")
        raise pickle.UnpicklingError("it has an array without its bytes")


def from_buffer(buffer: Any, kind: Any, shape: Any, order: Any) -> StoredArray:
    """Stand in for numpy's function of this name, which pickles of protocol 5 use."""
    if not isinstance(buffer, bytes | bytearray):
        raise pickle.UnpicklingError("it has an array without its bytes")
    found = StoredArray()
    found.state = (1, shape, kind, order in ("F", b"F"), bytes(buffer))
    return found


def encode(text: str, encoding: object) -> bytes:
    """Stand in for codecs.encode, by which Python 3 stores bytes in pickles for Python 2."""
    return text.encode("latin-1")


ADMITTED = {
    "_codecs.encode": encode,
    "numpy.dtype": StoredType,
    "numpy.ndarray": StoredArray,
    **{f"numpy.{core}.multiarray._reconstruct": StoredArray for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": from_buffer for core in ("core", "_core")},
}


class ArrayUnpickler(pickle._Unpickler):  # type: ignore[name-defined, misc]
    """Finds nothing but what is ADMITTED.

    It is Python's own and not that in C, which reserves as much memory as a damaged pickle says.
    """

    def find_class(self, module: str, name: str) -> Any:
        wanted = f"{module}.{name}"
        if wanted not in ADMITTED:
            raise pickle.UnpicklingError(f"it names {wanted}: a pickle of arrays has no such thing")
        return ADMITTED[wanted]


def load(content: bytes) -> dict[str, Any]:
    """Return the dictionary in a pickle, with its keys as text.

    The values may be arrays, which `as_array` returns. Raises UnpicklingError if the pickle names
    anything but arrays, and any other exception if it is damaged.
    """
    found = ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
    if not isinstance(found, dict):
        raise pickle.UnpicklingError("it holds no dictionary")
    return {k.decode("latin-1") if isinstance(k, bytes) else str(k): v for k, v in found.items()}


def as_array(value: Any) -> np.ndarray:
    """Return a value of the dictionary, an array or a list of whole numbers, as an array."""
    if isinstance(value, StoredArray):
        return value.array()
    if isinstance(value, list) and all(type(v) is int and 0 <= v < 2**31 for v in value):
        return np.array(value, np.int64)
    raise pickle.UnpicklingError("it has a value that is neither an array nor a list of numbers")
