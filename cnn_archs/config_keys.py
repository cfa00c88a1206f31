"""The keys and values of a config as text: on the command line, and in runs of older versions.

A key is written `section.key`, such as `data.batch_size`.
"""

import ast
import re
from collections.abc import Mapping
from typing import Any

from cnn_archs.errors import ConfigError, closest_word

# Key or section in the configs of older versions -> its name now; "" if it was removed.
OLD_KEYS = {
    "colour": "color",
    "data.damaged": "data.on_corrupt",
    "data.shrink": "data.downsample",
    "name": "",
}


def rename_old_keys(saved: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Rename the OLD_KEYS in a saved config, or in its section `prefix` (ending in a period)."""
    renamed = {}
    for key, value in saved.items():
        if isinstance(value, Mapping):
            value = rename_old_keys(value, f"{prefix}{key}.")
        if new := OLD_KEYS.get(f"{prefix}{key}", key):
            renamed[new.rpartition(".")[2]] = value
    return renamed


def rename_old_override(override: str) -> str:
    """Rename the key of an override `section.key=value`, or a key alone, if it is an old one."""
    for old, new in OLD_KEYS.items():
        if new and re.match(rf"{re.escape(old)}(\.|=|$)", override):
            return new + override.removeprefix(old)
    return override


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten a nested config to {key: value}, with keys such as `data.pad`."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            found |= flatten(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def unknown_message(where: str, word: str, words: list[str], what: str = "value") -> str:
    """Return a message that `where` has no `word`, with the closest of `words`, or all of them.

    what: the kind of thing that `word` should name.
    """
    renamed = [w for w in words if w == rename_old_override(word)]
    same_leaf = [w for w in words if w.split(".")[-1] == word.split(".")[-1]]
    candidates = renamed or same_leaf or words  # a wrong section is likelier than a wrong leaf
    near = closest_word(word, candidates)
    if near is None and candidates is not words:
        near = candidates[0]
    hint = f"did you mean {near!r}?" if near else f"choose one of {', '.join(words)}"
    return f"{where}: no {what} {word!r}; {hint}"


def split_override(text: str) -> tuple[str, str]:
    """Split `key=value`. Raises ConfigError if there is no key or no `=`."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigError(f"--config.{text}: write --config.key=value")
    return key, value


def parse_value(key: str, text: str, present: Any) -> Any:
    """Parse `text` as a value of the type of `present`. Raises ConfigError if it is not one."""
    kind = type(present)
    try:
        if kind is str:
            return text
        if kind is bool:
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        value = ast.literal_eval(text)
        if kind is tuple:
            return convert_tuple(value, present)
        if kind is float and type(value) is int:
            return float(value)
        if type(value) is not kind:
            raise ValueError
        return value
    except (KeyError, ValueError, SyntaxError):
        wanted = f"a {kind.__name__}, like {present!r}"
        raise ConfigError(f"--config.{key}={text}: wanted {wanted}") from None


def convert_tuple(value: Any, present: tuple) -> tuple:
    """Convert `value` to a tuple whose elements have the type of those of `present`.

    An empty `present` stands for floats. Raises ValueError if an element has another type.
    """
    elements = value if isinstance(value, tuple | list) else (value,)
    kind = type(present[0]) if present else float
    if not all(type(e) is kind or (kind is float and type(e) is int) for e in elements):
        raise ValueError
    return tuple(kind(e) for e in elements)
