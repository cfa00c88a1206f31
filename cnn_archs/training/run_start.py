"""Prepare the folders of runs for training: check what they hold, lock them, open checkpoints."""

from contextlib import ExitStack
from typing import Any

from cnn_archs import config as configs
from cnn_archs import roles
from cnn_archs.checkpoints import Checkpoints
from cnn_archs.run_dir import RunDir
from cnn_archs.training.data_check import MemberRuns


def finished_results(members: MemberRuns) -> list[dict[str, Any]]:
    """Return the results of runs that are trained to their end, [] unless all of them are.

    Such a run is not touched: its files say what made it. Raises ConfigError if a run is finished
    with another config, DataError if a file is damaged.
    """
    results = []
    for experiment, workdir in members:
        folder = RunDir(workdir)
        folder.check_config_kept()
        if not (folder.has_result() and folder.has_checkpoints()):
            return []
        check_config(folder, experiment.config)
        lengths = [(c["steps"], c["epochs"]) for c in (folder.config(), experiment.config)]
        result = folder.result()
        if lengths[0] != lengths[1] or result["steps"] != folder.newest_step():
            return []
        results.append(result)
    return results


def open_checkpoints(members: MemberRuns, resources: ExitStack) -> list[Checkpoints]:
    """Lock the folder of each run until `resources` closes, and open its checkpoints.

    Raises ConfigError if another process uses a folder, or if the run in it has another config.
    """
    opened = []
    for experiment, workdir in members:
        workdir.mkdir(parents=True, exist_ok=True)
        folder = RunDir(workdir)
        resources.enter_context(folder.lock())
        claim_run_dir(folder, experiment.config)
        opened.append(Checkpoints(folder.checkpoints, keep=experiment.intervals.keep))
    return opened


def claim_run_dir(folder: RunDir, config: dict[str, Any]) -> None:
    """Check that the run in `folder` may have `config`, and remove what is of another run."""
    folder.check_config_kept()
    if folder.has_checkpoints():
        check_config(folder, config)
    else:
        for left in (folder.statistics, folder.data_file):  # by a run that was never saved
            left.unlink(missing_ok=True)


def check_config(folder: RunDir, config: dict[str, Any]) -> None:
    """Raise ConfigError if the run that was saved in this folder cannot resume with `config`.

    A run with a record of its images may find them in another folder: `data_check.py` says whether
    they are the same.
    """
    if not folder.has_config():
        return
    saved = configs.to_plain_dict(folder.config())
    if folder.data_file.is_file():
        saved["data"]["data_dir"] = config["data"]["data_dir"]
    roles.check_resumable(folder.path, saved, config)
