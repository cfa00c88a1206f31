"""Find layers of a network by patterns of their names, such as `conv*,fc6`."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from flax.traverse_util import flatten_dict

from cnn_archs import models
from cnn_archs.errors import ConfigError, closest_word, config_errors

ModulePath = tuple[str, ...]


def match_modules(key: str, patterns: str, variables: Mapping[str, Any]) -> frozenset[ModulePath]:
    """Return the paths of the modules that own variables and match one of `patterns`.

    patterns: separated by commas; `*` stands for any characters. A pattern matches a module by its
    name, such as `conv1` or `conv2_1/3x3a`, or by that of a module around it. variables:
    {collection: {layer: ...}}. Raises ConfigError, which begins with `key`, for a pattern that
    matches nothing.
    """
    owners = {path[:-1] for tree in variables.values() for path in flatten_dict(tree)}
    around = {owner[:i] for owner in owners for i in range(1, len(owner) + 1)}
    names = {"/".join(path): path for path in sorted(around)}
    found: set[ModulePath] = set()
    for pattern in filter(None, map(str.strip, patterns.split(","))):
        matched = {path for name, path in names.items() if fnmatchcase(name, pattern)}
        if not matched:
            near = closest_word(pattern, names)
            outer = ", ".join(name for name, path in names.items() if len(path) == 1)
            hint = f"did you mean {near!r}?" if near else f"the network has {outer}"
            raise ConfigError(f"{key}={patterns}: no layer matches {pattern!r}; {hint}")
        found |= {o for o in owners for i in range(1, len(o) + 1) if o[:i] in matched}
    return frozenset(found)


def find_frozen(
    patterns: str, name: str, model: models.Network, image_shape: tuple[int, int, int]
) -> frozenset[ModulePath]:
    """Return the modules of the network `name` that `frozen` names, as paths.

    Raises ConfigError for a pattern that matches nothing, and if no layer would be left to train.
    """
    if not patterns:
        return frozenset()
    with config_errors(f"model {name}"):
        variables = models.shapes(model, image_shape).variables
    found = match_modules("frozen", patterns, variables)
    if found >= match_modules("frozen", "*", {"params": variables["params"]}):
        raise ConfigError(f"frozen={patterns}: this leaves no layer to train")
    return found
