"""Write the lines with which a training tells on stderr what it trains and how far it is."""

from functools import lru_cache

from cnn_archs.models import Network
from cnn_archs.models.summary import summarize, totals
from cnn_archs.training.data_check import MemberRuns
from cnn_archs.training.trainer import Trainer


@lru_cache(maxsize=4)
def network_size(model: Network, image_shape: tuple[int, int, int]) -> dict[str, int]:
    """Return the totals of the summary of `model`, which takes a second for a deep network."""
    return totals(summarize(model, image_shape))


def header(trainer: Trainer, members: MemberRuns) -> str:
    """Return the line that says what is trained: network, images, device, folder and steps."""
    experiment, workdir = members[0]
    size = network_size(trainer.net.model, trainer.net.image_shape)
    networks = f", {len(trainer.seeds)} networks" if len(trainer.seeds) > 1 else ""
    more = f" and {len(members) - 1} other folders" if len(members) > 1 else ""
    return (
        f"{experiment.name} ({size['params']:,} parameters{networks}) on {experiment.dataset.name} "
        f"({trainer.data['train'].examples:,} images, {trainer.batch_size} at a time) on "
        f"{trainer.device}, in {workdir}{more}: step {trainer.step:,} of {trainer.total_steps:,}"
    )


def batch_notes(batch_size: int, images: int) -> list[str]:
    """Return a line for the user if a batch is larger than the training set of so many `images`."""
    if batch_size <= images:
        return []
    return [
        f"the batch of {batch_size:,} is larger than the training set of {images:,} images, so "
        f"that a step is {batch_size / images:.1f} epochs: lower --config.data.batch_size"
    ]


def summary_line(reports: dict[str, list[dict[str, float]]]) -> str:
    """Return `train loss 0.1 error 2.00 %, test ...`, with the means over the seeds."""
    return ", ".join(
        f"{split} loss {mean_over_seeds(r, 'loss'):.4f} "
        f"error {100 * mean_over_seeds(r, 'top1_error'):.2f} %"
        for split, r in reports.items()
    )


def format_epoch(epoch: float) -> str:
    """Format a number of epochs with two decimals at most, and with two digits below 0.1."""
    return f"{round(epoch, 2) if epoch >= 0.1 else epoch:.{6 if epoch >= 0.1 else 2}g}"


def mean_over_seeds(reports: list[dict[str, float]], key: str) -> float:
    return sum(r[key] for r in reports) / len(reports)
