"""The kinds of knobs: read a value from text, check it, and say what is wanted.

The annotation of a knob, in `experiments/base.py` or in a network, is its kind:

    bool, str, int, float                a float must be finite, also as a float32
    Literal["a", "b"]                    one of these
    tuple[X, Y], tuple[X, ...]           so many values, or any number of them
    Mapping[str, X]                      a table of rows
    X | Y                                either
    Annotated[X, "RANGE"]                X in a range that LIMITS describes in English, such as
                                         "at least 0 and less than 1"
"""

import ast
import re
import typing
from collections.abc import Callable, Mapping
from types import UnionType
from typing import Annotated, Any, Literal

from cnn_archs.errors import ConfigError

Kind = Any  # an annotation, as above
LARGEST = 3.4028234663852886e38  # of a float32
WORDS = {"true": True, "1": True, "false": False, "0": False}
NAMES = {bool: "true or false", str: "text", int: "a whole number", float: "a number"}

# Pattern of a limit -> whether a value is inside; the numbers of the pattern are arguments.
LIMITS: dict[str, Callable[..., bool]] = {
    "at least (.+)": lambda x, a: x >= a,
    "more than (.+)": lambda x, a: x > a,
    "at most (.+)": lambda x, a: x <= a,
    "less than (.+)": lambda x, a: x < a,
    "from (.+) to (.+)": lambda x, a, b: a <= x <= b,
    "odd": lambda x: x % 2 == 1,
    "counted so that 255 is 1": lambda x: True,  # a unit, for the message
    "in increasing order": lambda x: list(x) == sorted(x),
    "different": lambda x: len(set(x)) == len(x),
}


def parse_value(key: str, text: str, kind: Kind) -> Any:
    """Parse `text`, the value of `key` on the command line, as a value of `kind`.

    Raises ConfigError, which says what is wanted, if it is not one.
    """
    try:
        return convert(read_text(text, kind), kind)
    except ValueError:
        raise ConfigError(f"{key}={shorten(text)}: must be {describe(kind)}") from None


def check_value(key: str, value: Any, kind: Kind) -> Any:
    """Return `value` as a value of `kind`: whole numbers become floats, and lists tuples.

    Raises ConfigError, which says what is wanted, if it is not one. key: for the message.
    """
    try:
        return convert(value, kind)
    except ValueError:
        raise ConfigError(f"{key}={shorten(value)}: must be {describe(kind)}") from None


def read_text(text: str, kind: Kind) -> Any:
    """Return the value that `text` denotes: itself where `kind` is text, otherwise a literal.

    Raises ValueError if it is no literal.
    """
    kind, _ = split_limits(kind)
    if is_union(kind):
        words = [w for k in typing.get_args(kind) if is_choice(k) for w in typing.get_args(k)]
        if text in words:
            return text
    if kind is str or (is_choice(kind) and isinstance(typing.get_args(kind)[0], str)):
        return text
    if kind is bool:
        return WORDS.get(text.lower(), text)
    try:
        return ast.literal_eval(text)
    except (SyntaxError, TypeError, MemoryError, RecursionError) as e:
        raise ValueError from e


def convert(value: Any, kind: Kind) -> Any:
    """Return `value` as a value of `kind`. Raises ValueError if it is not one."""
    kind, limits = split_limits(kind)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if is_union(kind):
        return convert_to_any(value, inner)
    if origin is Literal:
        found = next((x for x in inner if type(x) is type(value) and x == value), None)
        if found is None:
            raise ValueError
        return found
    if origin is tuple:
        value = convert_elements(value, inner)
    elif origin is not None:  # Mapping[str, X]
        if not isinstance(value, Mapping):
            raise ValueError
        return {key: convert(row, inner[1]) for key, row in value.items()}
    elif kind is float:
        value = convert_float(value)
    elif type(value) is not kind:
        raise ValueError
    if not all(is_within(value, limit) for limit in limits):
        raise ValueError
    return value


def convert_to_any(value: Any, kinds: tuple[Kind, ...]) -> Any:
    """Return `value` as a value of the first of `kinds` that it is. Raises ValueError if none."""
    for kind in kinds:
        try:
            return convert(value, kind)
        except ValueError:
            continue
    raise ValueError


def convert_elements(value: Any, kinds: tuple[Kind, ...]) -> tuple[Any, ...]:
    """Return the elements of a sequence as a tuple of `kinds`; a single value is a tuple of one.

    Raises ValueError if there are more or fewer, or if one of them is not of its kind.
    """
    elements = tuple(value) if isinstance(value, tuple | list) else (value,)
    each = kinds[:1] * len(elements) if kinds[-1] is Ellipsis else kinds
    return tuple(convert(x, kind) for x, kind in zip(elements, each, strict=True))


def convert_float(value: Any) -> float:
    """Return a number as a float. Raises ValueError if it is none, or infinite in float32."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError
    if not -LARGEST <= value <= LARGEST:  # NaN neither
        raise ValueError
    return float(value)


def is_choice(kind: Kind) -> bool:
    return typing.get_origin(kind) is Literal


def is_union(kind: Kind) -> bool:
    return typing.get_origin(kind) in (typing.Union, UnionType)


def split_limits(kind: Kind) -> tuple[Kind, list[str]]:
    """Split Annotated[X, "a and b"] -> (X, ["a", "b"]); another kind has no limits."""
    if typing.get_origin(kind) is not Annotated:
        return kind, []
    inner, text = typing.get_args(kind)
    return inner, text.split(" and ")


def without_limits(kind: Kind) -> Kind:
    """Return `kind` with all values of its type, also inside of tuples, in its range."""
    kind, _ = split_limits(kind)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    bare = tuple(k if k is Ellipsis else without_limits(k) for k in inner)
    if origin is tuple:
        return tuple.__class_getitem__(bare)
    return typing.Union[bare] if is_union(kind) else kind  # noqa: UP007


def is_within(value: Any, limit: str) -> bool:
    """Return whether `value` is inside one of the LIMITS."""
    for pattern, holds in LIMITS.items():
        if found := re.fullmatch(pattern, limit):
            return holds(value, *map(float, found.groups()))
    raise AssertionError(f"{limit!r} is not one of LIMITS")


def describe(kind: Kind) -> str:
    """Return what a value of `kind` is, to follow "must be": `a number, at least 0`."""
    kind, limits = split_limits(kind)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if is_union(kind):
        text = " or ".join(map(describe, inner))
    elif origin is Literal:
        *others, last = map(str, inner)
        text = f"{', '.join(others)} or {last}" if others else last
    elif origin is tuple:
        text = describe_elements(inner)
    elif origin is not None:
        text = f"a table {{row: {describe(inner[1])}}}"
    else:
        text = NAMES[kind]
    return ", ".join([text, *([" and ".join(limits)] if limits else [])])


def describe_elements(kinds: tuple[Kind, ...]) -> str:
    """Return what a tuple of `kinds` is: `2 values (a,b), each a number`."""
    if kinds[-1] is Ellipsis:
        return f"values (a,b,...), each {describe(kinds[0])}"
    names = ",".join("abcdefghijkl"[: len(kinds)])
    each = [describe(kind) for kind in kinds]
    same = f"each {each[0]}" if len(set(each)) == 1 else "; ".join(each)
    return f"{len(kinds)} values ({names}), {same}"


def shorten(value: Any) -> str:
    """Return `value` as it stands in a message: on one line, and not longer than 60 characters."""
    text = value if isinstance(value, str) and value.isprintable() else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
