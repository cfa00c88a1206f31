"""The folders that come with the package are those of the wheel or of the checkout."""

from pathlib import Path

import pytest

from cnn_archs import shipped


@pytest.mark.parametrize("in_wheel", [True, False])
def test_what_an_older_version_left_in_the_package_is_not_taken(in_wheel, tmp_path, monkeypatch):
    package = tmp_path / "cnn_archs"
    (package / "weights" / "__pycache__").mkdir(parents=True)
    (package / "experiments" / "__pycache__").mkdir(parents=True)
    if in_wheel:
        (package / "experiments" / "base.py").touch()
    monkeypatch.setattr(shipped, "PACKAGE", package)
    where = package if in_wheel else tmp_path
    assert shipped.shipped_folder("weights") == where / "weights"
    assert shipped.shipped_folder("results") == where / "results"


def test_the_weights_of_this_repository_are_found():
    folder = Path(__file__).resolve().parents[1] / "weights"
    assert shipped.shipped_folder("weights") == folder and list(folder.glob("*.safetensors"))
