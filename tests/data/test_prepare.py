"""Preparing a dataset, and reading it back without TensorFlow."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from cnn_archs import cli
from cnn_archs.data import sources

TENSORFLOW = importlib.util.find_spec("tensorflow") is not None
TINY = Path(__file__).with_name("tiny_dataset.py")


@pytest.mark.skipif(TENSORFLOW, reason="TensorFlow is installed here")
def test_prepare_without_tensorflow_names_the_extra(capsys, tmp_path):
    assert cli.main(["prepare", "mnist", f"--data_dir={tmp_path / 'new'}"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "cnn-archs[prepare]" in error
    assert not (tmp_path / "new").exists()


def test_the_embedded_digits_need_no_preparation(capsys):
    assert cli.main(["prepare", "digits"]) == 2
    assert "scikit-learn" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(not TENSORFLOW, reason="needs TensorFlow: pip install '.[prepare]'")
def test_a_dataset_is_prepared_and_read_back(tmp_path):
    prepare = (
        f"import sys; sys.path.insert(0, {str(TINY.parent)!r}); import tiny_dataset; "
        "from cnn_archs.cli import main; "
        f"sys.exit(main(['prepare', 'tiny_dataset', '--data_dir={tmp_path}', '--format=json']))"
    )
    subprocess.run([sys.executable, "-c", prepare], check=True)
    read = (
        f"import sys; sys.path.insert(0, {str(TINY.parent)!r}); import tiny_dataset; "
        "from cnn_archs.data import sources; "
        f"s = sources.load('tiny_dataset', 'train', {str(tmp_path)!r}); "
        "assert s.images.shape == (7, 4, 5, 3) and sorted(s.labels) == [0, 0, 0, 1, 1, 1, 1]; "
        "assert all((i == 10 * l).all() for i, l in zip(s.images, s.labels)); "
        f"assert sources.describe('tiny_dataset', {str(tmp_path)!r}) == ((4, 5, 3), 2); "
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", read], check=True)


def test_known_datasets_are_described_without_any_data(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert sources.describe("mnist") == ((28, 28, 1), 10)
    assert sources.describe("cifar100") == ((32, 32, 3), 100)
