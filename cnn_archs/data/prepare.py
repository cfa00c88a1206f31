"""Downloading and preparing a tfds dataset as array_record: the one thing that needs TensorFlow."""

import importlib.util
from typing import Any

from cnn_archs.data import prepared
from cnn_archs.errors import ConfigError, DataError, first_line


def prepare(name: str, data_dir: str) -> dict[str, Any]:
    """Prepares `name` in `data_dir`, if it is not there -> {"name", "path", "splits"}.

    ConfigError without TensorFlow or for an unknown name; DataError when the download fails.
    tfds writes to a temporary folder and renames it, so that a half prepared dataset never looks
    like a whole one.
    """
    if name in prepared.OWN:
        origin = "comes with scikit-learn" if name == "digits" else "is no dataset of tfds"
        raise ConfigError(f"{name} {origin}: there is nothing to prepare")
    if importlib.util.find_spec("tensorflow") is None:
        raise ConfigError(
            "preparing a dataset needs TensorFlow (training never does): "
            "pip install 'cnn-archs[prepare]'"
        )
    where = prepared.folder(data_dir)
    where.mkdir(parents=True, exist_ok=True)
    builder = prepared.builder(name, str(where))
    try:
        builder.download_and_prepare()
    except Exception as e:
        raise DataError(f"cannot prepare {name} in {where}: {first_line(e)}") from e
    splits = {split: info.num_examples for split, info in builder.info.splits.items()}
    return {"name": name, "path": str(builder.data_path), "splits": splits}
