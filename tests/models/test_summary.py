"""The rows of summaries: sizes, parameters and multiply-adds as arithmetic, receptive fields."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_archs import cli, models
from cnn_archs.models import summary

# fmt: off
LEDGERS = {
    # name, type, out (H, W, C), parameters, multiply-adds, receptive field
    ("lenet5", (28, 28, 1)): [
        ("C1",   "conv",    (28, 28, 6),  6 * (25 + 1),          28 * 28 * 6 * 25,        5),
        ("S2",   "avgpool", (14, 14, 6),  0,                     0,                       6),
        ("C3",   "conv",    (10, 10, 16), 16 * (6 * 25 + 1),     10 * 10 * 16 * 6 * 25,   14),
        ("S4",   "avgpool", (5, 5, 16),   0,                     0,                       16),
        ("C5",   "conv",    (1, 1, 120),  120 * (16 * 25 + 1),   120 * 16 * 25,           32),
        ("F6",   "dense",   (1, 1, 84),   84 * (120 + 1),        120 * 84,                32),
        ("OUT7", "dense",   (1, 1, 10),   10 * (84 + 1),         84 * 10,                 32),
    ],
    ("lenet5_1998", (32, 32, 1)): [
        ("C1",   "conv",    (28, 28, 6),  6 * (25 + 1),          28 * 28 * 6 * 25,        5),
        ("S2",   "subsampling", (14, 14, 6),  6 * 2,                 0,                       6),
        ("C3",   "conv",    (10, 10, 16), 60 * 25 + 16,          10 * 10 * 60 * 25,       14),
        ("S4",   "subsampling", (5, 5, 16),   16 * 2,                0,                       16),
        ("C5",   "conv",    (1, 1, 120),  120 * (16 * 25 + 1),   120 * 16 * 25,           32),
        ("F6",   "dense",   (1, 1, 84),   84 * (120 + 1),        120 * 84,                32),
        ("RBF",  "rbf",     (1, 1, 10),   0,                     84 * 10,                 32),
    ],
    ("mlp", (28, 28, 1)): [
        ("fc1",  "dense",   (1, 1, 512),  28 * 28 * 512 + 512,   28 * 28 * 512,           28),
        ("fc2",  "dense",   (1, 1, 10),   512 * 10 + 10,         512 * 10,                28),
    ],
    ("cnn", (28, 28, 1)): [
        ("conv1", "conv",   (26, 26, 32), 32 * (9 + 1),          26 * 26 * 32 * 9,        3),
        ("conv2", "conv",   (24, 24, 64), 64 * (32 * 9 + 1),     24 * 24 * 64 * 32 * 9,   5),
        ("pool", "maxpool", (12, 12, 64), 0,                     0,                       6),
        ("fc1",  "dense",   (1, 1, 128),  12 * 12 * 64 * 128 + 128, 12 * 12 * 64 * 128,   28),
        ("fc2",  "dense",   (1, 1, 10),   128 * 10 + 10,         128 * 10,                28),
    ],
}
TOTALS = {  # parameters, multiply-adds
    "lenet5": (61_706, 117_600 + 240_000 + 48_000 + 10_080 + 840),
    "lenet5_1998": (60_000, 117_600 + 150_000 + 48_000 + 10_080 + 840),
    "mlp": (401_920 + 5_130, 401_408 + 5_120),
    "cnn": (320 + 18_496 + 1_179_776 + 1_290, 194_688 + 10_616_832 + 1_179_648 + 1_280),
}
# fmt: on


KEYS = ("name", "type", "out", "params", "macs", "receptive_field")
# Tables that were computed apart from this code, from the papers: rows with parameters or
# multiply-adds, [H, W, C, parameters, multiply-adds]; of the deep networks their SHA-256.
TABLES = json.loads((Path(__file__).parent / "layer_tables.json").read_text())


def of(row):
    return tuple(getattr(row, key) for key in KEYS)


@pytest.mark.parametrize("name, image", LEDGERS)
def test_every_row(name, image):
    rows = summary.summarize(models.create(name), image)
    assert [of(row) for row in rows] == LEDGERS[name, image]
    totals = summary.totals(rows)
    assert (totals["params"], totals["macs"]) == TOTALS[name]


@pytest.mark.parametrize("expected", TABLES, ids=[t["name"] for t in TABLES])
def test_the_tables_of_the_papers(expected):
    model = models.create(expected["model"], **expected["fields"])
    rows = summary.summarize(model, tuple(expected["input"]), train=expected["train"])
    totals = summary.totals(rows)
    assert (totals["params"], totals["macs"]) == (expected["params"], expected["macs"])
    counted = ("conv", "dense", "bn", "subsampling", "rbf")
    found = [[*r.out, r.params, r.macs] for r in rows if r.type in counted]
    if "rows" in expected:
        assert found == expected["rows"]
    else:
        assert len(found) == expected["count"]
        assert hashlib.sha256(json.dumps(found).encode()).hexdigest() == expected["sha256"]


def test_nothing_is_allocated():
    """VGG-E has 575 MB of parameters."""
    before = len(jax.live_arrays())
    rows = summary.summarize(models.create("vgg_e"), (224, 224, 3))
    assert summary.totals(rows)["params"] == 143_667_240 and len(jax.live_arrays()) <= before


# --- What an output sees -------------------------------------------------------------------------


def test_receptive_fields_of_the_layers_of_lenet5():
    """Section II.B: C5's 5x5 windows on S4 cover all of the 32x32 input."""
    rows = {
        r.name: r.receptive_field for r in summary.summarize(models.create("lenet5"), (28, 28, 1))
    }
    assert [rows[layer] for layer in ("C1", "S2", "C3", "S4", "C5")] == [5, 6, 14, 16, 32]


def test_receptive_fields_of_vgg():
    """Section 2.3: two 3x3 layers see 5x5, three 7x7, as the one 5x5 layer for each two."""
    sees: dict[str, dict[str, Any]] = {
        name: {
            r.name: r.receptive_field for r in summary.summarize(models.create(name), (224, 224, 3))
        }
        for name in ("vgg_a", "vgg_b", "vgg_b_5x5", "vgg_d")
    }
    assert sees["vgg_a"]["conv1_1"] == 3
    assert sees["vgg_b"]["conv1_2"] == sees["vgg_b_5x5"]["conv1_1"] == 5
    assert sees["vgg_b"]["conv5_2"] == sees["vgg_b_5x5"]["conv5_1"]
    assert sees["vgg_d"]["conv5_3"] == 196
    stride = sees["vgg_d"]["pool2"] - sees["vgg_d"]["conv2_2"]  # one step of the map: 2 pixels
    assert sees["vgg_d"]["conv3_3"] == sees["vgg_d"]["pool2"] + (7 - 1) * 2 * stride


class Three3x3(models.Network):
    @nn.compact
    def __call__(self, image, *, train):
        for _ in range(3):
            image = nn.Conv(2, (3, 3), padding=1)(image)
        return {"logits": image}


class Branches(models.Network):
    """A residual unit of stride 2 and a module with branches: what they see is not a chain's."""

    @nn.compact
    def __call__(self, image, *, train):
        y = nn.Conv(4, (3, 3), 2, padding=1, name="a")(image)
        y = nn.Conv(4, (5, 5), padding=2, name="b")(nn.relu(y))
        x = nn.Conv(4, (1, 1), 2, padding=0, name="shortcut")(image)
        x = nn.Conv(4, (1, 1), name="c")(nn.relu(x + y))
        sides = nn.Conv(4, (1, 1), name="d")(x), nn.Conv(4, (3, 3), padding=1, name="e")(x)
        x = nn.Conv(4, (1, 1), name="f")(jnp.concatenate(sides, -1))
        return {"logits": nn.Dense(3, name="g")(x.reshape(len(x), -1))}


def reach(model, image):
    rows = summary.summarize(model, image)
    return {r.name: (r.receptive_field, r.stride, r.offset) for r in rows}


def test_three_3x3_layers_see_7x7():
    assert reach(Three3x3(), (9, 9, 1))["Conv_2"] == (7, 1, -3)


def test_what_branches_and_shortcuts_see():
    assert reach(Branches(), (8, 8, 1)) == {
        "a": (3, 2, -1),
        "b": (3 + 4 * 2, 2, -1 - 2 * 2),
        "shortcut": (1, 2, 0),
        "c": (11, 2, -5),  # the wider of the two
        "d": (11, 2, -5),
        "e": (11 + 2 * 2, 2, -5 - 2),
        "f": (15, 2, -7),
        "g": (15 + 3 * 2, 2, -7),  # all of the 4x4 map
    }


@pytest.mark.parametrize("layer", ["conv2_2/3x3b", "conv3_1/3x3a", "conv3_2/3x3b"])
def test_what_is_said_to_be_seen_is_what_the_gradient_reaches(layer):
    """The pixels with a gradient of one inner output, in a residual net of positive weights."""
    model = models.create("resnet20", blocks=(2, 2), widths=(2, 4))
    image, path = (32, 32, 3), tuple(layer.split("/"))
    variables = model.init(jax.random.key(0), jnp.zeros((1, *image)), train=False)
    variables = {**variables, "params": jax.tree.map(jnp.abs, variables["params"])}

    def output(x):
        _, state = model.apply(
            variables,
            x,
            train=False,
            capture_intermediates=lambda module, _: module.path == path,
            mutable=["intermediates"],
        )
        (out,) = jax.tree.leaves(state["intermediates"])
        return out[0, out.shape[1] // 2, out.shape[2] // 2].sum(), out.shape[1] // 2

    gradient, at = jax.jit(jax.grad(output, has_aux=True))(jnp.ones((1, *image)))
    reached = np.flatnonzero(np.abs(gradient[0]).sum((1, 2)))
    (row,) = [r for r in summary.summarize(model, image) if r.name == layer]
    assert row.offset is not None and row.stride and row.receptive_field
    first = row.offset + int(at) * row.stride
    assert first >= 0 and first + row.receptive_field <= image[0]  # nothing is cut off
    assert (reached[0], reached[-1]) == (first, first + row.receptive_field - 1)


def test_parameters_outside_of_any_layer_are_an_error():
    class Strange(models.Network):
        @nn.compact
        def __call__(self, image, *, train):
            return {"logits": image * self.param("scale", nn.initializers.ones, ())}

    with pytest.raises(ValueError, match="outside of any layer: scale"):
        summary.summarize(Strange(), (4, 4, 1))


# --- summarize -----------------------------------------------------------------------------------


def summarize(capsys, *arguments):
    assert cli.main(["summarize", *arguments]) == 0
    return capsys.readouterr().out


def test_table_shows_every_layer_and_the_sum(capsys):
    rows = summary.summarize(models.create("lenet5"), (28, 28, 1))
    lines = summarize(capsys, "--config=lenet5_mnist").splitlines()
    assert [line.split()[0] for line in lines] == ["layer", *(r.name for r in rows), "total"]
    assert lines[-1].split()[:3] == ["total", "61,706", "416,520"]
    assert lines[5].split()[:6] == ["C5", "conv", "5x5/1", "1x1x120", "48,120", "48,000"]
    assert lines[5].split()[-3:] == ["32", "4", "-2"]


def test_markdown_is_the_same_table(capsys):
    text = summarize(capsys, "--config=googlenet_imagenet").splitlines()
    marked = summarize(capsys, "--config=googlenet_imagenet", "--format=markdown").splitlines()
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in marked]
    assert marked[1].startswith("| --- | --- | ---: |")
    del cells[1]
    for line, row in zip(text[:85], cells, strict=False):
        assert line.split() == [c for c in row if c]


def test_modules_with_branches_tell_what_each_costs(capsys):
    """Table 1, module 3a: 163,328 weights and 368 biases; 128 million operations."""
    document = json.loads(summarize(capsys, "--config=googlenet_imagenet", "--format=json"))
    (module,) = [layer for layer in document["layers"] if layer["name"] == "3a"]
    assert module["type"] == "concat" and module["out"] == [28, 28, 256]
    assert module["branches"]["5x5"] == [16 * 193 + 32 * (25 * 16 + 1), 28 * 28 * (3_072 + 12_800)]
    assert [sum(b) for b in zip(*module["branches"].values(), strict=True)] == [
        163_328 + 368,
        128_049_152,
    ]
    assert "3a      parameters     28x28x256" in summarize(capsys, "--config=googlenet_imagenet")


def test_the_notes_example_of_a_bottleneck(capsys):
    """32 5x5 kernels on 32x32x200: 163,840,000 multiplications, behind 16 1x1 kernels 16,384,000.

    And the same on 28x28x192: 120,422,400 and 12,443,648.
    """
    for image, naive, reduced in (
        ((32, 32, 200), 163_840_000, 3_276_800 + 13_107_200),
        ((28, 28, 192), 120_422_400, 12_443_648),
    ):
        arguments = (
            "--config=googlenet_imagenet",
            "--config.model.name=inception_module",
            "--config.model.widths=(0,0,0,16,32,0)",
            f"--config.data.image_shape={image}".replace(" ", ""),
            "--compare.model.module=naive",
        )
        a, b = json.loads(summarize(capsys, *arguments, "--format=json"))
        assert (a["macs"], b["macs"]) == (reduced, naive)
        text = summarize(capsys, *arguments).splitlines()
        assert text[1] == "B: inception_module, which differs in model.module"
        assert {f"{reduced:,}", f"{naive:,}"} <= set(text[-1].split())


def test_two_experiments_side_by_side(capsys):
    """Their overrides are apart."""
    a, b = json.loads(
        summarize(
            capsys,
            *("--config=resnet_imagenet:50", "--config.model.num_classes=10"),
            *("--compare=resnet_imagenet:50_v1_5", "--format=json"),
        )
    )
    assert (a["name"], a["params"]) == ("resnet50", 25_557_032 - 990 * 2_049)
    assert (b["name"], b["params"], b["macs"]) == ("resnet50_v1_5", 25_557_032, 4_089_184_256)


def test_train_counts_the_auxiliary_heads(capsys):
    config = "--config=googlenet_imagenet"
    tested = json.loads(summarize(capsys, config, "--format=json"))
    trained = json.loads(summarize(capsys, config, "--format=json", "--train"))
    assert (tested["params"], trained["params"]) == (6_998_552, 13_378_280)
    assert (tested["macs"], trained["macs"]) == (1_582_671_872, 1_591_044_096)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            ("--config=cnn_mnist", "--config.model.dtype=float3"),
            "dtype=float3: must be float32, bfloat16",
        ),
        (("--config=vgg_imagenet", "--config.model.column=F"), "model.column=F: must be A, A-LRN"),
        (("--config=vgg_imagenet", "--config.data.image_shape=(16,16,3)"), "vgg_d: pool5: .*2x2"),
        (("--config=vgg_imagenet", "--config.data.image_shape=(0,0,0)"), "differ in size"),
        (("--config=googlenet_imagenet", "--config.model.modules.3c=(1,)"), "no key"),
        (
            ("--config=googlenet_imagenet", "--config.model.modules.3a=(1,2)"),
            r"modules.3a=\(1,2\): must be 6 values",
        ),
        (("--config=resnet_imagenet:50_x",), "no argument '50_x'; did you mean '50_v2'"),
        (
            ("--config=resnet_imagenet", "--config.model.shortcut=D"),
            "shortcut=D: must be A, B, C or none",
        ),
        (("--config=alexnet_imagenet", "--compare.model.color=1"), "no key 'model.color'"),
        (("--config=alexnet_imagenet", "--config.model.widths=(96,256)"), "must be 5 values"),
        (("--config=alexnet_imagenet", "--config.model.width=-1"), "must be a number, more than 0"),
        (
            ("--config=resnet_imagenet", "--config.model.blocks=(0,1,1,1)"),
            "each a whole number, from 1",
        ),
        (("--config=resnet_imagenet:20",), "no argument '20'; did you mean '200_v2'"),
        (
            ("--config=lenet5_digits", "--config.data.image_shape=(8,8,1)"),
            "too small: a convolution of 5x5 on a map of 2x2",
        ),
        (
            ("--config=alexnet_cifar10", "--config.model.stem=(33,4,0)"),
            "too small: a convolution of 33x33 on a map of 32x32",
        ),
        (("--config=resnet_cifar10", "--config.model.blocks=(3,3,3,3)"), "has 4 stages and widths"),
        (("--config=resnet_cifar10", "--config.model.widths=(32,16,16)"), "widths must not fall"),
        (("--config=cnn_mnist", "--config.data.image_shape=(64,0,1)"), "must be 3 values"),
    ],
)
def test_mistakes_are_one_line(arguments, message, capsys):
    assert cli.main(["summarize", *arguments]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and re.search(message, err), err


@pytest.mark.parametrize(
    "experiment, name, image",
    [("lenet5_1998_mnist", "lenet5_1998", [32, 32, 1]), ("lenet5_digits", "lenet5", [32, 32, 1])],
)
def test_summarize_prints_one_json_document(experiment, name, image, capsys):
    document = json.loads(summarize(capsys, f"--config={experiment}", "--format=json"))
    assert list(document) == ["name", "input", "params", "macs", "memory", "layers"]
    assert document["name"] == name and document["input"] == image
    assert (document["params"], document["macs"]) == TOTALS[name]
    (expected,) = [rows for (of, _), rows in LEDGERS.items() if of == name]
    for layer, row in zip(document["layers"], expected, strict=True):
        assert tuple(layer)[: len(KEYS)] == KEYS
        assert tuple(layer.values())[: len(KEYS)] == (*row[:2], list(row[2]), *row[3:])
