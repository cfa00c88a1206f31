"""From a config to its splits of images, and to what is known of the training images."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from cnn_archs.cluster import processes
from cnn_archs.data import sources, statistics
from cnn_archs.data.sources import Split
from cnn_archs.data.standardize import Standardization
from cnn_archs.data.streaming import Streamed
from cnn_archs.errors import ConfigError
from cnn_archs.run_dir import RunDir
from cnn_archs.setup import Network, user_errors

AT_ONCE = 1000  # images in memory for statistics


def load_split(config: ConfigDict, net: Network, split: str) -> Split | Streamed:
    """One of `load_splits`, by its name, or another split of the dataset; ConfigError for no such.

    `train` and `val` are as the run divided them.
    """
    if split in ("train", "val"):
        both = divided(config, net)
        if split not in both:
            raise ConfigError("--split=val: this run held nothing out (data.holdout=0)")
        return both[split]
    data = config.data
    if net.inputs.resident:
        return resident(config, split)
    return streamed(config, net, sources.records(data.name, split, data.data_dir))


def training_images(config: ConfigDict) -> int:
    """How many images are trained on, without one being read. DataError where none are there."""
    data = config.data
    return data.examples or sources.count(data.name, data.data_dir) - data.holdout


def load_splits(config: ConfigDict, net: Network) -> dict[str, Split | Streamed]:
    """train, test, what else is tested in the end, and val where data.holdout sets some aside."""
    tested = ("test", *sources.FURTHER.get(config.data.name, ()))
    return divided(config, net) | {name: load_split(config, net, name) for name in tested}


def divided(config: ConfigDict, net: Network) -> dict[str, Split] | dict[str, Streamed]:
    """train, or train and val."""
    data = config.data
    if net.inputs.resident:
        return parts(config, resident(config, "train"))
    every = parts(config, sources.records(data.name, "train", data.data_dir))
    return {name: streamed(config, net, part) for name, part in every.items()}


def parts(config: ConfigDict, train: sources.Examples) -> dict[str, sources.Examples]:
    """The training images as the run divides them."""
    found = {"train": train}
    if config.data.holdout:
        found["train"], found["val"] = sources.hold_out(train, config.data.holdout)
    if config.data.examples:
        found["train"] = sources.some(found["train"], config.data.examples)
    return found


def resident(config: ConfigDict, split: str) -> Split:
    data = config.data
    return sources.load(data.name, split, data.data_dir).downsampled(data.downsample)


def streamed(config: ConfigDict, net: Network, records: sources.Records) -> Streamed:
    data = config.data
    with user_errors("config"):
        return Streamed(records, net.inputs.crop, on_corrupt=data.on_corrupt, threads=data.threads)


def statistics_of(
    config: ConfigDict,
    net: Network,
    workdir: Path | None,
    train: Callable[[], Split | Streamed],
) -> statistics.Statistics:
    """What `net.inputs` needs to know of the training images, out of `workdir` or put there.

    train: the images, for which it is called only if it must. Of streamed images the statistics
    are those of evaluation's crops.
    """
    standard = config.standardize.to_dict()
    standardizes = standard.pop("name") != "none"

    def compute() -> statistics.Statistics:
        found = {}
        if net.inputs.mean != "none":
            found["mean"] = statistics.mean(net.inputs.mean, batches(train()))
        if standardizes:
            images = train()
            if isinstance(images, Streamed):
                raise ConfigError("standardize needs a dataset whose images are of one size")
            found |= Standardization(**standard).fit(images.images)
        return found

    return statistics.kept(RunDir(workdir).statistics, compute) if workdir else compute()


def batches(split: Split | Streamed) -> Iterator[np.ndarray]:
    """This process's share of all images, u8[N, H, W, C], some at a time."""
    if isinstance(split, Split):
        share = processes.share(len(split))
        yield from (split.images[share[i : i + AT_ONCE]] for i in range(0, len(share), AT_ONCE))
        return
    rows = processes.share(AT_ONCE)
    for images, _, mask in split.evaluation(AT_ONCE, lambda batch: batch, rows):
        yield images[mask]
