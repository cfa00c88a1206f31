"""The names of the package, its networks by name, and the examples of its docstrings."""

import doctest
import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cnn_archs
from cnn_archs import cli, models
from cnn_archs.errors import ConfigError, DataError


def test_importing_the_package_imports_no_jax_and_shows_its_names():
    code = (
        "import cnn_archs, json, sys; heavy = {'jax', 'flax', 'numpy'} & set(sys.modules);"
        "print(json.dumps([sorted(heavy), dir(cnn_archs), cnn_archs.__all__]));"
        "from cnn_archs import *; print(json.dumps(sorted(globals())))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    heavy, shown, public = json.loads(out[0])
    assert heavy == [] and set(shown) == {*public, "__version__"}
    assert {"create_model", "data", "errors", "list_models", "load", "models", "train"} <= {*public}
    assert set(public) <= set(json.loads(out[1]))
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        _ = vars(cnn_archs)["__getattr__"]("lod")


def test_networks_are_found_by_a_pattern():
    assert cnn_archs.list_models() == list(models.MODELS)
    found = cnn_archs.list_models("ResNet*_v2")
    assert "resnet18_v2" in found and all(n.endswith("_v2") for n in found)
    assert cnn_archs.list_models("nothing*") == []


def test_a_network_has_the_fields_that_it_is_given():
    model = cnn_archs.create_model("vgg_a_bn", num_classes=7, width=1 / 16)
    assert model == models.create("vgg_a_bn", num_classes=7, width=1 / 16)
    table = models.fields("googlenet_cifar")
    assert any(isinstance(value, dict) for value in table.values())
    key = next(k for k, value in table.items() if isinstance(value, dict))
    row = next(iter(table[key]))
    changed = cnn_archs.create_model("googlenet_cifar", **{key: {row: table[key][row]}})
    assert changed == cnn_archs.create_model("googlenet_cifar")


@pytest.mark.parametrize(
    "name, fields, text",
    [
        ("lenet", {}, "model.name: no value 'lenet'; did you mean 'lenet5'?"),
        ("vgg_a_bm", {}, "did you mean 'vgg_a_bn'?"),
        ("lenet5", {"activaton": "relu"}, "model lenet5: no field 'activaton'; did you mean"),
        ("lenet5", {"activation": "rleu"}, "model.activation=rleu: must be"),
        ("lenet5", {"num_classes": 0}, "model.num_classes=0: must be a whole number"),
        ("lenet5", {"num_classes": "10"}, "model.num_classes="),
        ("resnet20", {"width": float("nan")}, "model.width=nan: must be"),
    ],
)
def test_a_wrong_network_is_told_with_the_nearest(name, fields, text):
    with pytest.raises(ConfigError) as e:
        cnn_archs.create_model(name, **fields)
    assert text in str(e.value) and "\n" not in str(e.value)


def test_data_are_arrays(mnist):
    images, labels = cnn_archs.data.load("mnist", "test", data_dir=mnist)
    assert images.shape == (10_000, 28, 28, 1) and images.dtype == np.uint8
    assert labels.shape == (10_000,) and labels.dtype == np.int32
    assert cnn_archs.data.class_names("mnist", mnist) == tuple("0123456789")


def test_data_that_are_not_there_are_told_as_the_command_does(tmp_path):
    assert dir(cnn_archs.data)
    with pytest.raises(ConfigError, match="did you mean 'digits'"):
        cnn_archs.data.load("digit")
    with pytest.raises(DataError, match="cnn-archs prepare mnist"):
        cnn_archs.data.load("mnist", data_dir=tmp_path)
    with pytest.raises(ConfigError):
        cnn_archs.data.load("digits", "tset")


def test_a_folder_of_images_of_one_size_is_an_array(tmp_path):
    for part, count in (("train", 3), ("test", 2)):
        for name in ("cat", "dog"):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(count):
                image = Image.fromarray(np.full((5, 4), 40 * i + 3, np.uint8))
                image.save(tmp_path / part / name / f"{i}.png")
    images, labels = cnn_archs.data.load("image_folder", "test", data_dir=tmp_path)
    assert images.shape == (4, 5, 4, 1) and labels.tolist() == [0, 0, 1, 1]
    assert images[:, 0, 0, 0].tolist() == [3, 43, 3, 43]
    assert cnn_archs.data.class_names("image_folder", tmp_path) == ("cat", "dog")
    Image.new("L", (7, 7)).save(tmp_path / "test" / "dog" / "9.png")
    with pytest.raises(ConfigError, match=r"differ in size: .* has 7x7 pixels"):
        cnn_archs.data.load("image_folder", "test", data_dir=tmp_path)


PUBLIC = {
    "cnn_archs.library.training": ["train"],  # first: the others use its run
    "cnn_archs.library.networks": ["list_models", "create_model"],
    "cnn_archs.library.trained": ["load", "TrainedNetwork"],
    "cnn_archs.data.arrays": ["load", "class_names"],
}


def public_objects():
    """The public functions and methods by name, in the order in which examples run."""
    found = {}
    for module, names in PUBLIC.items():
        for name in names:
            value = vars(importlib.import_module(module))[name]
            if not inspect.isclass(value):
                found[f"{module}.{name}"] = value
                continue
            for method in ("predict", "preprocess", "features"):
                found[f"{module}.{name}.{method}"] = vars(value)[method]
    return found


def test_the_examples_of_all_docstrings_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runner = doctest.DocTestRunner(optionflags=doctest.REPORT_ONLY_FIRST_FAILURE)
    for name, function in public_objects().items():
        (example,) = doctest.DocTestFinder(recurse=False).find(function, name, globs={})
        assert example.examples, name
        said: list[str] = []
        assert runner.run(example, out=said.append).failed == 0, "".join(said)


def test_every_docstring_says_what_goes_in_and_out():
    public = {n for n in cnn_archs.__all__ if callable(vars(cnn_archs)["__getattr__"](n))}
    assert public == {name for module in list(PUBLIC)[:3] for name in PUBLIC[module]}
    for name, function in public_objects().items():
        doc = inspect.getdoc(function) or ""
        parameters = [p for p in inspect.signature(function).parameters if p != "self"]
        assert all(f"{p}:" in doc for p in parameters), name
        assert "Returns:" in doc and "Example:" in doc, name


def test_the_version_is_one(capsys):
    with pytest.raises(SystemExit) as e:
        cli.main(["--version"])
    assert e.value.code == 0
    assert capsys.readouterr().out.startswith(f"cnn-archs {cnn_archs.__version__}, jax ")
    project = (Path(__file__).resolve().parents[2] / "pyproject.toml").read_text()
    assert 'dynamic = ["version"]' in project and 'path = "cnn_archs/__init__.py"' in project
