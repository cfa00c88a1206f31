"""Plan a training before it runs: its steps, bytes, memory, seconds, and its bottleneck."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax

from cnn_archs.arithmetic import ceil_div
from cnn_archs.experiment import Experiment
from cnn_archs.models.summary import summarize, totals
from cnn_archs.optim.recipe import Recipe
from cnn_archs.planning import input_rate, throughput, xla_memory
from cnn_archs.planning.devices import DeviceSpec
from cnn_archs.planning.input_rate import InputVolume
from cnn_archs.planning.memory import DeviceMemory
from cnn_archs.planning.step_cost import step_flops, step_traffic
from cnn_archs.planning.throughput import MeasuredRun, SpeedEstimate, StepBounds
from cnn_archs.training.placement import place_model
from cnn_archs.training.seeds import choose_axis


def make_plan(
    experiment: Experiment, kind: DeviceSpec, cores: int, files: Iterable[Path]
) -> dict[str, Any]:
    """Plan `experiment` for as many devices of `kind` as jax has here.

    cores: CPU cores per host, for decoding. files: result files; those made on such devices are
    used. Keys of the plan: name, dataset, kind, devices; network, training; reading, in bytes;
    memory, in bytes of one device, where `parts` are those during training; time, in seconds per
    step, where `expected` has one estimate per source, the best first, and `compile` the seconds of
    compilation, None if they are not known; input, in images per second, None if all images are on
    the devices; measured, the results of the same network, input and batch. Raises ConfigError if
    settings do not fit together, DataError if the dataset is missing and its size is not known.
    """
    recipe, on = experiment.recipe, place_model(experiment)
    net, mesh = on.net, on.mesh
    taken = input_rate.input_volume(experiment)
    axis = choose_axis(
        experiment.seeds_form,
        in_memory=taken.resident,
        devices=mesh.size,
        platform=kind.platform,
    )
    held = DeviceMemory(experiment, on, taken, axis)
    size = totals(summarize(net.model, net.image_shape))
    lasts = training_length(recipe, taken.images, len(experiment.seeds)) | {
        "batch_a_device": held.batch // held.shared_by
    }
    found = {
        "name": experiment.name,
        "dataset": experiment.dataset.name,
        "kind": kind.name,
        "devices": mesh.size,
        "network": {
            "input": list(net.image_shape),
            "params": size["params"],
            "macs": size["macs"],
            "flops_a_step": step_flops(net, recipe),
        },
        "training": {"images": taken.images, "counted": taken.counted, **lasts},
        "reading": bytes_to_read(taken, lasts),
        "memory": memory_fit(held, kind, recipe.micro_batch_size),
    }
    known = throughput.measured_runs(files, experiment.config, size["macs"], kind)
    decoding = None if taken.resident else decoding_rate(held, kind, cores)
    return found | time_and_input(found, held, kind, known, decoding)


def training_length(recipe: Recipe, images: int, seeds: int) -> dict[str, Any]:
    """Return the batch size, steps, epochs and seeds of a training on `images` images."""
    steps = recipe.total_steps(images)
    return {
        "batch_size": recipe.batch_size,
        "micro_batch": recipe.micro_batch,
        "steps": steps,
        "epochs": float(steps / recipe.steps_per_epoch(images)),
        "seeds": seeds,
    }


def bytes_to_read(taken: InputVolume, lasts: dict[str, Any]) -> dict[str, Any]:
    """Return the bytes that are read from disk and sent to the devices."""
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


def memory_fit(held: DeviceMemory, kind: DeviceSpec, at_once: int) -> dict[str, Any]:
    """Compare the bytes that one device needs with those that it has.

    In the result, `micro_batch` is the largest that would fit if this training does not, else None.
    `evaluation` has the bytes during an evaluation with eval_batch_size images.
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
        "analysed_by": analysis_source(
            held, kind, in_parts=at_once < held.batch or not fits["training"]
        ),
    }


def analysis_source(held: DeviceMemory, kind: DeviceSpec, *, in_parts: bool) -> str:
    """Format how the memory was found, and the limits of that analysis."""
    said = f"XLA's analysis for {jax.default_backend()}, jax {jax.__version__}"
    if kind.name != jax.default_backend():
        said += f"; temporaries on {kind.name} differ"
    if xla_memory.as_float32(held.net.model)[1] > 1:
        said += "; bfloat16 counted as half of float32"
    if held.net.model.remat and not held.net.model.scan_blocks:
        said += "; without what remat saves, which XLA undoes on a CPU"
    if kind.name == "cpu" and in_parts:
        said += "; parts of a batch as accelerators compute them: a CPU holds more"
    return said


def decoding_rate(held: DeviceMemory, kind: DeviceSpec, cores: int) -> dict[str, Any]:
    """Estimate the images per second that all hosts decode, from the speed of one core here."""
    each = input_rate.decoding_rate_of_a_core(held.net.inputs.crop, held.taken.sample)
    threads = held.experiment.dataset.threads or cores
    hosts = ceil_div(held.on.mesh.size, kind.host)
    return {
        "images_per_second_a_core": each,
        "decoded": "its own images" if held.taken.sample else "a drawing of 500x375",
        "cores": threads,
        "hosts": hosts,
        "images_per_second": each * threads * hosts,
    }


def time_and_input(
    found: dict[str, Any],
    held: DeviceMemory,
    kind: DeviceSpec,
    known: Sequence[MeasuredRun],
    decoding: dict[str, Any] | None,
) -> dict[str, Any]:
    """Return {time, input, measured} of a plan whose other keys are in `found`."""
    experiment, batch = held.experiment, held.batch
    gradients = held.program(experiment.recipe.micro_batch_size).params
    arithmetic, memory = throughput.roofline_seconds(
        kind,
        found["network"]["flops_a_step"] / held.shared_by,
        step_traffic(held),
        held.net.model.dtype,
        experiment.matmul_precision,
    )
    share = batch / held.shared_by  # images per device
    roof = SpeedEstimate("roofline", share / max(arithmetic, memory), "peaks of the kind")
    reduced = throughput.all_reduce_seconds(kind, gradients, held.shared_by)
    read = batch / decoding["images_per_second"] if decoding else 0.0
    expected = [
        time_row(e, StepBounds(share / e.images_per_second, reduced, read), found["training"])
        for e in throughput.speed_estimates(known, found["network"]["macs"], kind, roof)
    ]
    wanted = batch / expected[0]["step"][0]
    return {
        "time": {
            "expected": expected,
            "arithmetic": arithmetic,
            "memory": memory,
            "all_reduce": reduced,
            "gradients": gradients,
            "all_reduce_is": throughput.all_reduce_formula(kind, held.shared_by),
            "all_reduce_bytes": 2 * (held.shared_by - 1) * gradients // held.shared_by,
            "input": read,
            "compile": next((k.compile_seconds for k in known if k.alike and k.apart), None),
        },
        "input": decoding
        and decoding | {"wanted": wanted, "keeps_up": decoding["images_per_second"] >= wanted},
        "measured": [k._asdict() for k in known if k.alike],
    }


def time_row(estimate: SpeedEstimate, bounds: StepBounds, lasts: dict[str, Any]) -> dict[str, Any]:
    """Format an estimate with its [least, most] seconds.

    `step` is for one step, `seconds` for all steps of all seeds, and `with_input` for all steps
    with the limit that the input sets.
    """
    steps = lasts["steps"] * lasts["seeds"]
    return {
        **estimate._asdict(),
        "step": list(bounds.step),
        "seconds": [steps * s for s in bounds.step],
        "with_input": [steps * s for s in bounds.with_input],
        "limit": bounds.limit,
    }
