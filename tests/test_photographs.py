"""Families from JPEGs of mixed sizes, 1,000 classes declared: trained, and under every protocol.

On 1 and on 8 simulated devices the losses are equal. `make test` has one family, narrow, on drawn
images, under two protocols; `make test-slow` all families under all: narrow on 300 images, 60 of
them tested, and at full width on 12. These are those of $CNN_ARCHS_PHOTOS, a folder of
train/<class>/ and val/<class>/, where it is set. Run as a script, this file is the process that
sees the devices.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
SIZES = ((300, 400), (400, 300), (256, 256), (231, 500), (640, 480), (180, 210))
CLASSES = 5


class Family(NamedTuple):
    """overrides: of the experiment, besides those of all families."""

    experiment: str
    overrides: tuple[str, ...] = ()


PLATEAU = ("data.holdout=10", "steps=2")
FAMILIES = {
    "alexnet": Family("alexnet_imagenet", PLATEAU),
    "vgg": Family("vgg_imagenet:A", PLATEAU),
    "googlenet": Family("googlenet_imagenet", ("steps=2",)),
    "resnet": Family("resnet_imagenet:50", (*PLATEAU, "model.bn_group=2")),
    "zfnet": Family("zfnet_imagenet", PLATEAU),
    "inception_v3": Family("inception_v3_imagenet", ("steps=2", "model.bn_group=0")),
}


def main(family, data_dir, workdir, protocols, *overrides):
    """Prints what training and each of `protocols` found."""
    from cnn_archs import cli
    from cnn_archs.evaluate import runs

    experiment, more = FAMILIES[family]
    keys = ("data.name=image_folder", f"data.data_dir={data_dir}", "data.batch_size=16")
    flags = [f"--config.{key}" for key in (*keys, *more, *overrides)]
    assert cli.main(["train", f"--config={experiment}", f"--workdir={workdir}", *flags]) == 0
    found = {p: runs.evaluate_runs([Path(workdir)], p, "test") for p in protocols.split(",")}
    print(json.dumps(found))


def rows(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def draw(path, size, rng):
    """A JPEG of stripes and noise."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    wave = np.sin(x / rng.uniform(5, 40) + y / rng.uniform(5, 40))[..., None]
    image = 128 + 60 * wave * rng.uniform(0.3, 1, 3) + rng.normal(0, 20, (height, width, 3))
    Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(path, quality=85)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A folder of train/<class>/*.jpg and val/<class>/*.jpg."""
    given = os.environ.get("CNN_ARCHS_PHOTOS")
    if given:
        return Path(given)
    folder, rng = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    for part, count in (("train", 7), ("val", 3)):
        for label in range(CLASSES):
            (folder / part / f"n{label:08}").mkdir(parents=True)
            for i in range(count):
                size = SIZES[(label + i) % (len(SIZES) if part == "train" else 3)]
                draw(folder / part / f"n{label:08}" / f"{i}.jpg", size, rng)
    return folder


def some(photographs, folder, train, val):
    """`folder` with so many of them, as equally many of each class as there are."""
    for part, count in (("train", train), ("val", val)):
        files = sorted((photographs / part).glob("*/*"), key=lambda f: (f.stem, f.parent.name))
        by_class: dict[str, list[Path]] = {}
        for file in files:
            by_class.setdefault(file.parent.name, []).append(file)
        kept = 0
        for i in range(max(map(len, by_class.values()))):
            for name, of_class in by_class.items():
                if i < len(of_class) and kept < count:
                    (folder / part / name).mkdir(parents=True, exist_ok=True)
                    (folder / part / name / of_class[i].name).symlink_to(of_class[i].resolve())
                    kept += 1
    return folder


def measured(simulated, devices, family, data_dir, workdir, protocols, *overrides):
    """(rows of metrics.jsonl, {protocol: result}) of a process with so many devices."""
    out = subprocess.run(
        [sys.executable, __file__, family, data_dir, workdir, ",".join(protocols), *overrides],
        env=simulated(devices), capture_output=True, text=True, timeout=7_200,
    )  # fmt: skip
    assert out.returncode == 0, out.stderr[-3_000:]
    return rows(workdir), json.loads(out.stdout.splitlines()[-1])


def check(simulated, family, data_dir, tmp_path, protocols, *overrides):
    """One device and eight find the same."""
    (trained, one), (other, eight) = (
        measured(simulated, n, family, data_dir, tmp_path / str(n), protocols, *overrides)
        for n in (1, 8)
    )
    images = len(list(data_dir.glob("val/*/*")))
    assert json.loads((tmp_path / "8" / "config.json").read_text())["model"]["num_classes"] == 1000
    assert {row["split"] for row in trained} >= {"train", "test"}
    for a, b in zip(trained, other, strict=True):
        assert np.isfinite(a["loss"]) and a["loss"] == pytest.approx(b["loss"], rel=1e-5), (a, b)
    for protocol, row in one.items():
        assert row["protocol"] == protocol and row["test"]["examples"] == images
        assert np.isfinite(row["test"]["loss"]).all()
        for key in ("loss", "top1_error", "top5_error"):
            assert eight[protocol]["test"][key] == pytest.approx(row["test"][key], rel=1e-5)
    assert set(one) == set(protocols)


def protocols_of_all():
    from cnn_archs.evaluate.views import PROTOCOLS

    return tuple(PROTOCOLS)


@pytest.mark.slow
def test_a_narrow_family_on_one_and_eight_devices(simulated, photographs, tmp_path):
    """At a third of its image's size; evaluate/test_protocols.py has the protocols one by one."""
    data_dir = some(photographs, tmp_path / "data", 30, 8)
    smaller = ("model.width=0.0625", "data.image_shape=(67,67,3)", "crop.side=76")
    protocols = ("single", "ten_crop")
    check(simulated, "alexnet", data_dir, tmp_path, protocols, *smaller)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_narrow_family_on_three_hundred_images(simulated, photographs, tmp_path, family):
    data_dir = some(photographs, tmp_path / "data", 240, 60)
    check(simulated, family, data_dir, tmp_path, protocols_of_all(), "model.width=0.0625")


@pytest.mark.slow
@pytest.mark.parametrize("family", ["alexnet", "vgg", "googlenet", "resnet"])
def test_full_networks_on_twelve_images(simulated, photographs, tmp_path, family):
    data_dir = some(photographs, tmp_path / "data", 30, 12)
    check(simulated, family, data_dir, tmp_path, protocols_of_all())


if __name__ == "__main__":
    main(*sys.argv[1:])
