"""What a training would cost, before it runs: steps, bytes, memory, seconds, and what limits it."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax

from cnn_archs.experiment import Experiment
from cnn_archs.models.summary import summarize, totals
from cnn_archs.optim.recipe import Recipe
from cnn_archs.planning import input_rate, throughput, xla_memory
from cnn_archs.planning.devices import Kind
from cnn_archs.planning.input_rate import Intake
from cnn_archs.planning.memory import Memory
from cnn_archs.planning.throughput import Bounds, Estimate, Measured
from cnn_archs.training.placement import place_model
from cnn_archs.training.seeds import fastest_axis


def plan(experiment: Experiment, kind: Kind, cores: int, files: Iterable[Path]) -> dict[str, Any]:
    """The plan of `experiment` for as many devices of `kind` as jax sees here.

    cores: of each host, that decode. files: results; those count that such devices gave. The plan:
    name, dataset, kind, devices; network, training, reading (bytes); memory (bytes of one device;
    its `parts` are those in training); time (seconds of a step; `expected`: by each of its sources,
    the best first); input (images a second; None where they are on the devices); measured (results
    of the same network, input and batch). ConfigError where things do not fit together, DataError
    for data that is neither there nor known.
    """
    recipe, on = experiment.recipe, place_model(experiment)
    net, mesh = on.net, on.mesh
    taken = input_rate.intake(experiment)
    axis = fastest_axis(in_memory=taken.resident, devices=mesh.size, platform=kind.name)
    held = Memory(experiment, on, taken, axis)
    size = totals(summarize(net.model, net.image_shape))
    trained = totals(summarize(net.model, net.image_shape, train=True))
    lasts = length(recipe, taken.images, len(experiment.seeds)) | {
        "batch_a_device": held.batch // held.shared_by
    }
    # An addition and a multiplication in each pass: forward, for the gradients of maps and of
    # weights, and with `remat` forward again.
    passes = 8 if net.model.remat else 6
    found = {
        "name": experiment.name,
        "dataset": experiment.dataset.name,
        "kind": kind.name,
        "devices": mesh.size,
        "network": {
            "input": list(net.image_shape),
            "params": size["params"],
            "macs": size["macs"],
            "flops_a_step": passes * trained["macs"] * recipe.batch_size,
        },
        "training": {"images": taken.images, "counted": taken.counted, **lasts},
        "reading": reading(taken, lasts),
        "memory": fit(held, kind, recipe.micro_batch_size),
    }
    known = throughput.measured(files, experiment.config, size["macs"], kind)
    decoding = None if taken.resident else decoded(held, kind, cores)
    return found | paced(found, held, kind, known, decoding)


def length(recipe: Recipe, images: int, seeds: int) -> dict[str, Any]:
    """Batches, steps and epochs of a training on so many images, and seeds."""
    steps = recipe.total_steps(images)
    return {
        "batch_size": recipe.batch_size,
        "micro_batch": recipe.micro_batch,
        "steps": steps,
        "epochs": float(steps / recipe.steps_per_epoch(images)),
        "seeds": seeds,
    }


def reading(taken: Intake, lasts: dict[str, Any]) -> dict[str, Any]:
    """Bytes from the disk and to the devices."""
    once = taken.images * taken.stored
    passes = 1 if taken.resident else lasts["epochs"] * lasts["seeds"]
    return {
        "resident": taken.resident,
        "bytes_an_image": taken.stored,
        "weighed": taken.resident or bool(taken.sample),
        "bytes_an_epoch": 0 if taken.resident else once,
        "bytes": round(once * passes),
        "bytes_sent_a_step": lasts["batch_size"] * taken.sent,
    }


def fit(held: Memory, kind: Kind, at_once: int) -> dict[str, Any]:
    """Bytes of one device against those that it has, and what would fit if this does not.

    micro_batch: the largest that would, or None. evaluation: with eval_batch_size images.
    """
    training, evaluation = held.training(at_once), held.evaluation(held.experiment.eval_batch_size)
    need = {"training": sum(training.values()), "evaluation": sum(evaluation.values())}
    usable = round(kind.memory * kind.usable)
    fits = {what: size <= usable for what, size in need.items()}
    return {
        "parts": training,
        **need,
        "memory": round(kind.memory),
        "usable": usable,
        "fits": all(fits.values()),
        "training_fits": fits["training"],
        "micro_batch": None if fits["training"] else held.fitting_part(usable, at_once),
        "analysed_by": analyst(held, kind, in_parts=at_once < held.batch or not fits["training"]),
    }


def analyst(held: Memory, kind: Kind, *, in_parts: bool) -> str:
    """Who says so, and what is to be known of it."""
    said = f"XLA's analysis for {jax.default_backend()}, jax {jax.__version__}"
    if kind.name != jax.default_backend():
        said += f"; temporaries on {kind.name} are others"
    if xla_memory.widened(held.net.model)[1] > 1:
        said += "; of bfloat16, half of what float32 takes"
    if held.net.model.remat and not held.net.model.scan_blocks:
        said += "; without what remat saves, which XLA undoes on a CPU"
    if kind.name == "cpu" and in_parts:
        said += "; parts of a batch as accelerators compute them: a CPU holds more"
    return said


def decoded(held: Memory, kind: Kind, cores: int) -> dict[str, Any]:
    """How many images a second all hosts decode, by what one core of this one does now."""
    each = input_rate.decoded_by_a_core(held.net.inputs.crop, held.taken.sample)
    threads = held.experiment.dataset.threads or cores
    hosts = -(-held.on.mesh.size // kind.host)
    return {
        "images_per_second_a_core": each,
        "decoded": "its own images" if held.taken.sample else "a drawing of 500x375",
        "cores": threads,
        "hosts": hosts,
        "images_per_second": each * threads * hosts,
    }


def paced(
    found: dict[str, Any],
    held: Memory,
    kind: Kind,
    known: Sequence[Measured],
    decoding: dict[str, Any] | None,
) -> dict[str, Any]:
    """{time, input, measured} of a plan, whose other parts are `found`."""
    experiment, batch = held.experiment, held.batch
    parts = batch // experiment.recipe.micro_batch_size
    of_step = held.program(batch // parts)
    arithmetic, memory = throughput.roofline(
        kind,
        found["network"]["flops_a_step"] / held.shared_by,
        parts * (of_step.traffic or 0),
        held.net.model.dtype,
        experiment.matmul_precision,
    )
    share = batch / held.shared_by  # images of a device
    roof = Estimate("roofline", share / max(arithmetic, memory), "peaks of the kind")
    reduced = throughput.all_reduce(kind, of_step.params, held.shared_by)
    read = batch / decoding["images_per_second"] if decoding else 0.0
    expected = [
        row(e, Bounds(share / e.images_per_second, reduced, read), found["training"])
        for e in throughput.estimates(known, found["network"]["macs"], kind, roof)
    ]
    wanted = batch / expected[0]["step"][0]
    return {
        "time": {
            "expected": expected,
            "arithmetic": arithmetic,
            "memory": memory,
            "all_reduce": reduced,
            "gradients": of_step.params,
            "all_reduce_is": throughput.all_reduce_in_words(kind, held.shared_by),
            "all_reduce_bytes": 2 * (held.shared_by - 1) * of_step.params // held.shared_by,
            "input": read,
        },
        "input": decoding
        and decoding | {"wanted": wanted, "keeps_up": decoding["images_per_second"] >= wanted},
        "measured": [k._asdict() for k in known if k.alike],
    }


def row(estimate: Estimate, bounds: Bounds, lasts: dict[str, Any]) -> dict[str, Any]:
    """An estimate with its [least, most] seconds: of a step, and of all steps of all seeds without
    and with the limit that the input is."""
    steps = lasts["steps"] * lasts["seeds"]
    return {
        **estimate._asdict(),
        "step": list(bounds.step),
        "seconds": [steps * s for s in bounds.step],
        "with_input": [steps * s for s in bounds.with_input],
        "limit": bounds.limit,
    }
