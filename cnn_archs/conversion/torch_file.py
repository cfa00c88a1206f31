"""Read files that `torch.save` wrote. This is the only file of the package that imports torch."""

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from cnn_archs.errors import ConfigError, DataError, escaped, first_line
from cnn_archs.runtime.files import read_errors

SUFFIXES = (".th", ".pth", ".pt", ".ckpt", ".bin")


def is_torch_file(path: Path) -> bool:
    """Return whether a file begins like one of `torch.save`: as a zip archive or as a pickle.

    A safetensors file, which may begin with the same byte as a pickle, has a brace in byte 8.
    """
    with read_errors(path), open(path, "rb") as file:
        start = file.read(9)
    return start.startswith(b"PK\x03\x04") or (start[:1] == b"\x80" and start[8:] != b"{")


def read_torch(path: Path) -> Any:
    """Return what `torch.save` wrote to `path`, with arrays in place of tensors.

    Only tensors, numbers, texts and containers of them are loaded, never code. Raises ConfigError
    if torch is not installed, DataError if the file is damaged or holds other objects.
    """
    try:
        import torch
    except ImportError as e:
        raise ConfigError(
            f"{path} is a file of torch, which is not installed here: pip install torch, or save "
            "the weights as safetensors where torch is"
        ) from e
    try:
        with warnings.catch_warnings():  # about formats of pickles, before the error
            warnings.simplefilter("ignore")
            return as_arrays(torch.load(path, map_location="cpu", weights_only=True), torch)
    except pickle.UnpicklingError as e:
        raise DataError(f"{path} cannot be read: {why_refused(e)}") from e
    except Exception as e:  # of archives, pickles and storages, whatever a damaged file causes
        if "TorchScript" in str(e):
            raise DataError(
                f"{path} is a TorchScript archive: torch.save(torch.jit.load(...).state_dict(), "
                "...) writes its weights"
            ) from e
        raise DataError(f"{path} is not a sound file of torch: {escaped(first_line(e))}") from e


def why_refused(e: pickle.UnpicklingError) -> str:
    """Return what to do about a file that `torch.load` with weights_only=True refuses."""
    found = re.search(r"GLOBAL ([\w.]+)", str(e))
    if not found:
        return f"it is not a sound file of torch: {escaped(first_line(e))}"
    return (
        f"it holds an object of Python, {found[1]}, which is not loaded since it could run code: "
        "where the file comes from, write the weights alone, "
        "torch.save(network.state_dict(), FILE)"
    )


def as_arrays(value: Any, torch: Any) -> Any:
    """Return `value` with numpy arrays in place of all tensors, in containers at any depth."""
    if isinstance(value, torch.Tensor):
        tensor = value.detach().to_dense().contiguous()
        if tensor.dtype == torch.bfloat16:  # which numpy lacks
            return tensor.view(torch.int16).numpy().view(np.dtype(jnp.bfloat16))
        return tensor.numpy()
    if isinstance(value, Mapping):
        return {key: as_arrays(entry, torch) for key, entry in value.items()}
    return value
