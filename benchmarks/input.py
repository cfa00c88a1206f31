"""Reading images on the host: our stream beside the bare decoder, in one run.

python benchmarks/input.py [FOLDER] [--format=json] [--batches=20000]
Expected: ratio at most 1.11, that is at least 0.9 of the bare decoder's images a second. Not shown
yet: on two busy cores 0.87 of it by the CPU's seconds, before the last change.

FOLDER is an image_folder (FOLDER/train/CLASS/*.jpg); by default 256 JPEGs of 500x375, about 100 kB
each, are drawn. Ours is `Streamed.batches` with the crops of GoogLeNet's section 6 to 224x224, from
files, on all cores. The peers are plain loops over the same encoded images, in memory, with the
same regions: simplejpeg and Pillow's resize, and Pillow alone. They run on one core, and their time
is divided by the cores: more than a machine can do whose cores share memory and clock. So the bare
decoder runs on all cores as well, a process on each. Rounds are interleaved and ratios are medians
over them; the CPU's seconds are there for a machine that has other things to do besides. With
--batches, a stream of so many is run in the end, and the resident memory said at its start and end.
"""

import argparse
import io
import json
import multiprocessing
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import simplejpeg
from PIL import Image

from cnn_archs.data import crops, order, sources, streaming
from cnn_archs.data.threads import cores
from cnn_archs.environment import commit, version

BILINEAR = Image.Resampling.BILINEAR
OUT = (224, 224)
BATCH = 64  # images
PACKAGES = ("cnn-archs", "simplejpeg", "pillow", "grain", "numpy")


def draw(folder: Path, count: int = 256) -> None:
    """JPEGs like photographs: details of all sizes."""
    random = np.random.default_rng(0)
    for i in range(count):
        image = np.zeros((375, 500, 3))
        for side in (4, 16, 64, 250):
            rough = random.integers(0, 256, (side, side, 3), dtype=np.uint8)
            image += np.asarray(Image.fromarray(rough).resize((500, 375), BILINEAR)) / side**0.4
        image *= 255 / image.max()
        path = folder / "train" / "ab"[i % 2] / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.astype(np.uint8)).save(path, quality=90)


class Measured:
    """One way to get at cropped images, timed. run() -> how many there were."""

    def __init__(self, run: Callable[[], int]):
        self.run = run
        self.seconds: list[float] = []  # for each image
        self.cpu_seconds: list[float] = []  # of this process

    def turn(self) -> None:
        cpu, clock = time.process_time(), time.perf_counter()
        images = self.run()
        self.seconds.append((time.perf_counter() - clock) / images)
        self.cpu_seconds.append((time.process_time() - cpu) / images)


class Everywhere:
    """The bare decoder's loop in a process on each core, all at once."""

    def __init__(self, processes: int, encoded: list[bytes], boxes: list[Any]):
        spawn = multiprocessing.get_context("spawn")
        self.pipes, self.processes = [], []
        for _ in range(processes):
            ours, theirs = spawn.Pipe()
            process = spawn.Process(target=serve, args=(theirs, encoded, boxes), daemon=True)
            process.start()
            self.pipes.append(ours)
            self.processes.append(process)

    def run(self) -> int:
        for pipe in self.pipes:
            pipe.send("go")
        return sum(pipe.recv() for pipe in self.pipes)

    def stop(self) -> None:
        for pipe in self.pipes:
            pipe.send("stop")
        for process in self.processes:
            process.join()


def serve(pipe: Any, encoded: list[bytes], boxes: list[Any]) -> None:
    """Answers each "go" with the images that it decoded."""
    while pipe.recv() == "go":
        pipe.send(loop(bare, encoded, boxes))


def loop(crop: Callable[[bytes, Any], np.ndarray], encoded: list[bytes], boxes: list[Any]) -> int:
    """A plain loop on one core."""
    for data, box in zip(encoded, boxes, strict=True):
        crop(data, box)
    return len(encoded)


def bare(data: bytes, box: Any) -> np.ndarray:
    image = Image.fromarray(simplejpeg.decode_jpeg(data))
    return np.asarray(image.resize(OUT[::-1], BILINEAR, box=box))


def pillow(data: bytes, box: Any) -> np.ndarray:
    image = Image.open(io.BytesIO(data)).convert("RGB")
    return np.asarray(image.resize(OUT[::-1], BILINEAR, box=box))


def first(stream: streaming.Streamed, count: int) -> tuple[list[bytes], list[Any]]:
    """The first images of the stream with seed 0, encoded, and its regions of them."""
    encoded, boxes = [], []
    for position, example in enumerate(order.indices(len(stream), 0, 0, count)):
        data = stream.records[int(example)].encoded
        random = np.random.Generator(np.random.Philox(key=[0, position]))
        with Image.open(io.BytesIO(data)) as image:
            box = stream.crop.on_host(image.height, image.width, random)
        encoded.append(data)
        boxes.append((box.left, box.top, box.left + box.width, box.top + box.height))
    return encoded, boxes


def measure(stream: streaming.Streamed, steps: int, rounds: int) -> dict[str, Any]:
    """Turns of `steps` batches by us and as many images by each peer, after one to warm up."""

    def ours() -> int:
        batches = stream.batches(0, 0, steps, BATCH, lambda batch: batch)
        return sum(len(labels) for _, labels in batches)

    encoded, boxes = first(stream, steps * BATCH)
    everywhere = Everywhere(stream.threads, encoded, boxes)
    ways = {
        "ours": Measured(ours),
        "bare": Measured(lambda: loop(bare, encoded, boxes)),
        "everywhere": Measured(everywhere.run),
        "pillow": Measured(lambda: loop(pillow, encoded, boxes)),
    }
    for i in range(rounds + 1):
        for way in ways.values():
            way.turn()
        last = {name: round(1 / way.seconds[-1]) for name, way in ways.items()}
        print(f"round {i}: images/s {last}", file=sys.stderr)
    everywhere.stop()

    def ratio(peer: str, what: str, cores: int) -> float:
        pairs = zip(getattr(ways["ours"], what)[1:], getattr(ways[peer], what)[1:], strict=True)
        return statistics.median(ours / (theirs / cores) for ours, theirs in pairs)

    speed = {name: 1 / statistics.median(way.seconds[1:]) for name, way in ways.items()}
    return {
        "ratio": ratio("bare", "seconds", stream.threads),
        "fraction_of_bare": 1 / ratio("bare", "seconds", stream.threads),
        "ratio_to_bare_everywhere": ratio("everywhere", "seconds", 1),
        "ratio_to_pillow": ratio("pillow", "seconds", stream.threads),
        "cpu_ratio": ratio("bare", "cpu_seconds", 1),
        "images_per_second": {
            "ours": speed["ours"],
            "ours_a_core": speed["ours"] / stream.threads,
            "bare_on_one_core": speed["bare"],
            "bare_on_all_cores": speed["everywhere"],
            "pillow_on_one_core": speed["pillow"],
        },
    }


def memory(stream: streaming.Streamed, batches: int) -> dict[str, Any]:
    """Resident megabytes early in a stream of so many batches of 8, at its end, and at most."""
    process, found = psutil.Process(), []
    every = max(batches // 100, 1)
    for i, _ in enumerate(stream.batches(1, 0, batches, 8, lambda batch: batch)):
        if i % every == every - 1:
            found.append(process.memory_info().rss / 1e6)
    return {"batches": batches, "first_mb": found[0], "last_mb": found[-1], "most_mb": max(found)}


def table(result: dict[str, Any]) -> str:
    """The result as a person reads it."""
    speed, machine = result["images_per_second"], result["machine"]
    lines = [
        f"images/s, {result['images']} images of {result['folder']}, {machine['threads']} threads",
        f"  ours                 {speed['ours']:8.0f}   {speed['ours_a_core']:.0f} a core",
        f"  simplejpeg, one core {speed['bare_on_one_core']:8.0f}",
        f"  simplejpeg, all cores{speed['bare_on_all_cores']:8.0f}",
        f"  Pillow, one core     {speed['pillow_on_one_core']:8.0f}",
        f"ours is {result['fraction_of_bare']:.2f} of the cores times the bare decoder on one, "
        f"{1 / result['ratio_to_bare_everywhere']:.2f} of it on all at once; CPU seconds: "
        f"{result['cpu_ratio']:.2f} times the bare decoder's; load {machine['load_average']:.1f}",
    ]
    if result["memory"]:
        m = result["memory"]
        lines.append(
            f"memory over {m['batches']} batches: {m['first_mb']:.0f} MB at the start, "
            f"{m['last_mb']:.0f} MB at the end, {m['most_mb']:.0f} MB at most"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", help="an image_folder; default: drawn images")
    parser.add_argument("--rounds", type=int, default=5, help="that are timed")
    parser.add_argument("--steps", type=int, default=12, help=f"batches of {BATCH} in a round")
    parser.add_argument("--threads", type=int, default=0, help="default: one for each core")
    parser.add_argument("--batches", type=int, default=0, help="of 8, for the memory")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    arguments = parser.parse_args()
    crop = crops.create("inception", OUT, area=(0.08, 1.0), aspect=(0.75, 4 / 3), evaluate=256)
    with tempfile.TemporaryDirectory() as drawn:
        if not arguments.folder:
            draw(Path(drawn))
        records = sources.records("image_folder", "train", arguments.folder or drawn)
        stream = streaming.Streamed(records, crop, threads=arguments.threads)
        result = measure(stream, arguments.steps, arguments.rounds)
        result["memory"] = memory(stream, arguments.batches) if arguments.batches else None
    result["images"] = len(records)
    result["folder"] = arguments.folder or "drawn, 500x375"
    result["machine"] = {
        "cores": cores(),
        "threads": stream.threads,
        "load_average": os.getloadavg()[0],
        "platform": platform.platform(),
    }
    result["versions"] = {name: version(name) for name in PACKAGES} | {"git_commit": commit()}
    as_json = arguments.format == "json"
    print(table(result), file=sys.stderr if as_json else sys.stdout)
    if as_json:
        print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
