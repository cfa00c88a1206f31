"""Find the state dict in what a file holds: inside a checkpoint, under a prefix, in any precision.

Notes are sentences for the user about what was done to the tensors.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from cnn_archs.errors import ConfigError, DataError, escaped

State = dict[str, np.ndarray]
# Keys of checkpoints under which training programs keep a network, the usual ones first.
KEYS = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "model_state")


def find_state(content: Any, path: Path) -> State:
    """Return the state dict in the `content` of a file of torch.

    It is `content` itself, or stands under one of KEYS, or is the only mapping of tensors in it.
    Raises DataError if there is none, or if several could be meant.
    """
    if not isinstance(content, Mapping):
        raise DataError(f"{path} holds a {type(content).__name__}, not the state dict of a network")
    state = search(content)
    found = [inner for inner in content.values() if is_state(inner)]
    if state is None and len(found) == 1:
        state = found[0]
    if state is not None:
        return {k: v for k, v in state.items() if isinstance(v, np.ndarray)}
    there = ", ".join(escaped(str(key)) for key in list(content)[:8])
    what = "several state dicts" if found else "no state dict"
    raise DataError(
        f"{path} holds {what} (its keys: {there or 'none'}): save the network's state_dict() alone"
    )


def search(content: Mapping[Any, Any]) -> Mapping[str, Any] | None:
    """Return `content` if it is a state dict, or the first one under KEYS at any depth, or None."""
    if is_state(content):
        return content
    inner = (content[key] for key in KEYS if isinstance(content.get(key), Mapping))
    return next((state for one in inner if (state := search(one)) is not None), None)


def is_state(content: Any) -> bool:
    """Return whether `content` is a mapping of names to tensors, maybe with plain values beside."""
    if not isinstance(content, Mapping) or any(isinstance(v, Mapping) for v in content.values()):
        return False
    tensors = [k for k, v in content.items() if isinstance(v, np.ndarray)]
    return bool(tensors) and all(isinstance(k, str) for k in tensors)


def without_prefix(state: State, wanted: Collection[str], path: Path) -> tuple[State, list[str]]:
    """Return the tensors of the network with the names `wanted`, without their common prefix.

    `DataParallel` puts `module.` in front of every name, and other programs put the name of the
    attribute that holds the network. Tensors beside those of the network are left out. Raises
    ConfigError if several networks under different prefixes fit equally well.
    """
    counts = Counter({"": len(state.keys() & {*wanted})})
    for name in state:
        parts = name.split(".")
        for i in range(1, len(parts)):
            if ".".join(parts[i:]) in wanted:
                counts[".".join(parts[:i]) + "."] += 1
    (prefix, most), *others = counts.most_common()
    if 2 * most <= len(wanted):  # of another network: nothing but DataParallel's prefix is sure
        prefix = "module." if all(name.startswith("module.") for name in state) else ""
    if not prefix:
        return state, []
    if others and others[0][1] == most:
        raise ConfigError(
            f"{path} holds several networks, under {escaped(prefix)} and "
            f"{escaped(others[0][0])}: save one of them alone"
        )
    inner = {name.removeprefix(prefix): v for name, v in state.items() if name.startswith(prefix)}
    outside = [escaped(name) for name in state if not name.startswith(prefix)]
    notes = [f"the prefix {escaped(prefix)} is taken off the names in {path.name}"]
    if outside:
        notes.append(f"{len(outside)} tensors beside it are left out, such as {outside[0]}")
    return inner, notes


def as_float32(state: State, path: Path) -> tuple[State, list[str]]:
    """Return `state` with all floating point numbers as float32; only float64 is rounded."""
    found = Counter(
        str(v.dtype)
        for v in state.values()
        if v.dtype in (np.float16, np.float64, np.dtype(jnp.bfloat16))
    )
    with np.errstate(over="ignore"):  # what becomes infinite is refused with the tensor's name
        converted = {
            k: v.astype(np.float32) if str(v.dtype) in found else v for k, v in state.items()
        }
    return converted, [
        f"{count} tensors of {path.name} are {dtype}; they become float32"
        + (", rounded" if dtype == "float64" else "")
        for dtype, count in found.items()
    ]
