"""Estimate the time of a step on D devices, from measurements on one and a model of the rest.

A batch of B images on D devices, which hold G bytes of gradients each:

    devices     B / D images at the speed of one device, assumed not to depend on B / D
    all-reduce  a ring: 2 (D - 1) / D G / link; with M fabrics of F devices, first within each,
                then between them: 2 (F - 1) / F G / link + 2 (M - 1) / M G / F / network
    input       B images at the speed of all hosts' cores, which read ahead

A step takes the longer of devices and all-reduce if the all-reduce is hidden behind gradients that
are still computed, and their sum if none of it is; it never takes less than the input. Devices
along "model" are assumed to save no time. Their messages, and the latency of every message, are
assumed to take no time. Compilation, evaluations and checkpoints are not included.
"""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cnn_archs import models
from cnn_archs.arithmetic import ceil_div
from cnn_archs.data.loading.threads import cores
from cnn_archs.planning.devices import OF_BANDWIDTH, OF_PEAK, DeviceSpec, is_called
from cnn_archs.planning.sweep_cost import MeasuredSpeed, expected_mac_rate
from cnn_archs.report import provenance
from cnn_archs.result_files import read_result
from cnn_archs.runtime.files import read_errors

INPUT_SECTIONS = (
    "crop",
    "color",
    "augment",
    "standardize",
)  # sections of a config that cost time on the devices


class MeasuredRun(NamedTuple):
    """A result that was made on devices of the planned kind.

    macs: multiply-adds per image. seconds: per seed. compile_seconds: the part of them that is of
    calls which compiled, and does not count for images_per_second; None if it is not known. alike:
    whether its network, batch and precision are those that are planned.
    """

    file: str
    devices: int
    macs: int
    images_per_second: float
    seconds: float
    compile_seconds: float | None
    steps: int
    name: str
    alike: bool

    @property
    def apart(self) -> bool:
        """Return True if compilation is known, so that images_per_second leaves it out."""
        return self.compile_seconds is not None


class SpeedEstimate(NamedTuple):
    """An estimate of the images per second on one device.

    source: `measured`, `near` or `roofline`. by: its origin in words.
    """

    source: str
    images_per_second: float
    by: str


class StepBounds(NamedTuple):
    """The seconds of a step by part; input is 0 if all images are on the devices."""

    devices: float
    all_reduce: float
    input: float

    @property
    def step(self) -> tuple[float, float]:
        """The seconds with the all-reduce fully hidden, and not hidden, without the input."""
        return max(self.devices, self.all_reduce), self.devices + self.all_reduce

    @property
    def with_input(self) -> tuple[float, float]:
        """The two bounds of `step`, each at least as long as the input takes."""
        least, most = self.step
        return max(least, self.input), max(most, self.input)

    @property
    def limit(self) -> str:
        """The name of the longest part."""
        return max(self._fields, key=lambda name: getattr(self, name))


def measured_runs(
    files: Iterable[Path], config: dict[str, Any], macs: int, kind: DeviceSpec
) -> list[MeasuredRun]:
    """Select the result files that were made on devices of this kind.

    A CPU must have as many cores as this machine. config: of the planned training, as in a result.
    """
    found = []
    for path in files:
        result = read_result(path)
        with read_errors(path):
            device = re.fullmatch(r"(\d+) x (.*)", result.get("device") or "")
            if not device or not result.get("macs") or not is_called(device[2], kind):
                continue
            used = {part.get("cpus") for part in provenance.made_of_parts(result["made"])}
            if kind.name == "cpu" and used != {cores()}:
                continue  # another CPU
            alike = result["macs"] == macs and is_same_work(result, config)
            seeds, compiling = len(result["seeds"]), result.get("compile_seconds")
            found.append(
                MeasuredRun(
                    file=shown(path),
                    devices=int(device[1]),
                    macs=result["macs"],
                    images_per_second=result["images_per_second"],
                    seconds=result["seconds"] / seeds,
                    compile_seconds=None if compiling is None else compiling / seeds,
                    steps=result["steps"],
                    name=result["name"],
                    alike=alike,
                )
            )
    return found


def shown(path: Path) -> str:
    """Return the end of a path: the last two folders and the file."""
    return "/".join(path.parts[-3:])


def is_same_work(result: dict[str, Any], asked: dict[str, Any]) -> bool:
    """Return whether a result has the network, input, batch and precision of the config `asked`.

    A key that is newer than the result has its default.
    """
    made = result["made"].get("config")
    if not made or made["model"]["name"] != asked["model"]["name"]:
        return False
    fields = {**models.fields(made["model"]["name"]), **made["model"]}
    return (
        json.loads(json.dumps(fields)) == asked["model"]
        and all(made.get(section, asked[section]) == asked[section] for section in INPUT_SECTIONS)
        and made["data"]["batch_size"] == asked["data"]["batch_size"]
        and result["matmul_precision"] == asked["matmul_precision"]
    )


def speed_estimates(
    known: Sequence[MeasuredRun], macs: int, kind: DeviceSpec, roof: SpeedEstimate
) -> list[SpeedEstimate]:
    """List the estimates of one device's speed, the best first and `roof` last.

    Of the alike results, one whose speed does not include compilation is used, else the one with
    the most steps.
    """
    alone = [k for k in known if k.devices == 1]
    best = sorted((k for k in alone if k.alike), key=lambda k: (not k.apart, -k.steps))[:1]
    found = [SpeedEstimate("measured", k.images_per_second, k.file) for k in best]
    others = [MeasuredSpeed(k.macs, k.images_per_second) for k in alone if not k.alike]
    if others:
        by = f"{len(others)} other results on one {kind.name}, nearest in size first"
        found.append(SpeedEstimate("near", expected_mac_rate(macs, others) / macs, by))
    return [*found, roof]


def roofline_seconds(
    kind: DeviceSpec, flops: float, traffic: int | None, dtype: str, matmul_precision: str
) -> tuple[float, float]:
    """Return the seconds that arithmetic and memory traffic take on one device.

    The seconds of traffic are 0 if it is not known.
    """
    arithmetic = flops / (kind.peak(dtype, matmul_precision) * OF_PEAK)
    return arithmetic, (traffic or 0) / (kind.bandwidth * OF_BANDWIDTH)


def all_reduce_seconds(kind: DeviceSpec, size: float, devices: int) -> float:
    """Return the seconds to sum `size` bytes of gradients over `devices` devices."""
    inside = min(devices, kind.fabric)
    fabrics = ceil_div(devices, kind.fabric)
    links = 2 * (inside - 1) / inside * size / kind.link
    return links + 2 * (fabrics - 1) / fabrics * size / inside / kind.network


def all_reduce_formula(kind: DeviceSpec, devices: int) -> str:
    """Format the formula of `all_reduce_seconds`, with G for the bytes of the gradients."""
    inside = min(devices, kind.fabric)
    fabrics = ceil_div(devices, kind.fabric)
    words = f"2 ({inside} - 1) / {inside} G / {kind.link / 1e9:g} GB/s"
    if fabrics > 1:
        network = f"G / {inside} / {kind.network / 1e9:g} GB/s"
        words += f" + 2 ({fabrics} - 1) / {fabrics} {network}"
    return words
