"""How long a step takes on N devices: by what was measured on one, and a model of the rest.

A batch of B images on D devices, which hold G bytes of gradients each:

    devices     B / D images at the speed of one device, which is taken not to depend on B / D
    all-reduce  a ring: 2 (D - 1) / D G / link; where there are M fabrics of F devices, first in
                each, then between them: 2 (F - 1) / F G / link + 2 (M - 1) / M G / F / network
    input       B images at the speed of all hosts' cores, which read ahead

A step takes the longer of devices and all-reduce where all of the latter is hidden behind gradients
still to come, their sum where none is; and in no case less than the input. Devices along "model"
are taken to save no time, and what they send each other, like the start of each message, to take
none; evaluations and checkpoints come on top.
"""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cnn_archs import models
from cnn_archs.data.loading.threads import cores
from cnn_archs.planning.devices import OF_BANDWIDTH, OF_PEAK, Kind, is_of
from cnn_archs.planning.sweep_cost import Speed, rate
from cnn_archs.report import provenance
from cnn_archs.run_dir import read_result
from cnn_archs.runtime.files import read_errors

INPUT = ("crop", "color", "augment", "standardize")  # sections that cost time on the devices


class Measured(NamedTuple):
    """A training that was, on so many devices of the kind that is asked for. seconds: of a seed."""

    file: str
    devices: int
    macs: int
    images_per_second: float
    seconds: float
    steps: int
    name: str
    alike: bool  # its network, batch and precision are those that are planned


class Estimate(NamedTuple):
    """Images a second on one device, and where that comes from: measured, near or roofline."""

    source: str
    images_per_second: float
    by: str


class Bounds(NamedTuple):
    """Seconds of a step: on the devices, of the all-reduce, and of the input, 0 where images are
    on the devices."""

    devices: float
    all_reduce: float
    input: float

    @property
    def step(self) -> tuple[float, float]:
        """With all of the all-reduce hidden, and with none of it; whatever the input takes."""
        return max(self.devices, self.all_reduce), self.devices + self.all_reduce

    @property
    def with_input(self) -> tuple[float, float]:
        """The same, with the input as it is."""
        least, most = self.step
        return max(least, self.input), max(most, self.input)

    @property
    def limit(self) -> str:
        """The longest of them."""
        return max(self._fields, key=lambda name: getattr(self, name))


def measured(
    files: Iterable[Path], config: dict[str, Any], macs: int, kind: Kind
) -> list[Measured]:
    """Those of the result files that were made on devices of this kind; on a CPU, with as many
    cores as are here. config: as in a result."""
    found = []
    for path in files:
        result = read_result(path)
        with read_errors(path):
            device = re.fullmatch(r"(\d+) x (.*)", result.get("device") or "")
            if not device or not result.get("macs") or not is_of(device[2], kind):
                continue
            used = {part.get("cpus") for part in provenance.parts(result["made"])}
            if kind.name == "cpu" and used != {cores()}:
                continue  # of another machine
            alike = result["macs"] == macs and is_alike(result, config)
            seconds = result["seconds"] / len(result["seeds"])
            of = (result["macs"], result["images_per_second"], seconds, result["steps"])
            found.append(Measured(shown(path), int(device[1]), *of, result["name"], alike))
    return found


def shown(path: Path) -> str:
    """The end of a path: folder and file."""
    return "/".join(path.parts[-3:])


def is_alike(result: dict[str, Any], asked: dict[str, Any]) -> bool:
    """Was the result made with the network, input, batch and precision of the config `asked`?

    Fields that networks did not have then have their defaults, sections the only choice there was.
    """
    made = result["made"].get("config")
    if not made or made["model"]["name"] != asked["model"]["name"]:
        return False
    fields = {**models.fields(made["model"]["name"]), **made["model"]}
    return (
        json.loads(json.dumps(fields)) == asked["model"]
        and all(made.get(section, asked[section]) == asked[section] for section in INPUT)
        and made["data"]["batch_size"] == asked["data"]["batch_size"]
        and result["matmul_precision"] == asked["matmul_precision"]
    )


def estimates(known: Sequence[Measured], macs: int, kind: Kind, roof: Estimate) -> list[Estimate]:
    """What is known of the speed of one device, the best first; `roof` is the last.

    A result's speed includes the compilation: of several alike that of the most steps is taken.
    """
    alone = [k for k in known if k.devices == 1]
    longest = sorted((k for k in alone if k.alike), key=lambda k: -k.steps)[:1]
    found = [Estimate("measured", k.images_per_second, k.file) for k in longest]
    others = [Speed(k.macs, k.images_per_second) for k in alone if not k.alike]
    if others:
        by = f"{len(others)} other results on one {kind.name}, nearest in size first"
        found.append(Estimate("near", rate(macs, others) / macs, by))
    return [*found, roof]


def roofline(
    kind: Kind, flops: float, traffic: int | None, dtype: str, matmul_precision: str
) -> tuple[float, float]:
    """(seconds of arithmetic, of memory traffic) of one device; the latter is 0 if not known."""
    arithmetic = flops / (kind.peak(dtype, matmul_precision) * OF_PEAK)
    return arithmetic, (traffic or 0) / (kind.bandwidth * OF_BANDWIDTH)


def all_reduce(kind: Kind, size: float, devices: int) -> float:
    """Seconds to sum `size` bytes of gradients over so many devices."""
    inside = min(devices, kind.fabric)
    fabrics = -(-devices // kind.fabric)
    links = 2 * (inside - 1) / inside * size / kind.link
    return links + 2 * (fabrics - 1) / fabrics * size / inside / kind.network


def all_reduce_in_words(kind: Kind, devices: int) -> str:
    """The same, for G = the gradients."""
    inside = min(devices, kind.fabric)
    fabrics = -(-devices // kind.fabric)
    words = f"2 ({inside} - 1) / {inside} G / {kind.link / 1e9:g} GB/s"
    if fabrics > 1:
        network = f"G / {inside} / {kind.network / 1e9:g} GB/s"
        words += f" + 2 ({fabrics} - 1) / {fabrics} {network}"
    return words
