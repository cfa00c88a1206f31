"""`predict`: every sound image gets its row, every bad file is named, and names do no harm."""

import csv
import io
import json
import os
import unicodedata

import numpy as np
import pytest
from PIL import Image

from cnn_archs import cli
from cnn_archs.commands.shared import csv_text

TRAINED = ("--config.model.name=mlp", "--config.model.hidden=(4,)", "--config.steps=2")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The flag of a run on digits, whose images are 32x32 and gray."""
    workdir = tmp_path_factory.mktemp("run")
    assert cli.main(["train", f"--workdir={workdir}", *TRAINED]) == 0
    return f"--workdir={workdir}"


def put(folder, *names):
    """Write a gray square on black under each name."""
    folder.mkdir(exist_ok=True)
    for i, name in enumerate(names):
        pixels = np.zeros((32, 32), np.uint8)
        pixels[8:24, 8:24] = 100 + 10 * i
        Image.fromarray(pixels).save(folder / name, "PNG")


def table(capsys, *words, code=0):
    """Run predict for a table: its rows, without the head, and the lines on stderr."""
    capsys.readouterr()
    assert cli.main(["predict", *map(str, words), "--format=csv"]) == code
    out, err = capsys.readouterr()
    head, *rows = csv.reader(io.StringIO(out))
    assert head == ["id", "label"] and len(out.splitlines()) == len(rows) + 1
    return rows, err.splitlines()


def test_bad_files_are_named_at_the_end_and_lose_no_other(run, tmp_path, capsys):
    put(tmp_path / "new", "1.png", "2.png", "4.png")
    (tmp_path / "new" / "3.png").write_text("<html>")
    os.mkfifo(tmp_path / "new" / "5.png")
    (tmp_path / "new" / "6.png").symlink_to("gone.png")
    (tmp_path / "new" / "notes.txt").write_text("x")
    rows, err = table(capsys, run, tmp_path / "new", code=3)
    assert [row[0] for row in rows] == ["1", "2", "4"]
    left_out, *bad, last = err
    assert "1 file or folder is left out" in left_out and "notes.txt" in left_out
    assert ["3.png" in bad[0], "5.png" in bad[1], "6.png" in bad[2]] == [True] * 3
    assert "neither JPEG" in bad[0] and "pipe" in bad[1] and "No such file" in bad[2]
    assert last.startswith("error: 3 of 6 files cannot be predicted: ") and "3.png" in last


def test_if_no_file_can_be_read_the_table_is_empty(run, tmp_path, capsys):
    (tmp_path / "x.jpg").write_bytes(b"")
    rows, err = table(capsys, run, tmp_path / "x.jpg", code=3)
    assert rows == [] and "1 of 1 files" in err[-1]
    assert cli.main(["predict", run, str(tmp_path / "x.jpg"), "--format=json"]) == 3
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize(
    "names, ids",
    [
        (["v1.5_a.png", "v1.5_b.png"], ["v1.5_a", "v1.5_b"]),
        (["a.png", "a.jpg", "b.png"], ["a.jpg", "a.png", "b.png"]),
        (["10.png", "9.png"], ["9", "10"]),
    ],
)
def test_ids_differ(run, tmp_path, capsys, names, ids):
    put(tmp_path / "new", *names)
    rows, _ = table(capsys, run, tmp_path / "new")
    assert [row[0] for row in rows] == ids


def test_files_of_one_name_in_two_folders_have_whole_paths(run, tmp_path, capsys):
    put(tmp_path / "a", "1.png")
    put(tmp_path / "b", "1.png")
    rows, err = table(capsys, run, tmp_path / "a", tmp_path / "b", tmp_path / "b" / "1.png")
    assert [row[0] for row in rows] == [f"{tmp_path}/a/1.png", f"{tmp_path}/b/1.png"]
    assert err == ["note: 1 files are named twice, and predicted once"]


ODD = [
    "two\nlines.png",
    "\x1b[31mred\x1b[0m.png",
    '=HYPERLINK("x").png',
    "@sum(1).png",
    'a,"b".png',
    os.fsdecode(b"caf\xe9.png"),
    "\u202egnp.exe.png",
    unicodedata.normalize("NFD", "강아지.png"),
]


@pytest.mark.parametrize("form", ["text", "json", "csv"])
def test_names_are_escaped(run, tmp_path, capsys, form):
    put(tmp_path / "new", *ODD)
    (tmp_path / "new" / "bad\n\x1b[2J.png").write_text("x")
    capsys.readouterr()
    assert cli.main(["predict", run, str(tmp_path / "new"), f"--format={form}"]) == 3
    out, err = capsys.readouterr()
    assert all(line.isprintable() for line in (*out.splitlines(), *err.splitlines()))
    assert len(err.splitlines()) == 2 and r"bad\n\x1b[2J.png" in err
    assert out.encode()  # nothing in it that UTF-8 lacks
    if form == "json":
        assert {os.path.basename(p["file"]) for p in json.loads(out)} == set(ODD)
    elif form == "csv":
        ids = {row[0] for row in csv.reader(io.StringIO(out))}
        assert {"'@sum(1)", '\'=HYPERLINK("x")', 'a,"b"', r"caf\udce9", r"two\nlines"} <= ids
    else:
        assert len(out.splitlines()) == len(ODD)


def test_a_number_is_no_formula():
    assert csv_text([("-5", "+1e3", "-x", "1")]) == "-5,+1e3,'-x,1"


def test_deep_pixels_and_transparency_are_read_as_in_a_folder(run, tmp_path, capsys):
    ramp = np.tile(np.arange(0, 256, 8, dtype=np.uint8), (32, 1))
    Image.fromarray(ramp).save(tmp_path / "8.png")
    Image.fromarray(ramp.astype(np.uint16) * 257).save(tmp_path / "16.png")
    Image.fromarray(np.stack([ramp * 0, 255 - ramp], -1), "LA").save(tmp_path / "alpha.png")
    assert (
        cli.main(["predict", run, *(str(p) for p in sorted(tmp_path.iterdir())), "--format=json"])
        == 0
    )
    found = [p["top"] for p in json.loads(capsys.readouterr().out)]
    assert found[0] == found[1] == found[2]


def digit(folder, name, ink, paper, mode="L"):
    """Draw a bar of `ink` on `paper`, 64x64 pixels, and return the path."""
    image = Image.new(mode, (64, 64), paper)
    image.paste(ink, (26, 8, 38, 56))
    image.save(folder / name)
    return str(folder / name)


def predictions(capsys, *words):
    """Run predict: what it found, as JSON, and the lines on stderr."""
    capsys.readouterr()
    assert cli.main(["predict", *words, "--format=json"]) == 0
    out, err = capsys.readouterr()
    return json.loads(out), err.splitlines()


def test_black_on_white_is_said_and_inverted(run, tmp_path, capsys):
    white = digit(tmp_path, "white.png", 255, 0)
    black = digit(tmp_path, "black.png", 0, 255)
    clear = digit(tmp_path, "clear.png", (0, 0, 0, 255), (9, 9, 9, 0), "RGBA")
    ((as_trained,), none) = predictions(capsys, run, white)
    assert none == []
    found, (note,) = predictions(capsys, run, white, black, clear)
    assert f"2 of 3 images ({black}, ...) are light where the training images are dark" in note
    assert "--invert" in note and found[1]["top"] == found[2]["top"] != as_trained["top"]
    found, none = predictions(capsys, run, black, clear, "--invert")
    assert none == [] and found[0]["top"] == found[1]["top"] == as_trained["top"]
    _, (note,) = predictions(capsys, run, white, "--invert")
    assert note.startswith(f"note: {white} is light") and "without --invert" in note


def test_what_is_nearly_of_one_color_or_turned_is_said(run, tmp_path, capsys):
    low = tmp_path / "low.png"
    Image.fromarray(np.eye(32, dtype=np.uint16) * 255).save(low)  # 8 of 16 bits
    blank = digit(tmp_path, "blank.png", (255, 255, 255, 255), (0, 0, 0, 0), "RGBA")
    _, (note,) = predictions(capsys, run, str(low), blank)
    assert (
        note == f"note: 2 of 2 images ({low}, ...) are nearly of one color as the network sees them"
    )
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = tmp_path / "turned.jpg"
    Image.open(digit(tmp_path, "plain.png", 255, 0)).save(turned, exif=exif)
    _, (note,) = predictions(capsys, run, str(turned), str(tmp_path / "plain.png"))
    assert note.startswith(f"note: 1 of 2 images ({turned}) is marked by the camera as turned")


def test_the_number_of_classes(run, tmp_path, capsys):
    image = digit(tmp_path, "1.png", 255, 0)
    assert [len(predictions(capsys, run, image, *w)[0][0]["top"]) for w in ([], ["--top=2"])] == [
        5,
        2,
    ]
    assert len(predictions(capsys, run, image, "--top=99")[0][0]["top"]) == 10
    for flags, says in (
        (["--top=0"], "at least 1"),
        (["--top=3", "--format=csv"], "--format=json"),
    ):
        assert cli.main(["predict", run, image, *flags]) == 2
        assert says in capsys.readouterr().err
    assert len(table(capsys, run, image, "--top=1")[0]) == 1
