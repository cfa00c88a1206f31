"""Format a plan as text."""

from collections.abc import Iterable
from typing import Any

from cnn_archs.planning.devices import OF_BANDWIDTH, OF_PEAK
from cnn_archs.report.table import Table
from cnn_archs.runtime.console import format_duration

MEMORY_PARTS = {
    "parameters": "parameters",
    "optimizer": "optimizer",
    "statistics": "batch statistics, averages",
    "gradients": "gradients",
    "activations": "activations, temporaries",
    "batch": "batches",
    "dataset": "dataset",
}
ESTIMATE_SOURCES = {"measured": "measured", "near": "similar networks", "roofline": "roofline"}


def format_plan(plan: dict[str, Any]) -> str:
    """Format the whole plan."""
    head = f"{plan['name']} on {plan['dataset']}, {plan['devices']} x {plan['kind']}"
    sections = (
        format_training(plan),
        format_memory(plan),
        format_time(plan),
        format_measured(plan),
    )
    return "\n\n".join([head, *filter(None, sections)])


def format_training(plan: dict[str, Any]) -> str:
    """Format the network, the batch, the length of the training and what is read."""
    network, training = plan["network"], plan["training"]
    batch = f"{training['batch_size']:,} images, {training['batch_a_device']:,} per device"
    if training["micro_batch"]:
        batch += f", computed {training['micro_batch']:,} at a time"
    seeds = f"; {training['seeds']} seeds" if training["seeds"] > 1 else ""
    epochs = f"{training['epochs']:.4g} epochs of {training['images']:,} images"
    assumed = "" if training["counted"] else " (assumed: no data here)"
    sizes = f"{network['params']:,} parameters, {network['macs']:,} multiply-adds per image"
    rows = [
        ("network", sizes),
        ("step", f"{batch}; {network['flops_a_step']:.3g} FLOP"),
        ("training", f"{training['steps']:,} steps, {epochs}{assumed}{seeds}"),
        ("reading", format_reading(plan["reading"])),
        ("", f"{format_bytes(plan['reading']['bytes_sent_a_step'])} to the devices per step"),
    ]
    return Table((), rows, words=(0, 1)).text()


def format_reading(reading: dict[str, Any]) -> str:
    """Format what is read from disk."""
    if reading["resident"]:
        return f"{format_bytes(reading['bytes'])} of pixels, read once and kept on each device"
    each = "" if reading["weighed"] else " (assumed)"
    return (
        f"{format_bytes(reading['bytes_an_epoch'])} per epoch, "
        f"{format_bytes(reading['bytes'])} in total; "
        f"{format_bytes(reading['bytes_an_image'])} per image{each}"
    )


def format_memory(plan: dict[str, Any]) -> str:
    """Format the memory of one device."""
    found = plan["memory"]
    rows = [("memory per device", "")]
    parts = ((name, found["parts"][part]) for part, name in MEMORY_PARTS.items())
    rows += [(f"  {name}", format_bytes(part)) for name, part in parts if part]
    rows += [(f"in {w}", format_bytes(found[w])) for w in ("training", "evaluation")]
    return f"{Table((), rows).text()}\n{format_fit(found)}\n(by {found['analysed_by']})"


def format_fit(found: dict[str, Any]) -> str:
    """Format whether the training fits, and what would make it fit."""
    there = f"a device has {format_bytes(found['memory'])}"
    if found["usable"] < found["memory"]:
        there += f", of which jax takes {format_bytes(found['usable'])} (XLA_CLIENT_MEM_FRACTION)"
    if found["fits"]:
        return f"{there}: this fits"
    if found["training_fits"]:
        return f"{there}: evaluation does NOT fit; lower --config.eval_batch_size"
    if found["micro_batch"]:
        would = f"it would fit with --config.data.micro_batch={found['micro_batch']}"
        return f"{there}: this does NOT fit; {would}"
    return f"{there}: this does NOT fit, with any data.micro_batch"


def format_time(plan: dict[str, Any]) -> str:
    """Format the time per step and of all steps, by each estimate."""
    found, reading = plan["time"], plan["input"]
    heads = ["estimate by", "images/s per device", "per step", "all steps", "limited by"]
    rows = []
    starved = reading and not reading["keeps_up"]
    if starved:
        heads.insert(4, "with this input")
    for e in found["expected"]:
        row = [ESTIMATE_SOURCES[e["source"]], f"{e['images_per_second']:,.0f}"]
        row += [
            format_range(map(format_milliseconds, e["step"])),
            format_range(map(format_duration, e["seconds"])),
        ]
        row += [format_range(map(format_duration, e["with_input"]))] if starved else []
        rows.append([*row, format_limit(e["limit"], found)])
    bound = f"{format_milliseconds(found['arithmetic'])} of arithmetic at {OF_PEAK} of the peak"
    if found["memory"]:
        traffic = format_milliseconds(found["memory"])
        bound += f", {traffic} of traffic at {OF_BANDWIDTH} of the bandwidth"
    lines = [
        Table(heads, rows).text(),
        f"roofline: {bound};",
        "both shares are assumed; launching kernels, which limits small steps, is not included",
    ]
    if plan["devices"] > 1:
        lines += [
            f"all-reduce: {format_milliseconds(found['all_reduce'])}, {found['all_reduce_is']}, "
            f"G = {format_bytes(found['gradients'])};",
            "the ranges are from all of it to none of it hidden behind the computation",
        ]
    lines.append(format_input(plan) if reading else "input: all images are kept on the devices")
    compiling = "is not included"
    if found["compile"] is not None:
        compiling = f"took {format_duration(found['compile'])}, which is not included"
    lines.append(f"compilation, before the first step, {compiling}")
    return "\n".join(lines)


def format_limit(name: str, found: dict[str, Any]) -> str:
    """Name what limits the speed; for devices, arithmetic or memory traffic."""
    if name != "devices":
        return name.replace("_", "-")
    return "memory traffic" if found["memory"] > found["arithmetic"] else "arithmetic"


def format_input(plan: dict[str, Any]) -> str:
    """Format whether decoding keeps up with the devices."""
    found = plan["input"]
    hosts = f"{found['hosts']} hosts x " if found["hosts"] > 1 else ""
    of = f"{hosts}{found['cores']} cores x {found['images_per_second_a_core']:,.0f}"
    disk = format_bytes(found["wanted"] * plan["reading"]["bytes_an_image"])
    verdict = "keeps up" if found["keeps_up"] else "does NOT keep up"
    return (
        f"input: {of} images/s, measured here with {found['decoded']};\n"
        f"{found['images_per_second']:,.0f} images/s available, {found['wanted']:,.0f} needed, "
        f"{disk}/s from disk: {verdict}"
    )


def format_measured(plan: dict[str, Any]) -> str:
    """Format the results of the same training on such devices; return "" if there are none."""
    heads = ("measured", "devices", "images/s", "steps", "per seed")
    rows = []
    for m in plan["measured"]:
        speed = (f"{m['images_per_second']:,.0f}", f"{m['steps']:,}", format_duration(m["seconds"]))
        rows.append((m["file"], f"{m['devices']} x {plan['kind']}", *speed))
    return Table(heads, rows).text() if rows else ""


def format_range(least_and_most: Iterable[str]) -> str:
    """Format `1 h to 2 h`, or one value if both are equal."""
    return " to ".join(dict.fromkeys(least_and_most))


def format_milliseconds(seconds: float) -> str:
    """Format seconds as `12 ms` or `1.2 s`."""
    return f"{1000 * seconds:.3g} ms" if seconds < 0.9995 else f"{seconds:.3g} s"


def format_bytes(number: float) -> str:
    """Format bytes with three digits: `1.2 GB`."""
    units = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
    unit, name = next((u for u in units if number >= 0.9995 * u[0]), (1.0, "B"))
    return f"{number / unit:.3g} {name}"
