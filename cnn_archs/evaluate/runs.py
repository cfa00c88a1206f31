"""From workdirs to numbers: saved networks under a test protocol."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cnn_archs import config as configs
from cnn_archs.data.datasets.sources import Split
from cnn_archs.data.loading import pixel_statistics
from cnn_archs.data.loading.in_memory import Resident
from cnn_archs.data.loading.streaming import Streamed
from cnn_archs.distributed import mesh as meshes
from cnn_archs.errors import ConfigError
from cnn_archs.evaluate import ensemble, protocols, recalibrate_bn, views
from cnn_archs.evaluate.ensemble import Member
from cnn_archs.evaluate.evaluator import sum_metrics
from cnn_archs.evaluate.load import RestoredRun, restore_run
from cnn_archs.evaluate.step import compile_eval, make_eval_step
from cnn_archs.experiment import Experiment, start_experiment
from cnn_archs.metrics import stack_by_seed
from cnn_archs.run_dir import RunDir
from cnn_archs.runtime.environment import describe_environment, provenance


def evaluate_runs(
    workdirs: Sequence[Path], protocol: str, split: str, precise_stats: int = 0
) -> dict[str, Any]:
    """The errors of runs on `split` under `protocol`, in result.json's form.

    Several runs are an ensemble, of all their networks: see `ensemble.together`. precise_stats:
    training images over which batch statistics are computed anew first; 0: they are not.
    """
    if protocol not in views.PROTOCOLS:
        raise ConfigError(configs.unknown_message("--protocol", protocol, list(views.PROTOCOLS)))
    experiments = [start_experiment(RunDir(workdir).config()) for workdir in workdirs]
    ensemble.check_same_examples(workdirs, experiments, split)
    alone = len(workdirs) == 1
    if alone and protocol == "single":
        found = evaluate_as_in_training(
            restore_run(workdirs[0], experiments[0]), split, precise_stats
        )
    else:
        members = [
            evaluate_member(restore_run(workdir, experiment), protocol, split, precise_stats)
            for workdir, experiment in zip(workdirs, experiments, strict=True)
        ]
        found = members[0].row if alone else ensemble.combine_members(members, split)
    made = [experiment.config for experiment in experiments]
    return {**found, "made": provenance(describe_environment(), *made)}


def evaluate_as_in_training(saved: RestoredRun, split: str, precise_stats: int) -> dict[str, Any]:
    """A run's result as evaluation in training counts it: with the loss that it was trained by."""
    experiment, mesh = saved.experiment, meshes.make_mesh()
    net, size = experiment.net, experiment.eval_batch_size
    images = experiment.dataset.split(split, net.inputs.crop)
    data = Resident(images, mesh) if isinstance(images, Split) else images
    prepare = net.inputs.prepare(load_statistics(saved.workdir, experiment))
    eval_step = compile_eval(
        make_eval_step(net.model, experiment.recipe.loss, prepare),
        mesh,
        resident=net.inputs.resident,
    )
    networks, used = network_variables(saved, split, precise_stats)
    found = {
        name: stack_by_seed(
            [sum_metrics(eval_step, v, data, size, mesh).report() for v in of_seeds]
        )
        for name, of_seeds in networks.items()
    }
    return {**result_header(saved, "single", 1, []), **used, **found}


def evaluate_member(saved: RestoredRun, protocol: str, split: str, precise_stats: int) -> Member:
    """A run's networks under `protocol`."""
    experiment, net = saved.experiment, saved.experiment.net
    passes = views.protocol_passes(protocol, net.inputs.crop, experiment.test_scales)
    protocols.check_dense_scales(net, protocol, passes)
    networks, used = network_variables(saved, split, precise_stats)
    found = protocols.mean_probabilities(
        net,
        [v for of_seeds in networks.values() for v in of_seeds],
        experiment.dataset.split(split, net.inputs.crop),
        passes,
        load_statistics(saved.workdir, experiment),
        experiment.eval_batch_size,
        meshes.make_mesh(),
    )
    split_by_seed = found.of.reshape(len(networks), len(experiment.seeds), *found.of.shape[1:])
    of = dict(zip(networks, split_by_seed, strict=True))
    reports = {
        name: stack_by_seed(
            [protocols.report_probabilities(p, found.labels, found.seen) for p in of_seeds]
        )
        for name, of_seeds in of.items()
    }
    number = views.count_views(passes, net.inputs.crop.out)
    scales = list(dict.fromkeys(one.scale for one in passes if one.scale))
    result = {**result_header(saved, protocol, number, scales), **used, **reports}
    return Member(saved.workdir, result, of, found.labels, found.seen)


def result_header(
    saved: RestoredRun, protocol: str, number: int, scales: list[int]
) -> dict[str, Any]:
    """What a result says besides errors. scales: shorter sides, where images were resized."""
    return {
        "name": saved.experiment.name,
        "dataset": saved.experiment.dataset.name,
        "protocol": protocol,
        "views": number,
        **({"scales": scales} if scales else {}),
        "steps": saved.step,
        "seeds": list(saved.experiment.seeds),
    }


def network_variables(
    saved: RestoredRun, split: str, precise_stats: int
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, int]]:
    """({split, or its name with averaged weights: variables for each seed}, the images used).

    precise_stats: see `recalibrate_bn.recomputed`; what the second says is for the result.
    """
    experiment, net = saved.experiment, saved.experiment.net
    names = {split: False, **({f"{split}_average": True} if saved.average else {})}
    found = {
        name: [saved.seed_variables(i, averaged) for i in range(len(experiment.seeds))]
        for name, averaged in names.items()
    }
    if not precise_stats:
        return found, {}
    mesh, train = meshes.make_mesh(), experiment.dataset.split("train", net.inputs.crop)
    batches = recalibrate_bn.choose_batches(
        precise_stats, len(train), experiment.eval_batch_size, mesh
    )
    prepare = net.inputs.prepare(load_statistics(saved.workdir, experiment))
    every = [v for of_seeds in found.values() for v in of_seeds]
    first = experiment.seeds[0]
    made = iter(recalibrate_bn.recalibrate(net, every, train, prepare, batches, first, mesh))
    used = {"precise_stats": batches[0] * batches[1]}
    return {name: [next(made) for _ in of_seeds] for name, of_seeds in found.items()}, used


def load_statistics(workdir: Path, experiment: Experiment) -> pixel_statistics.Statistics:
    """What the inputs of the run in `workdir` need to know of its training images."""
    inputs = experiment.inputs

    def train() -> Split | Streamed:
        return experiment.dataset.split("train", inputs.crop)

    return pixel_statistics.kept(
        RunDir(workdir).statistics, lambda: pixel_statistics.fit(inputs, train)
    )
