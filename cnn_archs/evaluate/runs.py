"""Evaluate the saved networks of one run or of several under a test protocol.

Several processes share the images, and each has the whole result; see `shares.py`.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from cnn_archs.config_keys import unknown_message
from cnn_archs.data.datasets.splits import Split
from cnn_archs.data.loading import pixel_statistics
from cnn_archs.data.loading.in_memory import Resident
from cnn_archs.data.loading.streaming import Streamed
from cnn_archs.data.record import read_record
from cnn_archs.distributed import mesh as meshes
from cnn_archs.distributed import multihost
from cnn_archs.errors import ConfigError, DataError
from cnn_archs.evaluate import ensemble, protocols, recalibrate_bn, views
from cnn_archs.evaluate.ensemble import Member
from cnn_archs.evaluate.evaluator import finite_report, sum_metrics
from cnn_archs.evaluate.load import RestoredRun, load_images, open_run, restore_run
from cnn_archs.evaluate.shares import gather_probabilities, own_share, sum_over_shares
from cnn_archs.evaluate.step import compile_eval, make_eval_step
from cnn_archs.experiment import Experiment, order_notes
from cnn_archs.experiment_inputs import make_dataset
from cnn_archs.metrics import stack_by_seed
from cnn_archs.run_dir import RunDir
from cnn_archs.runtime.console import print_notes
from cnn_archs.runtime.environment import describe_environment, provenance


def evaluate_runs(
    workdirs: Sequence[Path],
    protocol: str,
    split: str,
    precise_stats: int = 0,
    data_dir: str = "",
    size: int = 0,
) -> dict[str, Any]:
    """Return the errors of runs on `split` under `protocol`, in the form of result.json.

    Several runs are evaluated as one ensemble of all their networks: see
    `ensemble.combine_members`. precise_stats: number of training images over which the statistics
    of batch normalization are recomputed first; 0 keeps those of training. data_dir: where the
    images are; empty: where they were in training. size: the side, in pixels, of the one view of
    the protocol `single`; 0: that of training. Raises ConfigError for an unknown protocol, for a
    size that does not fit, and for runs without the same examples.
    """
    if protocol not in views.PROTOCOLS:
        raise ConfigError(unknown_message("--protocol", protocol, list(views.PROTOCOLS)))
    if size and protocol != "single":
        raise ConfigError(
            f"--size={size} is the side of one view: it needs --protocol=single, not {protocol}"
        )
    experiments = [open_run(workdir, data_dir) for workdir in workdirs]
    ensemble.check_same_examples(workdirs, experiments, split)
    notes = dict.fromkeys(note for e in experiments for note in notes_of(e))
    print_notes(notes if multihost.is_primary() else ())
    alone = len(workdirs) == 1
    if alone and protocol == "single" and not size:
        found = evaluate_as_in_training(
            restore_run(workdirs[0], experiments[0]), split, precise_stats
        )
    else:
        members = [
            evaluate_member(restore_run(workdir, experiment), protocol, split, precise_stats, size)
            for workdir, experiment in zip(workdirs, experiments, strict=True)
        ]
        found = members[0].result if alone else ensemble.combine_members(members, split)
    configs = [experiment.config for experiment in experiments]
    made = describe_environment()
    if alone:
        made |= RunDir(workdirs[0]).origin() | RunDir(workdirs[0]).recipe()
    return {**found, "made": provenance(made, *configs)}


def notes_of(experiment: Experiment) -> list[str]:
    """Return lines for the user about what is evaluated.

    Only a run that was never trained may need one about its outputs; others have had it.
    """
    dataset = experiment.dataset
    unknown = [] if dataset.recorded else order_notes(experiment.classes, dataset.classes)
    return [*dataset.notes(), *unknown]


def count_classes(workdir: Path, data_dir: str = "") -> int:
    """Count the classes of the images of the run in `workdir`. data_dir: see `evaluate_runs`."""
    folder = RunDir(workdir)
    return make_dataset(folder.config(), read_record(folder), data_dir).classes


def evaluate_as_in_training(saved: RestoredRun, split: str, precise_stats: int) -> dict[str, Any]:
    """Evaluate a run as training does: one central view of each image, and the training loss."""
    experiment, mesh = saved.experiment, meshes.own_mesh()
    net, size = experiment.net, experiment.eval_batch_size
    images, changed = load_images(saved.workdir, experiment, split)
    share = own_share(images)
    data = Resident(share, mesh) if isinstance(share, Split) else share
    prepare = net.inputs.make_preprocess(load_statistics(saved.workdir, experiment))
    eval_step = compile_eval(
        make_eval_step(net.model, experiment.recipe.loss, prepare),
        mesh,
        resident=net.inputs.resident,
    )
    networks, used = network_variables(saved, split, precise_stats)

    def report(name: str, variables: dict[str, Any]) -> dict[str, float]:
        own = sum_metrics(eval_step, variables, data, size, mesh) if data.examples else None
        return finite_report(sum_over_shares(own, images), f"{name} of {saved.label}")

    found = {
        name: stack_by_seed([report(name, v) for v in by_seed])
        for name, by_seed in networks.items()
    }
    return {**result_header(saved, "single", 1, []), **used, **found, **changed}


def evaluate_member(
    saved: RestoredRun, protocol: str, split: str, precise_stats: int, size: int = 0
) -> Member:
    """Evaluate the networks of a run under `protocol`. precise_stats, size: see `evaluate_runs`."""
    experiment, net = saved.experiment, saved.experiment.net
    at_once = experiment.eval_batch_size
    if size:
        trained, net = net, protocols.with_view_size(net, size)
        at_once = protocols.images_at_once(at_once, trained.image_shape, net.image_shape)
    passes = views.protocol_passes(protocol, net.inputs.crop, experiment.test_scales)
    protocols.check_dense_scales(net, protocol, passes)
    networks, used = network_variables(saved, split, precise_stats)
    images, changed = load_images(saved.workdir, experiment, split)
    found = gather_probabilities(
        protocols.mean_probabilities(
            net,
            [v for by_seed in networks.values() for v in by_seed],
            own_share(images),
            passes,
            load_statistics(saved.workdir, experiment),
            at_once,
            meshes.own_mesh(),
        ),
        images,
    )
    flat = found.by_network  # all seeds of the first name, then those of the next
    by_name = flat.reshape(len(networks), len(experiment.seeds), *flat.shape[1:])
    probabilities = dict(zip(networks, by_name, strict=True))
    reports = {
        name: stack_by_seed(
            [protocols.report_probabilities(p, found.labels, found.readable) for p in by_seed]
        )
        for name, by_seed in probabilities.items()
    }
    number = views.count_views(passes, net.inputs.crop.out)
    scales = [size] if size else list(dict.fromkeys(p.scale for p in passes if p.scale))
    name = f"{protocol}_{size}" if size else protocol  # another name: another column of a table
    result = {**result_header(saved, name, number, scales), **used, **reports, **changed}
    return Member(saved.workdir, saved.label, result, probabilities, found.labels, found.readable)


def result_header(
    saved: RestoredRun, protocol: str, number: int, scales: list[int]
) -> dict[str, Any]:
    """Return all entries of a result except the errors.

    number: views of each image. scales: the shorter sides, in pixels, that images were resized to.
    """
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
    """Return ({name: variables of each seed}, entries of the result about `precise_stats`).

    The names are `split` and, if the run has averaged weights, SPLIT_average. precise_stats: see
    `evaluate_runs`.
    """
    experiment, net = saved.experiment, saved.experiment.net
    names = {split: False, **({f"{split}_average": True} if saved.average else {})}
    found = {
        name: [saved.seed_variables(i, averaged) for i in range(len(experiment.seeds))]
        for name, averaged in names.items()
    }
    if not precise_stats:
        return found, {}
    mesh, train = meshes.own_mesh(), load_training_images(saved.workdir, experiment)
    batches = recalibrate_bn.choose_batches(
        precise_stats, len(train), experiment.eval_batch_size, mesh
    )
    prepare = net.inputs.make_preprocess(load_statistics(saved.workdir, experiment))
    every = [v for by_seed in found.values() for v in by_seed]
    first = experiment.seeds[0]
    anew = iter(recalibrate_bn.recalibrate(net, every, train, prepare, batches, first, mesh))
    used = {"precise_stats": batches[0] * batches[1]}
    return {name: [next(anew) for _ in by_seed] for name, by_seed in found.items()}, used


def load_statistics(workdir: Path, experiment: Experiment) -> pixel_statistics.Statistics:
    """Load the statistics of the training images for preprocessing, or compute them.

    They are stored for the next time, if the folder of the run can be written.
    """
    inputs = experiment.inputs

    def train() -> Split | Streamed:
        return load_training_images(workdir, experiment)

    path = RunDir(workdir).statistics
    found = multihost.broadcast_arrays(lambda: pixel_statistics.read_statistics(path))
    if found is None:
        found = pixel_statistics.compute_statistics(inputs, train)
        if found and multihost.is_primary():
            with suppress(OSError):
                pixel_statistics.write_statistics(path, found)
    return found


def load_training_images(workdir: Path, experiment: Experiment) -> Split | Streamed:
    """Load the training images of a run. Raises DataError if they have changed since."""
    train, changed = load_images(workdir, experiment, "train")
    if changed:
        what = changed["changed_data"]
        raise DataError(
            f"{RunDir(workdir).label()} needs its own training images, which have changed: {what}"
        )
    return train
