"""The ledger, row by row: sizes, parameters and multiply-adds as arithmetic, receptive fields."""

import json

import pytest

from cnn_archs import cli, models
from cnn_archs.analysis import ledger

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
        ("S2",   "avgpool", (14, 14, 6),  6 * 2,                 0,                       6),
        ("C3",   "conv",    (10, 10, 16), 60 * 25 + 16,          10 * 10 * 60 * 25,       14),
        ("S4",   "avgpool", (5, 5, 16),   16 * 2,                0,                       16),
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


@pytest.mark.parametrize("name, image", LEDGERS)
def test_every_row(name, image):
    rows = ledger.ledger(models.create(name), image)
    expected = [ledger.Row(*row) for row in LEDGERS[name, image]]
    assert rows == expected
    assert ledger.totals(rows) == dict(zip(("params", "macs"), TOTALS[name], strict=True))


def test_receptive_fields_of_the_layers_of_lenet5():
    """Section II.B: C5's 5x5 windows on S4 cover all of the 32x32 input."""
    rows = {r.name: r.receptive_field for r in ledger.ledger(models.create("lenet5"), (28, 28, 1))}
    assert [rows[layer] for layer in ("C1", "S2", "C3", "S4", "C5")] == [5, 6, 14, 16, 32]


def test_table_shows_every_layer_and_the_sum():
    rows = ledger.ledger(models.create("lenet5"), (28, 28, 1))
    lines = ledger.table(rows).splitlines()
    assert [line.split()[0] for line in lines] == ["layer", *(r.name for r in rows), "total"]
    assert lines[-1].split() == ["total", "61,706", "416,520"]
    assert "32x32" in lines[5] and "48,120" in lines[5]


@pytest.mark.parametrize(
    "experiment, name, image",
    [("lenet5_1998_mnist", "lenet5_1998", [32, 32, 1]), ("lenet5_digits", "lenet5", [32, 32, 1])],
)
def test_summarize_prints_one_json_document(experiment, name, image, capsys):
    assert cli.main(["summarize", f"--config={experiment}", "--format=json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert list(document) == ["name", "input", "params", "macs", "layers"]
    assert document["name"] == name and document["input"] == image
    assert (document["params"], document["macs"]) == TOTALS[name]
    keys = ["name", "type", "out", "params", "macs", "receptive_field"]
    (expected,) = [rows for (of, _), rows in LEDGERS.items() if of == name]
    assert [list(layer) for layer in document["layers"]] == [keys] * len(expected)
    for layer, row in zip(document["layers"], expected, strict=True):
        assert (*layer.values(),) == (*row[:2], list(row[2]), *row[3:])
