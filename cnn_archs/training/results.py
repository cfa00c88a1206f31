"""The result of a run at its end: the contents of result.json."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cnn_archs.experiment import Experiment
from cnn_archs.metrics import stack_by_seed
from cnn_archs.runtime.environment import provenance
from cnn_archs.training.status_lines import network_size
from cnn_archs.training.trainer import Trainer


def final_results(
    trainer: Trainer,
    members: Sequence[tuple[Experiment, Path]],
    made: Sequence[dict[str, Any]],
    poll: Callable[[], None],
) -> list[dict[str, Any]]:
    """Evaluate all splits, and return the contents of each member's result.json.

    made: for each member, the environment of the process that trained it last. poll: called between
    batches; it may raise to stop.
    """
    final = {s: trainer.evaluate(s, poll) for s in trainer.available_splits(*trainer.data)}
    final["train_eval"], final["train"] = final["train"], trainer.metrics("epoch")
    images = trainer.batch_size * len(trainer.seeds)
    size = network_size(trainer.net.model, trainer.net.image_shape)
    damaged = sum(data.damaged for data in trainer.data.values())
    return [
        {
            "name": experiment.name,
            "dataset": experiment.dataset.name,
            "protocol": "single",
            "seeds": list(trainer.seeds[seeds]),
            **{split: stack_by_seed(reports[seeds]) for split, reports in final.items()},
            "damaged": damaged,
            "steps": trainer.step,
            "epochs": trainer.epoch,
            "seconds": trainer.share(seeds) * trainer.times.seconds,
            "compile_seconds": trainer.share(seeds) * trainer.times.compile_seconds,
            "images_per_second": images * trainer.times.steps_per_second(trainer.step),
            "params": size["params"],
            "macs": size["macs"],
            "matmul_precision": experiment.matmul_precision,
            "deterministic": experiment.deterministic,
            "device": segments[-1].get("device", trainer.device),
            "together": len(trainer.seeds),
            "made": {**provenance(of_member, experiment.config), "parts": segments},
        }
        for (experiment, _), of_member, seeds, segments in zip(
            members, made, trainer.seed_slices, trainer.history, strict=True
        )
    ]
