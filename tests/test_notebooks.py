"""The notebooks of docs/notebooks run, and their stored outputs are what they give.

`CNN_ARCHS_UPDATE_NOTEBOOKS=1 .venv/bin/pytest -m slow tests/test_notebooks.py` stores them anew.
"""

import copy
import json
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
MOST_BYTES = 100_000  # of a notebook with its outputs


def outputs(notebook):
    """Return the outputs of each code cell: texts, and "PNG" for a picture."""
    found = []
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        for output in cell["outputs"]:
            assert output["output_type"] != "error" and output.get("name") != "stderr", output
            data = output.get("data", {})
            text = output.get("text", data.get("text/plain", ""))
            found.append("PNG" if "image/png" in data else "".join(text))
    return found


def check_equal(stored, made):
    """Check that texts have the same words, and numbers that differ by 4 or by 5 % at most.

    Another processor adds in another order, so an error differs by some images.
    """
    assert [NUMBER.sub("#", text) for text in stored] == [NUMBER.sub("#", text) for text in made]
    for before, after in zip(stored, made, strict=True):
        numbers = [[float(n.replace(",", "")) for n in NUMBER.findall(t)] for t in (before, after)]
        assert numbers[1] == pytest.approx(numbers[0], rel=0.05, abs=4), (before, after)


def test_a_difference_is_found():
    check_equal(["8 of 360, 2.2 %"], ["11 of 360, 3.1 %"])
    for made in (["8 of 420, 2.2 %"], ["8 of 360, 9.1 %"], ["8 in 360, 2.2 %"], []):
        with pytest.raises(AssertionError):
            check_equal(["8 of 360, 2.2 %"], made)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_small_and_has_been_run_from_its_top(path):
    assert path.stat().st_size < MOST_BYTES
    notebook = json.loads(path.read_text())
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert outputs(notebook).count("PNG") >= 1
    assert not re.search(r"/(home|root|tmp|Users|work)/", path.read_text())
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    assert all(set(cell["metadata"]) <= set() for cell in notebook["cells"])


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_gives_what_is_stored(path, tmp_path, monkeypatch, request):
    import nbformat
    from nbclient import NotebookClient

    stored = nbformat.read(path, as_version=4)
    if "cifar10" in path.read_text():
        folder = Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()
        if not (folder / "cifar10").is_dir():
            pytest.skip("no CIFAR-10: set TFDS_DATA_DIR to a folder of prepared tfds datasets")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("XLA_FLAGS", raising=False)  # those of the tests: quick to compile, slow
    made = copy.deepcopy(stored)
    NotebookClient(made, timeout=3600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    if os.environ.get("CNN_ARCHS_UPDATE_NOTEBOOKS"):
        for cell in made["cells"]:
            cell["metadata"].clear()  # the times of its execution
        made["metadata"] = stored["metadata"]
        nbformat.write(made, path)
    check_equal(outputs(nbformat.read(path, as_version=4)), outputs(made))
