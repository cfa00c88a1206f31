"""A plan as a person reads it."""

from typing import Any

from cnn_archs.analysis.estimate import clock
from cnn_archs.analysis.kinds import OF_BANDWIDTH, OF_PEAK
from cnn_archs.analysis.report import aligned

HELD = {
    "parameters": "parameters",
    "optimizer": "optimizer",
    "statistics": "batch statistics, averages",
    "gradients": "gradients",
    "activations": "activations, temporaries",
    "batch": "batches, as they come",
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
    network, training, reading = plan["network"], plan["training"], plan["reading"]
    batch = f"{training['batch_size']:,} images, {training['batch_size'] / plan['devices']:g} a device"
    if training["micro_batch"]:
        batch += f", {training['micro_batch']:,} at once"
    counted = "" if training["counted"] else ", by what is known of it: the data is not here"
    seeds = f", {training['seeds']} seeds one after another" if training["seeds"] > 1 else ""
    steps = f"{training['steps']:,} steps, {training['epochs']:g} epochs of {training['images']:,} images"
    rows = [
        ("network", f"{network['params']:,} parameters, {network['macs']:,} multiply-adds an image"),
        ("step", f"{batch}; {network['flops_a_step']:.3g} FLOP"),
        ("training", steps + counted + seeds),
        ("reading", read(reading)),
    ]
    return aligned(rows, left=2)


def read(reading: dict[str, Any]) -> str:
    """From the disk, and to the devices."""
    sent = f"{size(reading['bytes_sent_a_step'])} to the devices a step"
    if reading["resident"]:
        return f"{size(reading['bytes'])} of pixels, once, on to the devices; then {sent}"
    each = "" if reading["weighed"] else " (assumed)"
    return (
        f"{size(reading['bytes_an_epoch'])} an epoch, {size(reading['bytes'])} in all, "
        f"{size(reading['bytes_an_image'])} an image{each}; {sent}"
    )


def memory(plan: dict[str, Any]) -> str:
    """Of one device."""
    found = plan["memory"]
    rows = [(name, size(found["parts"][part])) for part, name in HELD.items()]
    rows += [(f"in {w}", size(found[w])) for w in ("training", "evaluation")]
    part = found["usable"] / found["memory"]
    share = "" if part == 1 else f", of which jax takes {size(found['usable'])}"
    verdict = f"of {size(found['memory'])}{share}: " + verdict_on(found)
    return (
        f"memory of one device\n{aligned(rows)}\n{verdict}\n"
        f"({found['analysed_by']}; other devices have other temporaries)"
    )


def verdict_on(found: dict[str, Any]) -> str:
    """Does it fit, and what would?"""
    if found["fits"]:
        return "fits"
    if found["training_fits"]:
        return "evaluation does not fit: set a smaller --config.eval_batch_size"
    if found["micro_batch"]:
        return f"does not fit, but would with --config.data.micro_batch={found['micro_batch']}"
    return "does not fit, nor would any part of the batch"


def time(plan: dict[str, Any]) -> str:
    """Of a step and of all of them."""
    found, reading = plan["time"], plan["input"]
    rows = [("speed of one device by", "images/s", "a step", "all steps", "most of a step")]
    for e in found["expected"]:
        rows.append(
            (
                SOURCES[e["source"]],
                f"{e['images_per_second']:,.0f}",
                between(*(milliseconds(s) for s in e["step"])),
                between(*(clock(s) for s in e["seconds"])),
                e["limit"].replace("_", "-"),
            )
        )
    parts = [
        f"{name.replace('_', '-')} {milliseconds(found[name])}"
        for name in ("arithmetic", "memory", "all_reduce", "input")
    ]
    lines = [
        aligned(rows),
        f"roofline: {', '.join(parts)} a step, at {OF_PEAK} of the peak and {OF_BANDWIDTH} of "
        "the memory's bandwidth (assumed)",
    ]
    if plan["devices"] > 1:
        lines.append(
            "from all of the all-reduce hidden behind the gradients to none of it; "
            f"{size(found['all_reduce_bytes'])} from each device"
        )
    lines.append(input_(reading, plan) if reading else "input: on the devices, nothing to keep up with")
    return "\n".join(lines)


def input_(reading: dict[str, Any], plan: dict[str, Any]) -> str:
    """Does the reading keep up?"""
    rate = f"{reading['images_per_second']:,.0f} images/s"
    of = (
        f"{reading['hosts']} hosts x {reading['cores']} cores x "
        f"{reading['images_per_second_a_core']:,.0f}, measured here"
    )
    disk = size(reading["wanted"] * plan["reading"]["bytes_an_image"])
    word = "keeps up" if reading["keeps_up"] else "does NOT keep up"
    return f"input: {rate} ({of}), {reading['wanted']:,.0f} wanted, {disk}/s: {word}"


def against(plan: dict[str, Any]) -> str:
    """What was measured of it."""
    rows = [
        (
            m["file"],
            f"{m['devices']} x {plan['kind']}",
            f"{m['images_per_second']:,.0f} images/s",
            f"{m['steps']:,} steps",
            clock(m["seconds"]),
        )
        for m in plan["measured"]
    ]
    return "measured\n" + aligned(rows, left=2) if rows else ""


def between(least: str, most: str) -> str:
    return least if least == most else f"{least} to {most}"


def milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms"


def size(bytes_: float) -> str:
    """`1.2 GB`, with three figures."""
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if bytes_ >= unit:
            return f"{bytes_ / unit:.3g} {name}" if bytes_ < 999.5 * unit else f"{bytes_ / unit:,.0f} {name}"
    return f"{bytes_:.0f} B"
