"""Compare each protocol with a plain loop over the views, in Pillow and numpy.

Run as a script, this file is the process with eight simulated devices that a test starts.
"""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import AxisType
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))

import drawn

from cnn_archs import models
from cnn_archs.data.transforms import crops
from cnn_archs.data.transforms.boxes import Box
from cnn_archs.errors import ConfigError, DataError
from cnn_archs.evaluate import protocols, views

OUT = drawn.OUT
VARIABLES = {"params": {"sharpness": np.float32(1.0)}}
CROPS = {
    "none": partial(crops.create, "none", OUT),
    "square": partial(crops.create, "square", OUT, side=19, resize="shorter"),
    "shorter_side": partial(
        crops.create, "shorter_side", OUT, smallest=18, largest=18, evaluate=18
    ),
}
MANY = [p for p in views.PROTOCOLS if p != "single"]


def some(*quick):
    """Return all protocols with many views; those not in `quick` are marked slow."""
    return [p if p in quick else pytest.param(p, marks=pytest.mark.slow) for p in MANY]


def mesh(devices=1):
    auto = (AxisType.Auto, AxisType.Auto)
    some = jax.devices()[:devices]
    return jax.make_mesh((devices, 1), ("data", "model"), axis_types=auto, devices=some)


def probabilities(net, data, protocol, batch_size=4, statistics=None, devices=1, **more):
    passes = views.protocol_passes(protocol, net.inputs.crop, more.pop("test_scales", ()))
    networks = more.pop("networks", [VARIABLES])
    known = statistics or {"mean": np.full((1, 1, 3), 120, np.float32)}
    return protocols.mean_probabilities(
        net, networks, data, passes, known, batch_size, mesh(devices)
    )


def plain(image, one, crop, mean, float_images):
    """Return the mean probabilities of one image over the views of a pass, in a plain loop."""
    height, width = image.shape[:2]
    if one.scale:
        scaled = (one.scale, one.scale * width // height)
        if height >= width:
            scaled = (one.scale * height // width, one.scale)
        whole = resize(image, scaled, float_images)
        if one.dense and not float_images:  # streamed: a multiple of 2 pixels, 32 of 224
            rows, columns = (max(one.scale, n // 2 * 2) for n in scaled)
            top, left = round((scaled[0] - rows) / 2), round((scaled[1] - columns) / 2)
            whole = whole[top : top + rows, left : left + columns]
    else:
        whole = resize(image, crop.host_size, float_images, crop.evaluation_box(height, width))
    found = []
    for v in one.layout(*whole.shape[:2], OUT):
        view = whole[v.top : v.top + v.height, v.left : v.left + v.width].astype(np.float32)
        if not one.dense and view.shape[:2] != OUT:
            view = resize(view, OUT, True)
        view = view - mean
        view = view[:, ::-1] if v.mirrored else view
        found.append(softmax(scores(view / 255)))
    return np.mean(found, 0)


def resize(image, size, in_floats, box=None):
    """Resize as Pillow does, in 8 bits or in floats."""
    options = dict(size=size[::-1], resample=Image.Resampling.BILINEAR)
    if box is not None:
        options["box"] = (box.left, box.top, box.left + box.width, box.top + box.height)
    if not in_floats:
        return np.asarray(Image.fromarray(image).resize(**options))
    channels = np.moveaxis(image.astype(np.float32), -1, 0)
    return np.stack([np.asarray(Image.fromarray(c).resize(**options)) for c in channels], -1)


def scores(image):
    height, width = image.shape[:2]
    found = []
    for k in range(1, len(drawn.CLASSES) + 1):
        y, x = np.mgrid[:height, :width]
        wave = np.cos(0.37 * k * (y + 1) + 0.21 * k**2 * (x + 0.5))
        found.append(20 * (image.sum(-1) * wave).mean())
    return np.array(found)


def softmax(logits):
    e = np.exp(logits - logits.max())
    return e / e.sum()


def expected(images, protocol, crop, mean=120.0, float_images=False):
    passes = views.protocol_passes(protocol, crop, ())
    return [
        sum(one.share * plain(image, one, crop, mean, float_images) for one in passes)
        for image in images
    ]


@pytest.mark.slow
@pytest.mark.parametrize("protocol", some("ten_crop", "grid_144", "dense+grid_150"))
def test_images_of_any_size_are_tested_as_by_a_plain_loop(protocol):
    """All agree up to rounding; dense views are resized alone, in 8 bits, so one step off."""
    images = list(drawn.pictures(5))
    crop = CROPS["shorter_side"]()
    found = probabilities(drawn.network(crop, resident=False), drawn.streamed(images), protocol)
    close = 5e-3 if "dense" in protocol or protocol == "multi_scale" else 1e-5
    np.testing.assert_allclose(found.by_network[0], expected(images, protocol, crop), atol=close)
    assert found.readable.all() and (found.labels == drawn.labels(5)).all()


@pytest.mark.parametrize("protocol", some("mirror", "grid_50", "multi_scale"))
def test_images_of_one_size_are_tested_as_by_a_plain_loop(protocol):
    images = [resize(image, (20, 26), False) for image in drawn.pictures(5)]
    crop = CROPS["none"]()
    found = probabilities(drawn.network(crop, resident=True), drawn.resident(images), protocol)
    want = expected(images, protocol, crop, float_images=True)
    np.testing.assert_allclose(found.by_network[0], want, atol=1e-4)


@pytest.mark.parametrize("is_resident", [False, True])
def test_one_view_of_another_size_is_the_middle_of_the_image_at_that_shorter_side(is_resident):
    images = list(drawn.pictures(5))
    if is_resident:
        images = [resize(image, (20, 26), False) for image in images]
    data = drawn.resident(images) if is_resident else drawn.streamed(images)
    net = protocols.with_view_size(drawn.network(CROPS["square"](), resident=is_resident), 24)
    found = probabilities(net, data, "single")
    assert net.image_shape == (24, 24, 3)
    want = []
    for image in images:
        height, width = image.shape[:2]
        side = min(height, width)  # the square in the middle becomes 24x24
        box = Box((height - side) / 2, (width - side) / 2, side, side)
        want.append(softmax(scores((resize(image, (24, 24), is_resident, box) - 120.0) / 255)))
    np.testing.assert_allclose(found.by_network[0], want, atol=0.03)  # whole pixels of 24 or more
    own = probabilities(drawn.network(CROPS["square"](), resident=is_resident), data, "single")
    assert np.abs(own.by_network[0] - want).max() > 0.1


def test_a_size_that_does_not_fit_is_refused():
    flat = models.create("lenet5", num_classes=len(drawn.CLASSES))
    net = drawn.network(crops.create("none", (28, 28)), resident=True, model=flat)
    with pytest.raises(ConfigError, match="--size=40: .*40x40 .its dense layers fix the image"):
        protocols.with_view_size(net, 40)
    deslant = drawn.network(crops.create("deslant", (20, 20), side=28), resident=True)
    with pytest.raises(ConfigError, match="--size=40: the crop of this run changes digits"):
        protocols.with_view_size(deslant, 40)
    padded = drawn.network(crops.create("none", OUT), resident=True, pad=2)
    with pytest.raises(ConfigError, match="--size=4: must be more than the 4 pixels of pad"):
        protocols.with_view_size(padded, 4)


def test_fewer_images_are_shown_at_once_if_they_are_larger():
    assert protocols.images_at_once(250, (224, 224, 3), (320, 320, 3)) == 122  # 250 * 0.49
    assert protocols.images_at_once(250, (224, 224, 3), (112, 112, 3)) == 250
    assert protocols.images_at_once(1, (224, 224, 3), (320, 320, 3)) == 1


@pytest.mark.parametrize("name", CROPS)
def test_the_middle_is_that_of_each_crop(name):
    images, crop = list(drawn.pictures(3)), CROPS[name]()
    found = probabilities(drawn.network(crop, resident=False), drawn.streamed(images), "mirror")
    np.testing.assert_allclose(found.by_network[0], expected(images, "mirror", crop), atol=1e-5)


def test_views_are_the_views_that_the_plain_loop_tells_apart():
    """Otherwise the tests above say little: protocols and mirror images differ by far more."""
    images, crop = list(drawn.pictures(7)), CROPS["shorter_side"]()
    found = {p: np.array(expected(images, p, crop)) for p in ("mirror", "ten_crop", "grid_50")}
    left = np.array(
        [
            plain(i, views.Pass(18, views.corner_and_center_views, 1.0), crop, 120.0, False)
            for i in images
        ]
    )
    assert np.abs(found["mirror"] - found["ten_crop"]).max() > 0.02
    assert np.abs(found["grid_50"] - found["ten_crop"]).max() > 0.02
    assert np.abs(left - found["ten_crop"]).max() > 0.02


def test_crops_get_the_part_of_a_mean_image_where_they_are():
    """AlexNet: the mean image is of the central square, as its ten crops are."""
    images, crop = list(drawn.pictures(2)), CROPS["square"]()
    mean = np.random.default_rng(0).uniform(60, 180, (19, 19, 3)).astype(np.float32)
    net = drawn.network(crop, resident=False, mean="pixel")
    found = probabilities(net, drawn.streamed(images), "ten_crop", statistics={"mean": mean})
    for image, of in zip(images, found.by_network[0], strict=True):
        square = crop.evaluation_box(*image.shape[:2])
        whole = resize(image, (19, 19), False, square) - mean
        parts = [whole[y : y + 16, x : x + 16] for y, x in ((0, 0), (0, 3), (3, 0), (3, 3), (2, 2))]
        both = [*parts, *(part[:, ::-1] for part in parts)]
        want = np.mean([softmax(scores(part / 255)) for part in both], 0)
        np.testing.assert_allclose(of, want, atol=5e-3)


def test_a_mean_image_of_the_size_of_a_view_is_taken_off_it_wherever_it_is():
    images, crop = list(drawn.pictures(2)), CROPS["shorter_side"]()
    mean = np.random.default_rng(0).uniform(60, 180, (16, 16, 3)).astype(np.float32)
    net = drawn.network(crop, resident=False, mean="pixel")
    found = probabilities(net, drawn.streamed(images), "grid_50", statistics={"mean": mean})
    want = expected(images, "grid_50", crop, mean)
    np.testing.assert_allclose(found.by_network[0], want, atol=1e-5)
    found = probabilities(net, drawn.streamed(images), "dense", statistics={"mean": mean})
    want = expected(images, "dense", crop, mean.mean((0, 1)))
    np.testing.assert_allclose(found.by_network[0], want, atol=5e-3)


@pytest.mark.parametrize("is_resident", [False, True])
@pytest.mark.parametrize("batch_size", [1, 3, 100])
@pytest.mark.parametrize("protocol", ["ten_crop", "dense"])
def test_every_example_is_in_one_batch(is_resident, batch_size, protocol):
    images = list(drawn.pictures(17))
    same = [resize(image, (20, 26), False) for image in images]
    data = drawn.resident(same) if is_resident else drawn.streamed(images)
    net = drawn.network(CROPS["none"](), resident=is_resident)
    one = views.protocol_passes(protocol, net.inputs.crop, ())[0]
    known = {"mean": np.zeros((1, 1, 3), np.float32)}
    found = list(protocols.resized_batches(net.inputs, data, one, known, batch_size, mesh()))
    numbers = np.concatenate([batch.examples[batch.mask] for batch in found])
    assert sorted(numbers) == list(range(17))
    if is_resident:
        assert len({b.images.shape[1:] for b in found}) == 1
    else:
        assert all(len(b.mask) < 2 * b.mask.sum() for b in found)  # little of a batch is empty
    pixels = max(np.prod(batch.images.shape[:3]) for batch in found)
    allowed = min(batch_size, 17) * max(np.prod(b.images.shape[1:3]) for b in found)
    assert pixels <= (max(batch_size * 16 * 16, 18 * 47) if protocol == "dense" else allowed)


def test_batches_change_nothing():
    images = list(drawn.pictures(11))
    net = drawn.network(CROPS["shorter_side"](), resident=False)
    for protocol in ("ten_crop", "dense"):
        one, other = (
            probabilities(net, drawn.streamed(images), protocol, batch_size=b).by_network
            for b in (2, 64)
        )
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_several_networks_are_told_apart():
    images = list(drawn.pictures(3))
    net = drawn.network(CROPS["none"](), resident=False)
    networks = [{"params": {"sharpness": np.float32(s)}} for s in (1.0, 0.0, 3.0)]
    found = probabilities(net, drawn.streamed(images), "ten_crop", networks=networks).by_network
    alone = probabilities(net, drawn.streamed(images), "ten_crop").by_network[0]
    np.testing.assert_allclose(found[0], alone, atol=1e-6)
    np.testing.assert_allclose(found[1], 1 / 7, atol=1e-6)
    assert (found[2].max(-1) > found[0].max(-1)).all()


def test_a_damaged_image_is_left_out_or_an_error():
    images = list(drawn.pictures(30))
    net = drawn.network(CROPS["none"](), resident=False)
    data = drawn.streamed(images, damaged=(4,), on_corrupt="skip")
    found = probabilities(net, data, "ten_crop")
    assert not found.readable[4] and found.readable.sum() == 29
    assert (
        protocols.report_probabilities(found.by_network[0], found.labels, found.readable)[
            "examples"
        ]
        == 29
    )
    with pytest.raises(DataError, match="image 4"):
        probabilities(net, drawn.streamed(images, damaged=(4,)), "ten_crop")


def test_errors_and_loss_are_of_the_mean_probabilities():
    of = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.2, 0.6, 0.2]], np.float32)
    report = protocols.report_probabilities(
        of, np.array([0, 1, 1], np.int32), np.array([True, True, False])
    )
    assert report["examples"] == 2 and report["top1_error"] == 0.5
    assert report["loss"] == pytest.approx(-(np.log(0.5) + np.log(0.2)) / 2)
    certain = protocols.report_probabilities(of * 0, np.zeros(3, np.int32), np.ones(3, bool))
    assert certain["loss"] == pytest.approx(-np.log(np.finfo(np.float32).tiny))


# Each at a sixteenth of its width, and as small as it can be: (image side, fields).
NETS: dict[str, tuple[int, dict[str, Any]]] = {
    "vgg_a": (32, dict(hidden=(64, 64), initializer="glorot")),
    "alexnet": (67, dict(hidden=(64, 64), initializer="glorot", groups=1)),
    "resnet18": (32, {}),
    "googlenet": (32, dict(aux=False)),
}
LONG = ("alexnet", "resnet18", "googlenet")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in NETS]
)
def test_a_dense_network_is_the_classifier_on_an_image_of_its_own_size(name):
    """On a larger image it equals the output of the module there."""
    side, fields = NETS[name]
    crop = crops.create("shorter_side", (side, side), smallest=side, largest=side, evaluate=side)
    model = models.create(name, num_classes=len(drawn.CLASSES), width=1 / 16, **fields)
    net = drawn.network(crop, resident=False, model=model)
    init = jax.jit(partial(models.init, model, image_shape=net.image_shape))
    variables = init(jax.random.key(0))
    for size in (side, side + 40):
        images = [resize(image, (size, size), False) for image in drawn.pictures(2)]
        found = probabilities(
            net, drawn.streamed(images), "multi_scale", networks=[variables], test_scales=(size,)
        )
        x = (np.stack([*images, *(i[:, ::-1] for i in images)]) - np.float32(120)) / 255
        logits = jax.jit(partial(model.apply, train=False))(variables, x)["logits"]
        want = np.array([softmax(row) for row in np.asarray(logits)]).reshape(2, 2, -1).mean(0)
        np.testing.assert_allclose(found.by_network[0], want, atol=1e-5)


@pytest.mark.parametrize("name, side", [("mlp", 28), ("cnn", 28), ("lenet5", 28), ("vgg_a", 64)])
def test_a_network_that_cannot_be_dense_is_refused(name, side):
    crop = crops.create("none", (side, side))
    fields = {"width": 1 / 16} if name == "vgg_a" else {}
    model = models.create(name, num_classes=len(drawn.CLASSES), **fields)
    net = drawn.network(crop, resident=True, model=model)
    small = (32,) if name == "vgg_a" else ()
    with pytest.raises(ConfigError, match="--protocol=multi_scale: .* ten_crop"):
        protocols.check_dense_scales(
            net, "multi_scale", views.protocol_passes("multi_scale", crop, small)
        )
    protocols.check_dense_scales(net, "grid_144", views.protocol_passes("grid_144", crop, ()))


def measure(devices):
    images = list(drawn.pictures(19))
    data = {
        False: drawn.streamed(images),
        True: drawn.resident([resize(image, (20, 26), False) for image in images]),
    }
    found = {}
    for is_resident, protocol in ((False, "ten_crop"), (True, "grid_50"), (False, "dense")):
        net = drawn.network(CROPS["shorter_side"](), resident=is_resident)
        p = probabilities(net, data[is_resident], protocol, batch_size=5, devices=devices)
        report = protocols.report_probabilities(p.by_network[0], p.labels, p.readable)
        found[protocol] = dict(of=p.by_network.tolist(), report=report)
    return found


def test_several_devices_change_nothing(simulated):
    out = subprocess.run(
        [sys.executable, __file__], env=simulated(8), capture_output=True, text=True, timeout=600
    )
    assert out.returncode == 0, out.stderr[-2_000:]
    one, eight = json.loads(out.stdout)
    for name, found in eight.items():
        assert found["report"] == pytest.approx(one[name]["report"], rel=1e-6), name
        assert found["report"]["examples"] == 19
        np.testing.assert_allclose(found["of"], one[name]["of"], atol=1e-6, err_msg=name)


if __name__ == "__main__":
    assert jax.device_count() == 8
    print(json.dumps([measure(1), measure(8)]))
