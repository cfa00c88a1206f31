"""Commands that make a run and evaluate it."""

import argparse
import errno
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnn_archs.commands.processes import (
    FOUND,
    check_processes,
    connect,
    declare_processes,
    run_in_processes,
    share_work,
)
from cnn_archs.commands.shared import (
    Declare,
    check_at_least,
    declare_changed_data,
    declare_data_dir,
    declare_normalization,
    declare_weights,
    default_workdir,
    emit,
    trained_runs,
    user_path,
)
from cnn_archs.config_keys import flatten
from cnn_archs.errors import ConfigError
from cnn_archs.runtime.console import print_notes, print_status

if TYPE_CHECKING:
    from cnn_archs.config import Config


def declare(command: Declare) -> None:
    declare_train(command)
    declare_evaluate(command)


def declare_train(command: Declare) -> None:
    c = command(
        train,
        config="default",
        examples=(
            "cnn-archs train --config=resnet_cifar10:56 --config.seeds=5",
            "cnn-archs train --config=lenet5_digits --workdir=runs/relu "
            "--config.model.activation=relu",
            "cnn-archs train --config=vgg_imagenet:D --processes=4",
        ),
        notes=FOUND,
    )
    c.add_argument(
        "--workdir",
        type=user_path,
        metavar="DIR",
        help="directory of the run (default: runs/EXPERIMENT)",
    )
    declare_changed_data(c)
    declare_normalization(c)
    c.add_argument(
        "--print_config",
        action="store_true",
        help="print all settings as flags, and train nothing; with --format=json in the form of "
        "config.json",
    )
    c.add_argument(
        "--smoke",
        action="store_true",
        help="try it: 3 steps on few images, with everything else as it will be; without --workdir "
        "nothing is kept",
    )
    declare_processes(c)


def declare_evaluate(command: Declare) -> None:
    c = command(
        evaluate,
        examples=(
            "cnn-archs evaluate --workdir=runs/lenet5_digits",
            "cnn-archs evaluate --workdir=runs/resnet,runs/vgg --protocol=ten_crop",
            "cnn-archs evaluate --workdir=runs/resnet200 --protocol=single --size=320",
            "cnn-archs evaluate --workdir=runs/lenet5_digits --robustness",
            "cnn-archs evaluate --weights=lenet5_mnist",
            "cnn-archs evaluate --workdir=runs/vgg --protocol=multi_scale --processes=4",
        ),
        notes=f"Several processes share the images, and process 0 prints the result. {FOUND}",
    )
    c.add_argument(
        "--workdir",
        type=user_path,
        metavar="DIR[,DIR...]",
        help="directory of the run; for several runs, their mean probabilities are evaluated",
    )
    declare_weights(c)
    c.add_argument(
        "--protocol",
        default="single",
        help="views of each image: single (default), mirror, ten_crop, ten_crop_whole, grid_50, "
        "grid_150, grid_144, dense, multi_scale or dense+grid_150",
    )
    c.add_argument(
        "--size",
        type=int,
        metavar="PIXELS",
        help="the side of the view of --protocol=single: the central square of the image, resized "
        "to this shorter side (default: the view of training)",
    )
    c.add_argument(
        "--split",
        default="test",
        help="split of the dataset: test (default), train, val (held out of train), or another "
        "that it has",
    )
    c.add_argument(
        "--precise_stats",
        type=int,
        default=0,
        metavar="N",
        help="first recompute the batch normalization statistics over N training images",
    )
    declare_data_dir(c)
    c.add_argument(
        "--robustness",
        action="store_true",
        help="instead, measure the error on test images shifted, turned, scaled and sheared by "
        "growing amounts, and write robustness.json",
    )
    declare_processes(c)


def train(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Train an experiment, or resume its training, and evaluate it in full at the end."""
    from cnn_archs import config as configs
    from cnn_archs.normalizations import normalization_overrides

    named = normalization_overrides(arguments.normalization)
    config = configs.load_config(arguments.config, [*named, *overrides])
    if arguments.print_config:
        return emit(arguments, configs.to_plain_dict(config), flags_text(flatten(config.to_dict())))
    if arguments.smoke:
        few = smoke_overrides(configs.to_plain_dict(config))
        config = configs.load_config(arguments.config, [*named, *overrides, *few])
    if arguments.processes:
        check_processes(arguments)
        sys.exit(run_in_processes(arguments))
    if arguments.smoke and not arguments.workdir:
        with tempfile.TemporaryDirectory() as folder:
            return train_in(Path(folder) / "run", config, arguments)
    train_in(Path(arguments.workdir or default_workdir(arguments.config)), config, arguments)


def smoke_overrides(config: Mapping[str, Any]) -> list[str]:
    """Return the overrides of `train --smoke`: 3 steps, and few images to train on and to test.

    config: the experiment, as a nested dict. Raises DataError if its dataset is missing.
    """
    from cnn_archs.data.datasets import sources

    data, classes = config["data"], config["model"].get("num_classes", 10)
    images = sources.count_training_images(data["name"], data["data_dir"]) - data["holdout"]
    few = max(3 * data["batch_size"], classes)
    examples = [f"data.examples={few}"] if few <= images - classes else []
    return ["steps=3", "eval_examples=100", *examples]


def train_in(workdir: Path, config: "Config", arguments: argparse.Namespace) -> None:
    """Train the experiment `config` in `workdir`, evaluate it, and print the result."""
    from cnn_archs.distributed import multihost
    from cnn_archs.experiment import start_experiment
    from cnn_archs.report import text as report
    from cnn_archs.run_dir import RunDir
    from cnn_archs.runtime.files import write_errors
    from cnn_archs.runtime.signals import stop_requests
    from cnn_archs.training import data_check, loop

    connect(arguments)
    with stop_requests():  # a signal at the very end changes nothing: all is finished and printed
        with multihost.exit_on_error(), write_errors(workdir):
            experiment = start_experiment(
                config, data_check.record_to_resume(workdir, config), source=arguments.config
            )
            with stop_requests() as stop:  # again: jax's start may have replaced the handlers
                result = loop.train(
                    experiment,
                    workdir,
                    stop=stop,
                    accept_changed_data=arguments.accept_changed_data,
                )
            if not multihost.is_primary():
                return
            if not RunDir(workdir).has_curves_of_result():
                # Importing matplotlib takes half a second, which must not delay the first step.
                from cnn_archs.report import learning_curves

                learning_curves.write_curves_png(workdir)
        text = report.result_table(result, experiment.dataset.classes)
        if arguments.workdir or not arguments.smoke:
            text += "\n\n" + report.files_table(workdir)
        emit(arguments, result, text)
        note = report.guessing_note(result, experiment.dataset.classes)
        print_notes([note] if note and not arguments.smoke else [])


def flags_text(values: Mapping[str, object]) -> str:
    """Return the flags that set each key of a config, one a line, quoted for a shell."""
    words = {True: "true", False: "false"}
    return "\n".join(
        shlex.quote(f"--config.{key}={words[value] if isinstance(value, bool) else value}")
        for key, value in values.items()
    )


def evaluate(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Evaluate a trained network, or the ensemble of several, under a test protocol."""
    check_at_least(0, precise_stats=arguments.precise_stats)
    if arguments.size is not None:
        check_at_least(1, size=arguments.size)
    share_work(arguments)
    from cnn_archs.distributed import multihost

    with multihost.exit_on_error(), trained_runs(arguments) as workdirs:
        find = find_robustness if arguments.robustness else find_errors
        found, text = find(arguments, workdirs)
    if multihost.is_primary():
        emit(arguments, found, text)


def find_errors(
    arguments: argparse.Namespace, workdirs: Sequence[Path]
) -> tuple[dict[str, Any], str]:
    """Evaluate the runs in `workdirs` without --robustness; return the result and its table."""
    from cnn_archs.evaluate import runs
    from cnn_archs.report import text as report

    result = runs.evaluate_runs(
        workdirs,
        arguments.protocol,
        arguments.split,
        arguments.precise_stats,
        arguments.data_dir,
        arguments.size or 0,
    )
    classes = runs.count_classes(workdirs[0], arguments.data_dir)
    return result, report.result_table(result, classes)


def find_robustness(
    arguments: argparse.Namespace, workdirs: Sequence[Path]
) -> tuple[dict[str, Any], str]:
    """Evaluate a run with --robustness and write robustness.json; return that and its table.

    Raises ConfigError unless there is one workdir and the protocol, split and statistics are the
    default ones.
    """
    asked = (arguments.protocol, arguments.split, arguments.precise_stats, arguments.size)
    if len(workdirs) > 1 or asked != ("single", "test", 0, None):
        raise ConfigError(
            "--robustness evaluates one run on its test images under the protocol single: it takes "
            "one --workdir and no --protocol, --split, --precise_stats or --size"
        )
    from cnn_archs.distributed import multihost
    from cnn_archs.evaluate import robustness
    from cnn_archs.report import text as report

    found = robustness.measure_robustness(workdirs[0], arguments.data_dir)
    multihost.on_primary(lambda: write_robustness(workdirs[0], found))
    return found, report.robustness_table(found)


def write_robustness(workdir: Path, found: Mapping[str, Any]) -> None:
    """Write robustness.json, or say that `workdir` is read-only."""
    from cnn_archs.run_dir import RunDir
    from cnn_archs.runtime.files import write_errors

    with write_errors(workdir):
        try:
            RunDir(workdir).write_evaluation("robustness", found)
        except OSError as e:
            if e.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            print_status(f"note: robustness.json is not written: {workdir} is read-only")
