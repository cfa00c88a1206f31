"""A plan as a person reads it."""

from collections.abc import Iterable
from typing import Any

from cnn_archs.planning.devices import OF_BANDWIDTH, OF_PEAK
from cnn_archs.report.table import Table
from cnn_archs.runtime.console import format_duration

HELD = {
    "parameters": "parameters",
    "optimizer": "optimizer",
    "statistics": "batch statistics, averages",
    "gradients": "gradients",
    "activations": "activations, temporaries",
    "batch": "batches",
    "dataset": "dataset",
}
SOURCES = {"measured": "measured", "near": "others, by size", "roofline": "roofline"}


def text(plan: dict[str, Any]) -> str:
    """All of it."""
    head = f"{plan['name']} on {plan['dataset']}, {plan['devices']} x {plan['kind']}"
    sections = (whole(plan), memory(plan), time(plan), against(plan))
    return "\n\n".join([head, *filter(None, sections)])


def whole(plan: dict[str, Any]) -> str:
    """Of the network and what it is trained on."""
    network, training = plan["network"], plan["training"]
    batch = f"{training['batch_size']:,} images, {training['batch_a_device']:,} on a device"
    if training["micro_batch"]:
        batch += f", computed {training['micro_batch']:,} at a time"
    seeds = f"; {training['seeds']} seeds" if training["seeds"] > 1 else ""
    epochs = f"{training['epochs']:.4g} epochs of {training['images']:,} images"
    assumed = "" if training["counted"] else " (assumed: no data here)"
    sizes = f"{network['params']:,} parameters, {network['macs']:,} multiply-adds an image"
    rows = [
        ("network", sizes),
        ("step", f"{batch}; {network['flops_a_step']:.3g} FLOP"),
        ("training", f"{training['steps']:,} steps, {epochs}{assumed}{seeds}"),
        ("reading", read(plan["reading"])),
        ("", f"{size(plan['reading']['bytes_sent_a_step'])} to the devices a step"),
    ]
    return Table((), rows, words=(0, 1)).text()


def read(reading: dict[str, Any]) -> str:
    """From the disk."""
    if reading["resident"]:
        return f"{size(reading['bytes'])} of pixels, once, which stay on each device"
    each = "" if reading["weighed"] else " (assumed)"
    return (
        f"{size(reading['bytes_an_epoch'])} an epoch, {size(reading['bytes'])} in all; "
        f"{size(reading['bytes_an_image'])} an image{each}"
    )


def memory(plan: dict[str, Any]) -> str:
    """Of one device."""
    found = plan["memory"]
    rows = [("memory of a device", "")]
    parts = ((name, found["parts"][part]) for part, name in HELD.items())
    rows += [(f"  {name}", size(part)) for name, part in parts if part]
    rows += [(f"in {w}", size(found[w])) for w in ("training", "evaluation")]
    return f"{Table((), rows).text()}\n{verdict(found)}\n(by {found['analysed_by']})"


def verdict(found: dict[str, Any]) -> str:
    """Does it fit, and what would?"""
    there = f"it has {size(found['memory'])}"
    if found["usable"] < found["memory"]:
        there += f", and jax takes {size(found['usable'])} (XLA_CLIENT_MEM_FRACTION)"
    if found["fits"]:
        return f"{there}: this fits"
    if found["training_fits"]:
        return f"{there}: evaluation does NOT fit; lower --config.eval_batch_size"
    if found["micro_batch"]:
        would = f"it would with --config.data.micro_batch={found['micro_batch']}"
        return f"{there}: this does NOT fit; {would}"
    return f"{there}: this does NOT fit, nor would a part of the batch"


def time(plan: dict[str, Any]) -> str:
    """Of a step and of all of them."""
    found, reading = plan["time"], plan["input"]
    heads = ["expected by", "images/s of one", "a step", "all steps", "held up by"]
    rows = []
    starved = reading and not reading["keeps_up"]
    if starved:
        heads.insert(4, "with this input")
    for e in found["expected"]:
        row = [SOURCES[e["source"]], f"{e['images_per_second']:,.0f}"]
        row += [between(map(milliseconds, e["step"])), between(map(format_duration, e["seconds"]))]
        row += [between(map(format_duration, e["with_input"]))] if starved else []
        rows.append([*row, limit(e["limit"], found)])
    bound = f"{milliseconds(found['arithmetic'])} of arithmetic at {OF_PEAK} of the peak"
    if found["memory"]:
        bound += f", {milliseconds(found['memory'])} of traffic at {OF_BANDWIDTH} of the bandwidth"
    lines = [
        Table(heads, rows).text(),
        f"roofline: {bound};",
        "both shares are assumed, and starting kernels, which holds up small steps, is not in it",
    ]
    if plan["devices"] > 1:
        lines += [
            f"all-reduce: {milliseconds(found['all_reduce'])}, {found['all_reduce_is']}, for G = "
            f"{size(found['gradients'])};",
            "from all of it hidden behind the gradients still to come, to none of it",
        ]
    lines.append(input_(plan) if reading else "input: on the devices, nothing to keep up with")
    return "\n".join(lines)


def limit(name: str, found: dict[str, Any]) -> str:
    """What takes longest; of the devices, what the roofline says of them."""
    if name != "devices":
        return name.replace("_", "-")
    return "memory traffic" if found["memory"] > found["arithmetic"] else "arithmetic"


def input_(plan: dict[str, Any]) -> str:
    """Does the reading keep up?"""
    found = plan["input"]
    hosts = f"{found['hosts']} hosts x " if found["hosts"] > 1 else ""
    of = f"{hosts}{found['cores']} cores x {found['images_per_second_a_core']:,.0f}"
    disk = size(found["wanted"] * plan["reading"]["bytes_an_image"])
    verdict = "keeps up" if found["keeps_up"] else "does NOT keep up"
    return (
        f"input: {of} images/s, measured here with {found['decoded']};\n"
        f"{found['images_per_second']:,.0f} against {found['wanted']:,.0f} wanted, {disk}/s from "
        f"the disk: {verdict}"
    )


def against(plan: dict[str, Any]) -> str:
    """What was measured of it."""
    heads = ("measured", "devices", "images/s", "steps", "a seed")
    rows = []
    for m in plan["measured"]:
        speed = (f"{m['images_per_second']:,.0f}", f"{m['steps']:,}", format_duration(m["seconds"]))
        rows.append((m["file"], f"{m['devices']} x {plan['kind']}", *speed))
    return Table(heads, rows).text() if rows else ""


def between(least_and_most: Iterable[str]) -> str:
    """`1 h to 2 h`, or the one that both are."""
    return " to ".join(dict.fromkeys(least_and_most))


def milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms" if seconds < 0.9995 else f"{seconds:.3g} s"


def size(number: float) -> str:
    """`1.2 GB`: bytes with three figures."""
    units = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
    unit, name = next((u for u in units if number >= 0.9995 * u[0]), (1.0, "B"))
    return f"{number / unit:.3g} {name}"
