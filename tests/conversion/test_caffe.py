"""Caffe's files: read from what protobuf encodes, and computing what Caffe's layers compute."""

import json
import struct
from functools import partial
from typing import Any

import caffe_net
import jax
import numpy as np
import pytest
from PIL import Image

from cnn_archs import cli, models
from cnn_archs.conversion import caffe_file, caffe_layout, caffe_names, caffe_settings
from cnn_archs.conversion.torch_layout import from_state_dict
from cnn_archs.errors import DataError
from cnn_archs.models.inception import INCEPTION
from cnn_archs.runtime.compiler_options import fast_compile_options

CAFFE: dict[str, Any] = dict(lrn_k=1.0, lrn_alpha_over_n=True)  # its response normalization
ALEXNET: dict[str, Any] = dict(widths=(8, 12, 16, 16, 8), hidden=(10, 6), num_classes=5)
MODULES = {name: INCEPTION[name] for name in ("3a", "4a")}
SMALL = dict(width=1 / 16, num_classes=5)
# name: (the network in Caffe, its last top, our network, its fields, image side, form)
NETWORKS: dict[str, tuple[Any, str, str, dict[str, Any], int, bool]] = {
    "alexnet": (partial(caffe_net.alexnet), "fc8", "alexnet", ALEXNET | CAFFE, 67, False),
    "caffenet": (
        partial(caffe_net.alexnet, caffenet=True, alpha=3.0, k=1.5, local_size=3, beta=0.6),
        "fc8",
        "alexnet",
        ALEXNET
        | dict(lrn_k=1.5, lrn_n=3, lrn_alpha=3.0, lrn_beta=0.6)
        | dict(lrn_alpha_over_n=True, lrn_after_pool=True),
        67,
        True,
    ),
    "vgg16": (
        partial(caffe_net.vgg, (2, 2, 3, 3, 3)),
        "fc8",
        "vgg_d",
        SMALL | dict(hidden=(64, 64)),
        64,
        True,
    ),
    "resnet50": (
        partial(caffe_net.resnet, (1, 3, 1, 1), counted=(3,)),
        "fc1000",
        "resnet50",
        SMALL | dict(blocks=(1, 3, 1, 1), pool1="overhanging"),
        64,
        False,
    ),
    "googlenet": (
        partial(caffe_net.googlenet, MODULES),
        "loss3/classifier",
        "googlenet",
        SMALL | CAFFE | dict(modules=MODULES),
        128,
        True,
    ),
}


def written(net, tmp_path, v1=False):
    path = tmp_path / "x.caffemodel"
    path.write_bytes(net.encoded(v1))
    return path


def imported(path, model, image, rgb=True, heads=()):
    layers = caffe_file.read_caffemodel(path)
    caffe_settings.check_settings(model, image, layers)
    state = caffe_layout.state_dict(model, image, layers, heads=heads, rgb=rgb)
    return from_state_dict(model, image, state)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=pytest.mark.slow) if n in ("googlenet", "vgg16") else n
        for n in NETWORKS
    ],
)
def test_logits_are_those_that_caffe_computes(name, tmp_path):
    make, last, ours, fields, side, v1 = NETWORKS[name]
    net = make()
    image = np.random.default_rng(1).normal(size=(2, side, side, 3))  # RGB
    theirs = net.forward(image[..., ::-1].transpose(0, 3, 1, 2).copy())
    with jax.enable_x64(True):
        model = models.create(ours, dtype="float64", **fields)
        variables = imported(written(net, tmp_path, v1), model, (side, side, 3))
        variables = jax.tree.map(lambda x: np.asarray(x, np.float64), variables)
        run = jax.jit(
            partial(model.apply, method="every_head"), compiler_options=fast_compile_options()
        )
        heads = run(variables, image)
    expected = theirs[last].numpy()
    assert expected.std() > 1e-3
    np.testing.assert_allclose(heads["logits"], expected, rtol=1e-5, atol=1e-7)
    if name == "googlenet":
        np.testing.assert_allclose(heads["aux_4a"], theirs["loss1/classifier"], rtol=1e-5)


SMALL_ALEXNET = models.create("alexnet", **ALEXNET, **CAFFE)


def test_bgr_input_keeps_the_order_of_the_first_kernel(tmp_path):
    path, image = written(caffe_net.alexnet(), tmp_path), (67, 67, 3)
    rgb, bgr = (imported(path, SMALL_ALEXNET, image, rgb=rgb)["params"] for rgb in (True, False))
    np.testing.assert_array_equal(rgb["conv1"]["kernel"], bgr["conv1"]["kernel"][:, :, ::-1])
    np.testing.assert_array_equal(rgb["conv2"]["kernel"], bgr["conv2"]["kernel"])


@pytest.mark.parametrize(
    "name, there, some",
    [
        ("resnet50", (), {"res3d_branch2a", "bn4f_branch2c", "scale5a_branch1"}),
        (
            "resnet101",
            {"res3b1_branch2a", "res4b1_branch2a"},
            {"res4b22_branch2b", "res5c_branch2a"},
        ),
        (
            "resnet152",
            {"res3b1_branch2a"},
            {"res3b7_branch2a", "res4b35_branch2c", "res2c_branch2a"},
        ),
        ("vgg_e", (), {"conv3_4", "conv5_4", "fc8"}),
        ("googlenet", (), {"inception_5b/pool_proj", "loss2/fc", "conv2/3x3_reduce"}),
    ],
)
def test_the_names_are_those_of_the_prototxt(name, there, some):
    table = caffe_names.layer_names(models.create(name), there)
    found = {layer for names in table.values() for layer in names if layer}
    assert some <= found
    assert len(table) == {"resnet50": 66, "resnet101": 134, "resnet152": 202}.get(name, len(table))


def changed(net, name, **settings):
    """Return `net` with other settings in its layer `name`."""
    for layer in net.layers:
        if layer["name"] == name:
            layer["settings"] = {**layer["settings"], **settings}
    return net


def renamed(net, old, new):
    for layer in net.layers:
        layer["name"] = new if layer["name"] == old else layer["name"]
    return net


ALEX, RESIDUAL = partial(caffe_net.alexnet), partial(caffe_net.resnet, (1, 1, 1, 1))
RESNET = models.create("resnet50", blocks=(1, 1, 1, 1), pool1="overhanging", **SMALL)
PRINTED = models.create("alexnet", **ALEXNET)
MISFITS: dict[str, tuple[Any, Any, str]] = {
    "the paper's constants": (
        ALEX,
        PRINTED,
        "with these it fits: --config.model.lrn_k=1 --config.model.lrn_alpha_over_n=true$",
    ),
    "CaffeNet": (
        partial(caffe_net.alexnet, caffenet=True, alpha=3.0, local_size=3),
        SMALL_ALEXNET,
        "fits: --config.model.lrn_after_pool=true --config.model.lrn_n=3 "
        "--config.model.lrn_alpha_over_n=true --config.model.lrn_alpha=3$",
    ),
    "no normalization": (
        ALEX,
        SMALL_ALEXNET.clone(lrn=False),
        "fits: --config.model.lrn=true$",
    ),
    "a padded pool": (RESIDUAL, RESNET.clone(pool1="padded"), "--config.model.pool1=overhanging$"),
    "strides in 3x3": (RESIDUAL, RESNET.clone(stride_in="3x3"), "--config.model.stride_in=1x1$"),
    "within a map": (
        lambda: changed(ALEX(), "norm1", norm_region=1),
        SMALL_ALEXNET,
        "its response normalization is not one across maps",
    ),
    "a stride": (
        lambda: changed(ALEX(), "conv3", stride=2),
        SMALL_ALEXNET,
        "conv3 has the stride 2, but that of this network is 1$",
    ),
    "a stride down alone": (
        lambda: changed(ALEX(), "conv3", stride_h=1, stride_w=2),
        SMALL_ALEXNET,
        r"conv3 has the stride \(1, 2\), but",
    ),
    "a mean": (
        lambda: changed(ALEX(), "pool2", pool=1),
        SMALL_ALEXNET,
        r"pool2 has the method \(0: maximum, 1: mean\) 1, but that of this network is 0",
    ),
    "a leak": (
        lambda: changed(ALEX(), "relu_conv2", negative_slope=0.1),
        SMALL_ALEXNET,
        "relu_conv2 is a leaky ReLU",
    ),
    "a missing layer": (
        lambda: renamed(ALEX(), "conv3", "conv3_new"),
        SMALL_ALEXNET,
        r"its layer conv3_new \(Convolution\) does not belong to this network",
    ),
    "another width": (
        partial(caffe_net.alexnet, widths=(8, 12, 20, 16, 8)),
        SMALL_ALEXNET,
        r"conv3 has an array of \[20\], wanted \[16\]",
    ),
    "no Caffe": (ALEX, models.create("resnet20", pool1="padded"), "no .caffemodel is known for"),
}


@pytest.mark.parametrize("kind", MISFITS)
def test_a_file_of_another_network_says_what_differs(kind, tmp_path):
    make, model, message = MISFITS[kind]
    side = 67 if "alexnet" in str(type(model)).lower() else 64
    with pytest.raises(ValueError, match=message):
        imported(written(make(), tmp_path), model, (side, side, 3))


def test_a_renamed_last_layer_of_other_classes_is_found(tmp_path):
    net = renamed(caffe_net.alexnet(classes=7), "fc8", "fc8_flickr")
    layers = caffe_file.read_caffemodel(written(net, tmp_path))
    heads = {("params", "fc8", "kernel"), ("params", "fc8", "bias")}
    state = caffe_layout.state_dict(SMALL_ALEXNET, (67, 67, 3), layers, heads=heads, rgb=True)
    assert state["classifier.6.weight"].shape == (7, 6)
    assert state["classifier.6.bias"].shape == (7,)


def field(number: int, form: int, value: bytes) -> bytes:
    return varint(8 * number + form) + value


def varint(number: int) -> bytes:
    digits = b""
    while number > 127:
        digits, number = digits + bytes([number & 127 | 128]), number >> 7
    return digits + bytes([number])


def sized(number: int, value: bytes) -> bytes:
    return field(number, 2, varint(len(value)) + value)


def one_layer(blob: bytes) -> bytes:
    return sized(100, sized(1, b"conv1") + sized(2, b"Convolution") + sized(7, blob))


FOUR = struct.pack("<4f", 1, 2, 3, 4)
HOSTILE = {
    "nothing": (b"", "there are no layers in it"),
    "a text": (b'name: "AlexNet"\nlayer {\n', "its bytes are not a message"),
    "a web page": (b"<!DOCTYPE html><html>", "its bytes are not a message|it ends inside"),
    "a zip": (b"PK\x03\x04" + bytes(100), "not a message|it ends inside"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "is in Caffe's HDF5 form"),
    "a field too long": (field(100, 2, varint(2**62)) + bytes(9), "it ends inside a field"),
    "an endless number": (b"\xff" * 50, "it ends inside a number"),
    "a number for a layer": (field(100, 0, b"\x07"), "a number stands where a message should"),
    "a group": (field(100, 3, b""), "not a message: field 100 of form 3"),
    "a shape too large": (
        one_layer(sized(7, sized(1, varint(2**40) * 3)) + sized(5, FOUR)),
        "an array of shape 1099511627776x1099511627776x1099511627776 has 4 numbers",
    ),
    "a shape of nothing": (
        one_layer(sized(7, sized(1, varint(2**62) + varint(0)))),
        "not a valid .caffemodel: .+",
    ),
    "a negative side": (
        one_layer(sized(7, sized(1, b"\xff" * 9 + b"\x01")) + sized(5, FOUR)),
        "a size is not a whole number from 0",
    ),
    "too many axes": (one_layer(sized(7, sized(1, b"\x01" * 90)) + sized(5, FOUR)), "an array of"),
    "half a number": (one_layer(sized(5, FOUR[:-1])), "not a valid .caffemodel: .+"),
    "many fields": (field(3, 0, b"\x01") * 100_001, "it has more than 100,000 fields"),
    "many sides": (one_layer(sized(7, sized(1, b"\x01" * 100_001))), "more than 100,000 fields"),
    "a long name": (sized(100, sized(1, b"x" * 5000)), "a name in it has 5,000 bytes"),
    "the oldest form": (sized(2, sized(1, sized(1, b"conv1"))), "upgrade_net_proto_binary"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_is_one_line(kind, tmp_path):
    content, message = HOSTILE[kind]
    path = tmp_path / "x.caffemodel"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        caffe_file.read_caffemodel(path)
    assert len(str(caught.value)) < 300 + len(str(path))


def test_every_truncation_is_refused_or_has_fewer_layers(tmp_path):
    sound = caffe_net.alexnet(widths=(2, 2, 2, 2, 2), hidden=(2, 2), classes=2).encoded()
    path, whole = tmp_path / "x.caffemodel", len(caffe_net.alexnet().layers)
    for end in range(0, len(sound), 37):
        path.write_bytes(sound[:end])
        try:
            assert len(caffe_file.read_caffemodel(path)) < whole
        except DataError as e:
            assert "not a valid .caffemodel" in str(e)


def test_numbers_packed_apart_and_one_by_one_are_read(tmp_path):
    parts = sized(5, FOUR[:4]) + field(5, 5, FOUR[4:8]) + sized(5, FOUR[8:])
    path = tmp_path / "x.caffemodel"
    path.write_bytes(one_layer(sized(7, field(1, 0, b"\x02") + field(1, 0, b"\x02")) + parts))
    (layer,) = caffe_file.read_caffemodel(path)
    np.testing.assert_array_equal(layer.blobs[0], [[1, 2], [3, 4]])
    path.write_bytes(one_layer(sized(8, struct.pack("<2d", 0.1, 3))))  # double_data
    np.testing.assert_array_equal(caffe_file.read_caffemodel(path)[0].blobs[0], [0.1, 3])


# --- The command ---------------------------------------------------------------------------------

TINY = (
    *("--config=alexnet_imagenet", "--config.data.image_shape=(67,67,3)"),
    *("--config.model.widths=(8,12,16,16,8)", "--config.model.hidden=(10,6)"),
)
NEEDED = ("--config.model.lrn_k=1", "--config.model.lrn_alpha_over_n=true")


def command(*arguments):
    return cli.main([str(a) for a in arguments])


def test_an_imported_file_tells_the_classes_that_caffe_tells(tmp_path, capsys):
    """Caffe sees the central crop of the image as BGR, from 0 to 255, minus the mean color."""
    net = caffe_net.alexnet(classes=1000)
    path, workdir = written(net, tmp_path), tmp_path / "run"
    assert command("import", path, *TINY, f"--workdir={workdir}") == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.endswith(f"with these it fits: {' '.join(NEEDED)}\n")
    assert command("import", path, *TINY, *NEEDED, f"--workdir={workdir}") == 0
    assert "put from Caffe's BGR into RGB" in capsys.readouterr().err
    pixels = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    assert command("predict", f"--workdir={workdir}", tmp_path / "x.png", "--format=json") == 0
    (found,) = json.loads(capsys.readouterr().out)
    bgr = pixels[94:161, 94:161, ::-1] - np.array([103.939, 116.779, 123.68])
    probabilities = net.forward(bgr.transpose(2, 0, 1)[None])["fc8"].softmax(1)[0].numpy()
    best = np.argsort(-probabilities)[:5]
    assert [row["label"] for row in found["top"]] == list(best)
    np.testing.assert_allclose(
        [row["probability"] for row in found["top"]], probabilities[best], rtol=1e-4
    )


@pytest.mark.slow
def test_a_caffemodel_of_other_classes_takes_a_new_head(tmp_path, capsys):
    net = renamed(caffe_net.alexnet(classes=7), "fc8", "fc8_flickr")
    path = written(net, tmp_path, v1=True)
    flags = (path, *TINY, *NEEDED, f"--workdir={tmp_path / 'run'}")
    assert command("import", *flags) == 2
    assert "--new_head gives the network a new head" in capsys.readouterr().err
    assert command("import", *flags, "--new_head", "--normalization=caffe") == 0
    assert "left in Caffe's order, BGR" in capsys.readouterr().err


def test_a_damaged_caffemodel_is_one_line_and_exit_3(tmp_path, capsys):
    path = tmp_path / "x.caffemodel"
    path.write_bytes(caffe_net.alexnet().encoded()[:-5])
    assert command("import", path, *TINY, f"--workdir={tmp_path / 'run'}") == 3
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "x.caffemodel is not a valid .caffemodel: it ends" in err
    assert not (tmp_path / "run").exists()
