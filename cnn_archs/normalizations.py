"""The named normalizations of a network's input: `NORMALIZATIONS` in `experiments/base.py`."""

from typing import Any

from cnn_archs import config as configs
from cnn_archs.config_keys import unknown_message
from cnn_archs.errors import ConfigError


def normalization_overrides(name: str) -> list[str]:
    """Return the overrides that `--normalization=NAME` stands for; [] for an empty name.

    Raises ConfigError for an unknown name.
    """
    if not name:
        return []
    known = configs.base_module().NORMALIZATIONS
    if name not in known:
        raise ConfigError(unknown_message("--normalization", name, list(known)))
    return [f"data.{key}={value}" for key, value in normalization_values(name).items()]


def normalization_values(name: str) -> dict[str, Any]:
    """Return {key of the section `data`: value, in the form of config.json} of a normalization."""
    plain = {"std": (), "channel_order": "rgb", "pixel_range": (0.0, 1.0)}
    values = {**plain, **configs.base_module().NORMALIZATIONS[name]}
    return {key: list(v) if isinstance(v, tuple) else v for key, v in values.items()}
