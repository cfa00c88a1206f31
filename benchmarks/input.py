"""Compare our image stream with a bare decoder and with torchvision's loader, on the host.

python benchmarks/input.py [FOLDER] [--threads=N] [--batches=20000] [--format=json] [--write]
    [--torch_python=PATH]
Goal: `fraction_of_bare` is at least 0.9, that is, `ratio` is at most 1.11.

FOLDER is an image_folder (FOLDER/train/CLASS/*.jpg); by default 256 JPEGs of 500x375, about 100 kB
each, are drawn. Ours is `Streamed.batches` with the crops of GoogLeNet's section 6 to 224x224, from
files, on all cores. The peers are plain loops over the same encoded images, in memory, with the
same regions: simplejpeg with Pillow's resize, and Pillow alone. They run on one core, and their
time is divided by the number of cores. Cores that share memory and clock cannot reach that, so the
bare decoder also runs on all cores, with one process on each. If torchvision is installed, its
ImageFolder, RandomResizedCrop and DataLoader read the same files with one process per core.

Turns are interleaved, and ratios are medians over the rounds. Ratios by processor time are for a
machine that does other work at the same time. With --batches=N, a stream of N batches is run at the
end, and the resident memory is recorded at its start and end.
"""

import argparse
import io
import multiprocessing
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import common
import numpy as np
import psutil
import simplejpeg
from common import Turn
from drawings import draw
from PIL import Image
from sides import Side

from cnn_archs.data.datasets import sources
from cnn_archs.data.loading import sampler, streaming
from cnn_archs.data.transforms import crops

BILINEAR = Image.Resampling.BILINEAR
SIDE = 224
BATCH = 64  # images
DRAWN = 256  # images


class ProcessPerCore:
    """Runs the bare decoder's loop in several processes at the same time."""

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
    """Decode all images for each "go" that comes through `pipe`, and send their number."""
    while pipe.recv() == "go":
        pipe.send(loop(bare, encoded, boxes))


def loop(crop: Callable[[bytes, Any], np.ndarray], encoded: list[bytes], boxes: list[Any]) -> int:
    """Apply `crop` to each image and its region, and return the number of images."""
    for data, box in zip(encoded, boxes, strict=True):
        crop(data, box)
    return len(encoded)


def bare(data: bytes, box: Any) -> np.ndarray:
    """Decode with simplejpeg and resize the region `box` with Pillow -> u8[224, 224, 3]."""
    image = Image.fromarray(simplejpeg.decode_jpeg(data))
    return np.asarray(image.resize((SIDE, SIDE), BILINEAR, box=box))


def pillow(data: bytes, box: Any) -> np.ndarray:
    """Decode and resize with Pillow -> u8[224, 224, 3]."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    return np.asarray(image.resize((SIDE, SIDE), BILINEAR, box=box))


def encoded_and_boxes(stream: streaming.Streamed, count: int) -> tuple[list[bytes], list[Any]]:
    """Return the first `count` images of the stream with seed 0, encoded, and their regions."""
    encoded, boxes = [], []
    for position, example in enumerate(sampler.indices(len(stream), 0, 0, count)):
        data = stream.records[int(example)].encoded
        random = np.random.Generator(np.random.Philox(key=[0, position]))
        with Image.open(io.BytesIO(data)) as image:
            box = stream.crop.host_box(image.height, image.width, random)
        encoded.append(data)
        boxes.append((box.left, box.top, box.left + box.width, box.top + box.height))
    return encoded, boxes


def torchvision_side(folder: Path, steps: int, workers: int, python: str) -> Side | None:
    """Start torchvision's loader, or return None if `python` has no working torchvision."""
    settings = {"side": SIDE, "batch": BATCH, "steps": steps, "workers": workers}
    try:
        return Side("torch_input.py", folder, settings, os.environ, python)
    except RuntimeError:
        common.say("torchvision is left out: pip install '.[bench]', or --torch_python=PATH")
        return None


def turns_of(
    stream: streaming.Streamed, torchvision: Side | None, steps: int, rounds: int
) -> dict[str, list[Turn]]:
    """Time `steps` batches of ours, and as many images of each peer -> seconds per image.

    The first round is a warm-up and is left out.
    """
    images = steps * BATCH

    def ours() -> int:
        batches = stream.batches(0, 0, steps, BATCH, lambda batch: batch)
        return sum(len(labels) for _, labels in batches)

    encoded, boxes = encoded_and_boxes(stream, images)
    everywhere = ProcessPerCore(stream.threads, encoded, boxes)

    def turn(run: Callable[[], int], images: int = images) -> Turn:
        found, done = common.timed(run, images)
        assert done == images
        return found

    ways: dict[str, Callable[[], Turn]] = {
        "ours": partial(turn, ours),
        "bare": partial(turn, partial(loop, bare, encoded, boxes)),
        "everywhere": partial(turn, everywhere.run, images * stream.threads),
        "pillow": partial(turn, partial(loop, pillow, encoded, boxes)),
    }
    if torchvision:
        ways["torchvision"] = lambda: Turn(torchvision.turn(steps).seconds / BATCH, 0.0)
    try:
        turns = common.alternate(ways, rounds + 1, "photograph")
    finally:
        everywhere.stop()
    return {name: found[1:] for name, found in turns.items()}


def compare(turns: dict[str, list[Turn]], threads: int) -> dict[str, Any]:
    """Return the ratios to the peers, and the images per second of all."""

    def ratio(peer: str, what: str, cores: int) -> float:
        pairs = zip(turns["ours"], turns[peer], strict=True)
        return statistics.median(getattr(a, what) / (getattr(b, what) / cores) for a, b in pairs)

    speed = {name: 1 / common.median(found).seconds for name, found in turns.items()}
    has_torchvision = "torchvision" in turns
    return {
        "ratio": ratio("bare", "seconds", threads),
        "fraction_of_bare": 1 / ratio("bare", "seconds", threads),
        "ratio_to_bare_everywhere": ratio("everywhere", "seconds", 1),
        "ratio_to_pillow": ratio("pillow", "seconds", threads),
        "ratio_to_torchvision": ratio("torchvision", "seconds", 1) if has_torchvision else None,
        "cpu_ratio": ratio("bare", "cpu_seconds", 1),
        "images_per_second": {
            "ours": speed["ours"],
            "ours_a_core": speed["ours"] / threads,
            "bare_on_one_core": speed["bare"],
            "bare_on_all_cores": speed["everywhere"],
            "pillow_on_one_core": speed["pillow"],
            "torchvision": speed.get("torchvision"),
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


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Make the comparison, on the images of a folder or on drawn ones."""
    out, knobs = (SIDE, SIDE), dict(area=(0.08, 1.0), aspect=(0.75, 4 / 3), evaluate=256)
    crop = crops.create("inception", out, **knobs)
    with tempfile.TemporaryDirectory() as drawn:
        folder = options.folder or drawn
        if not options.folder:
            draw(Path(drawn), DRAWN)
        records = sources.open_records("image_folder", "train", folder)
        stream = streaming.Streamed(records, crop, threads=options.threads)
        steps = options.steps
        torchvision = torchvision_side(Path(folder), steps, stream.threads, options.torch_python)
        try:
            turns = turns_of(stream, torchvision, steps, options.rounds)
        finally:
            if torchvision:
                torchvision.stop()
        return {
            **compare(turns, stream.threads),
            "memory": memory(stream, options.batches) if options.batches else None,
            "images": len(records),
            "folder": "given" if options.folder else "drawn, 500x375",
            "machine": {"threads": stream.threads},
            "versions": torchvision.hello["versions"] if torchvision else {},
        }


def table(result: dict[str, Any]) -> common.Rows:
    """Return the rows: photographs per second of ours and of each peer."""
    speed = result["images_per_second"]
    rows = [("photographs to 224x224", "images/s", "ours / this")]
    for label, key, cores_of in (
        ("ours, all cores", "ours", 1),
        ("simplejpeg and Pillow's resize, one core, times the cores", "bare_on_one_core", 0),
        ("the same, a process on each core", "bare_on_all_cores", 1),
        ("Pillow alone, one core, times the cores", "pillow_on_one_core", 0),
        ("torchvision's DataLoader, a process on each core", "torchvision", 1),
    ):
        if speed[key]:
            rate = speed[key] * (cores_of or result["machine"]["threads"])
            rows.append((label, f"{rate:,.0f}", f"{speed['ours'] / rate:.2f}"))
    cpu = f"{1 / result['cpu_ratio']:.2f}"
    rows.append(("simplejpeg and Pillow's resize, by the CPU's seconds", "", cpu))
    if result["memory"]:
        first_mb, last_mb = (f"{result['memory'][key]:.0f} MB" for key in ("first_mb", "last_mb"))
        rows.append((f"memory over {result['memory']['batches']} batches", first_mb, last_mb))
    return rows


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", nargs="?", help="an image_folder (default: drawn images)")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds (default: 5)")
    parser.add_argument(
        "--steps", type=int, default=24, help=f"batches of {BATCH} per round (default: 24)"
    )
    parser.add_argument(
        "--threads", type=int, default=0, help="decoding threads (default: one per core)"
    )
    parser.add_argument(
        "--batches", type=int, default=0, help="batches of 8 for the memory (default: none)"
    )
    parser.add_argument("--torch_python", default=sys.executable, help="a Python with torchvision")


if __name__ == "__main__":
    common.main(__doc__, declare, measure, table, packages=("simplejpeg", "pillow"))
