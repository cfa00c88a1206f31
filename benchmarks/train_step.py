"""Compare our training step with PyTorch's (eager, channels_last) on a CPU, network by network.

python benchmarks/train_step.py [--networks=resnet20,lenet5] [--threads=2] [--compile]
    [--format=json] [--write] [--torch_python=PATH]
Goals on two quiet cores: a ratio, our seconds / PyTorch's, of at most 1.2 for vgg_a_bn_cifar,
resnet110 and resnet18, and of at most 1 for the other networks.

Ours is `Trainer.run_steps`, as `cnn-archs train` calls it, with the experiment's config: order,
gather, scaling, step, metrics, and the check that all values are finite. PyTorch's is the shortest
good loop over the same images, batches, weights and SGD, without metrics. Both leave out mirroring,
crops and the mean image, and both have the recipe's dropout. Batch normalization is over the whole
batch, as in PyTorch, unless a network is named with another `bn_group`: `resnet20:bn_group=64` is
the recipe's. Images are random, u8, in memory, and as large as those of CIFAR-10 or MNIST;
resnet18's are 64x64.

Each side is a process of its own, which sleeps while the other works; they take turns. A turn is as
many steps as fill `--seconds`; results are medians over the rounds. Both sides must have the same
number of parameters, and the same first loss if nothing is drawn at random. `--compile` adds a
third side, torch.compile, if there is a C++ compiler: it is reported, but is in no ratio.
"""

import argparse
import os
import shutil
import sys
import tempfile
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import common
from sides import Side

BATCHES = 50  # in memory; an epoch has so many
WARM = 2  # steps before the timed ones; the first compiles
TOLERANCE = 1e-3  # relative difference of the first losses, in float32 on both sides
ADVICE = "it needs torch and numpy: pip install '.[bench]', or --torch_python=PATH"

CIFAR = (32, 32, 3)
GROUPS = "model.bn_group=0"


class Case(NamedTuple):
    """An experiment, the size of its images (H, W, C), and its overrides besides COMMON."""

    experiment: str
    image: tuple[int, int, int] = CIFAR
    overrides: tuple[str, ...] = ()
    classes: int = 10
    dropout: bool = False


# Overrides of all cases: no augmentation, pixels of -1 to 1, and more steps than are timed.
COMMON = (
    "seeds=1",
    "steps=1000000",
    "data.holdout=0",
    "data.mean=none",
    "data.pixel_range=(-1.0,1.0)",
    "crop.name=none",
    "color.name=none",
    "mirror=false",
)
# The images of resnet_imagenet differ in size; those of `shapes` are 64x64.
SMALL = ("data.name=shapes", "data.image_shape=(64,64,3)", "schedule.name=constant")
CASES = {
    "lenet5": Case("lenet5_mnist", (28, 28, 1)),
    **{f"resnet{d}": Case(f"resnet_cifar10:{d}", CIFAR, (GROUPS,)) for d in (20, 56)},
    "plain20": Case("resnet_cifar10:plain20", CIFAR, (GROUPS,)),
    "vgg_a_bn_cifar": Case("vgg_cifar10:A_bn", dropout=True),
    "alexnet_cifar": Case("alexnet_cifar10", dropout=True),
    "googlenet_cifar": Case("googlenet_cifar10", dropout=True),
    "resnet110": Case("resnet_cifar10:110", CIFAR, (GROUPS,)),
    "plain56": Case("resnet_cifar10:plain56", CIFAR, (GROUPS,)),
    "resnet18": Case("resnet_imagenet:18", (64, 64, 3), (*SMALL, GROUPS), classes=3),
}
NETWORKS = (*CASES, "resnet20:bn_group=64")


def settings_of(network: str, batch: int) -> dict[str, Any]:
    """Return the settings of `our_step.py`. network: a key of CASES, optionally :FIELD=VALUE."""
    name, _, field = network.partition(":")
    case = CASES[name]
    own = (*COMMON, *case.overrides, *([f"model.{field}"] if field else []))
    return {
        "experiment": case.experiment,
        "overrides": [*own, f"data.batch_size={batch}"],
        "image": case.image,
        "classes": case.classes,
        "examples": BATCHES * batch,
    }


def torch_settings(network: str, settings: dict[str, Any], threads: int) -> dict[str, Any]:
    """Return the settings of `torch_step.py` for the same recipe."""
    from cnn_archs import config as configs

    config = configs.load_config(settings["experiment"], settings["overrides"])
    return {
        "network": network.partition(":")[0],
        "threads": threads,
        "compile": False,
        "auxiliary": config.auxiliary,
        "sgd": {
            "lr": config.schedule.learning_rate,
            "momentum": config.optimizer.momentum,
            "weight_decay": config.optimizer.weight_decay,
        },
    }


def start(network: str, options: argparse.Namespace, folder: Path) -> dict[str, Side]:
    """Start the processes of all sides, which wait before their first step."""
    threads = min(options.threads, common.cores())
    settings = settings_of(network, options.batch)
    # XLA's thread pool has NPROC threads.
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "NPROC": str(threads)}
    theirs = torch_settings(network, settings, threads)
    sides = {"ours": Side("our_step.py", folder, settings, environment)}
    also = {"torch": False, "torch_compile": True} if options.compile else {"torch": False}
    for name, compiled in also.items():
        given = {**theirs, "compile": compiled}
        sides[name] = Side(
            "torch_step.py", folder, given, environment, options.torch_python, ADVICE
        )
    return sides


def check(network: str, params: dict[str, int], losses: dict[str, float]) -> None:
    """Exit with an error unless the sides train the same network."""
    if len(set(params.values())) > 1:
        raise SystemExit(f"error: {network}: parameters differ: {params}")
    comparable = ":" not in network and not CASES[network].dropout
    difference = abs(losses["ours"] - losses["torch"])
    if comparable and not difference <= TOLERANCE * losses["torch"]:
        raise SystemExit(f"error: {network}: the first losses differ: {losses}")


def row_of(network: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return the row of one network: seconds per step of each side, and their ratio."""
    common.say(network)
    with tempfile.TemporaryDirectory() as folder:
        sides = start(network, options, Path(folder))
        try:
            losses = {name: side.train(1).first_loss for name, side in sides.items()}
            params = {name: side.hello["params"] for name, side in sides.items()}
            check(network, params, losses)
            warm = {name: side.train(WARM) for name, side in sides.items()}
            steps = {name: ceil(options.seconds / w.seconds) for name, w in warm.items()}
            turns = common.alternate(
                {name: lambda n=name: sides[n].turn(steps[n]) for name in sides},  # type: ignore[misc]
                options.rounds,
                "step",
            )
        finally:
            for side in sides.values():
                side.stop()
    found = {name: common.median(of_side) for name, of_side in turns.items()}
    ours, torch = found["ours"], found["torch"]
    return {
        "network": network,
        **{name: turn.seconds for name, turn in found.items()},
        **{f"{name}_cpu": turn.cpu_seconds for name, turn in found.items()},
        "ratio": ours.seconds / torch.seconds,
        "cpu_ratio": ours.cpu_seconds / torch.cpu_seconds,
        "params": params["ours"],
        "first_loss_difference": abs(losses["ours"] - losses["torch"]),
        "versions": sides["torch"].hello["versions"],
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return all rows and the largest of their ratios."""
    names = options.networks.split(",")
    for name in names:
        if name.partition(":")[0] not in CASES:
            raise SystemExit(f"error: {name} is not one of {', '.join(NETWORKS)}")
    if options.compile and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))):
        common.say("torch.compile is left out: there is no C++ compiler")
        options.compile = False
    rows = [row_of(name, options) for name in names]
    versions = [row.pop("versions") for row in rows][0]
    return {
        "ratio": max(row["ratio"] for row in rows),
        "rows": rows,
        "batch": options.batch,
        "rounds": options.rounds,
        "machine": {"threads": min(options.threads, common.cores())},
        "versions": versions,
    }


def table(result: dict[str, Any]) -> common.Rows:
    """Return the rows: seconds per step of each network."""
    rows = [("network", "ours, s", "PyTorch, s", "ratio", "ratio of CPU time", "torch.compile, s")]
    for row in result["rows"]:
        compiled = f"{row['torch_compile']:.3f}" if "torch_compile" in row else ""
        seconds = (f"{row['ours']:.3f}", f"{row['torch']:.3f}")
        ratios = (f"{row['ratio']:.2f}", f"{row['cpu_ratio']:.2f}")
        rows.append((row["network"], *seconds, *ratios, compiled))
    return rows


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--networks", default=",".join(NETWORKS), help="NAME[:FIELD=VALUE],... (default: all)"
    )
    parser.add_argument("--threads", type=int, default=2, help="threads of each side (default: 2)")
    parser.add_argument("--batch", type=int, default=128, help="images per step (default: 128)")
    parser.add_argument(
        "--rounds", type=int, default=7, help="timed turns of each side (default: 7)"
    )
    parser.add_argument(
        "--seconds", type=float, default=1.0, help="least seconds of a turn (default: 1)"
    )
    parser.add_argument("--compile", action="store_true", help="also time torch.compile")
    parser.add_argument(
        "--torch_python", default=sys.executable, help="Python interpreter with torch"
    )


if __name__ == "__main__":
    common.main(__doc__, declare, measure, table)
