"""Pictures of a run: each is written, has what it says in it, and is named to the user."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnn_archs import cli

PICTURES = {"filters.png", "features.png", "confusion.png", "mistakes.png"}


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """LeNet-5 after a few steps on the digits: it makes mistakes."""
    where = tmp_path_factory.mktemp("run")
    assert cli.main(["train", f"--workdir={where}", "--config.steps=8"]) == 0
    return where


def colours(path: Path) -> int:
    with Image.open(path) as picture:
        return len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0))


def test_figures_are_written_and_named(workdir, capsys):
    capsys.readouterr()
    assert cli.main(["figures", f"--workdir={workdir}"]) == 0
    out = capsys.readouterr().out
    written = {p.name for p in (workdir / "figures").iterdir()}
    assert written == PICTURES and all(name in out for name in PICTURES)
    assert all(colours(workdir / "figures" / name) > 10 for name in PICTURES)


def test_predict_draws_a_sheet(workdir, tmp_path, capsys):
    Image.new("L", (32, 32), 200).save(tmp_path / "a.png")
    sheet = tmp_path / "sheet.png"
    command = ["predict", f"--workdir={workdir}", str(tmp_path / "a.png"), f"--sheet={sheet}"]
    assert cli.main(command) == 0
    assert colours(sheet) > 5
