"""Training from Python: `cnn_archs.train`."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cnn_archs import config as configs
from cnn_archs.config_keys import rename_old_override
from cnn_archs.experiment import resolve
from cnn_archs.report import learning_curves
from cnn_archs.run_dir import RunDir
from cnn_archs.runtime.backend import jax_call, jax_configured
from cnn_archs.runtime.files import write_errors
from cnn_archs.training import data_check, loop


def train(
    config: str | os.PathLike[str] | configs.Config,
    workdir: str | os.PathLike[str],
    overrides: Mapping[str, Any] | None = None,
    *,
    progress: bool = False,
    accept_changed_data: bool = False,
) -> dict[str, Any]:
    """Train an experiment in this process, or resume its training, and evaluate it at the end.

    The run has the same bits as that of the command `cnn-archs train` on the same device. Neither
    signal handlers nor settings of this process are changed. A training that is interrupted, as by
    KeyboardInterrupt, resumes from its last checkpoint when it is called again.

    Args:
      config: an experiment: the name of an installed one, such as `"lenet5_digits"` or
        `"resnet_cifar10:56"`, the path of a file, or a config, such as that of a trained network.
      workdir: the folder of the run, which is made.
      overrides: {key of the config: value}, such as `{"epochs": 2, "model.activation": "relu"}`;
        a text is read as on the command line.
      progress: whether to print a line on stderr every few seconds and after each epoch.
      accept_changed_data: whether to go on with a run whose images have changed since it began.

    Returns:
      The contents of the run's `result.json`; `["test"]["top1_error"]` is a list with the error on
      the test images of each seed, as a fraction of 1.

    Raises:
      cnn_archs.errors.ConfigError: for a wrong config, and for a folder that holds another run or
        is in use.
      cnn_archs.errors.DataError: if data or a checkpoint is missing or damaged.
      cnn_archs.errors.NotFinite: if the loss is not finite.

    Example:
      >>> import cnn_archs
      >>> result = cnn_archs.train("lenet5_digits", "runs/digits", {"steps": 40})
      >>> result["steps"], result["test"]["examples"]
      (40, 360)
    """
    pairs = [(rename_old_override(k), plain(v)) for k, v in (overrides or {}).items()]
    named = "config" if isinstance(config, configs.Config) else os.fspath(config)
    command = ["cnn_archs.train", f"--config={named}", *(f"--config.{k}={v}" for k, v in pairs)]
    folder = Path(workdir).expanduser()
    with jax_call(progress), write_errors(folder):
        if isinstance(config, configs.Config):
            stated = configs.check_config(config, "config")
        else:
            stated = configs.check_config(*configs.load_file(os.fspath(config)))
        full = configs.with_overrides(stated, pairs)
        experiment = resolve(
            full,
            data_check.record_to_resume(folder, full),
            source="" if isinstance(config, configs.Config) else os.fspath(config),
        )
        with jax_configured(
            deterministic=experiment.deterministic, matmul_precision=experiment.matmul_precision
        ):
            result = loop.train(
                experiment, folder, accept_changed_data=accept_changed_data, command=command
            )
        if not RunDir(folder).has_curves_of_result():
            learning_curves.write_curves_png(folder)
    return result


def plain(value: Any) -> Any:
    """Return a scalar of numpy as Python's, and a path as a text; other values as they are."""
    if isinstance(value, np.generic):
        return value.item()
    return os.fspath(value) if isinstance(value, os.PathLike) else value
