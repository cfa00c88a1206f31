"""`cnn_archs.load`: predictions, preprocessing and features of a run, whatever form images have."""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import cnn_archs
from cnn_archs import models
from cnn_archs.errors import ConfigError, DataError
from cnn_archs.library.trained import layer_outputs
from cnn_archs.models import resnet
from cnn_archs.models.summary import summarize

# A mean of the training images, a border and a scale: what a network alone does not know.
TINY = {"steps": 3, "data.mean": "pixel", "seeds": 2}


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    cnn_archs.train("lenet5_digits", workdir, TINY)
    return workdir


@pytest.fixture(scope="module")
def net(workdir):
    return cnn_archs.load(workdir)


@pytest.fixture(scope="module")
def digits():
    return cnn_archs.data.load("digits", "test")


def test_what_it_predicts_is_what_the_command_evaluates(workdir, net, digits, document_of):
    found = net.predict(digits.images)
    error = document_of("evaluate", f"--workdir={workdir}")["test"]["top1_error"][0]
    assert (found.labels != digits.labels).mean() == pytest.approx(error)
    assert found.probabilities.dtype == np.float32 and found.probabilities.shape == (360, 10)
    assert np.allclose(found.probabilities.sum(1), 1, atol=1e-5)
    assert found.names == tuple(net.class_names[k] for k in found.labels)
    assert net.step == 3 and net.config.data.mean == "pixel" and "lenet5 on digits" in repr(net)


def test_preprocessing_is_that_of_the_run(net, digits):
    x = net.preprocess(digits.images[:50])
    logits = net.model.apply(net.variables, x, train=False)["logits"]
    found = net.predict(digits.images[:50]).probabilities
    assert np.allclose(jax.nn.softmax(logits), found, atol=1e-5)
    raw = jnp.asarray(digits.images[:50], jnp.float32)  # without it the network is another one
    wrong = net.model.apply(net.variables, raw, train=False)["logits"]
    assert not np.allclose(jax.nn.softmax(wrong), found, atol=0.05)


def test_all_forms_of_an_image_are_one(net, digits, tmp_path):
    one = digits.images[7]
    Image.fromarray(one[..., 0]).save(tmp_path / "7.png")
    expected = net.predict(one[None]).probabilities
    forms = {
        "image": one,
        "gray image": one[..., 0],
        "gray batch": one[None, ..., 0],
        "jax": jnp.asarray(one)[None],
        "text": str(tmp_path / "7.png"),
        "path": tmp_path / "7.png",
        "pillow": Image.open(tmp_path / "7.png"),
        "palette": Image.open(tmp_path / "7.png").convert("P"),
        "colors": one.repeat(3, -1),
        "list": [one],
        "generator": (image for image in [one]),
    }
    for name, form in forms.items():
        assert np.array_equal(net.predict(form).probabilities, expected), name
    mixed = net.predict([tmp_path / "7.png", digits.images[8], digits.images[:3]])
    assert mixed.labels.shape == (5,)


def test_another_size_is_resized_as_the_command_does_it(workdir, net, tmp_path, document_of):
    drawn = np.random.default_rng(0).integers(0, 256, (45, 60, 3), np.uint8)
    Image.fromarray(drawn).save(tmp_path / "x.png")
    (by_command,) = document_of("predict", f"--workdir={workdir}", str(tmp_path / "x.png"))
    for form in (drawn, tmp_path / "x.png", Image.fromarray(drawn)):
        p = net.predict(form).probabilities[0]
        best = by_command["top"][0]
        assert p.argmax() == best["label"] and p.max() == pytest.approx(best["probability"])


def test_a_dark_drawing_on_white_paper_is_told_and_can_be_inverted(net, digits, tmp_path):
    Image.fromarray(255 - digits.images[7][..., 0]).save(tmp_path / "paper.png")
    found = net.predict([tmp_path / "paper.png", digits.images[7]])
    assert len(found.notes) == 1 and "paper.png" in found.notes[0]
    right = net.predict(digits.images[7])
    assert right.notes == () and len(net.predict(255 - digits.images[:5]).notes) == 1
    for negative in (tmp_path / "paper.png", 255 - digits.images[7]):
        inverted = net.predict(negative, invert=True)
        assert np.array_equal(inverted.probabilities, right.probabilities) and inverted.notes == ()


@pytest.mark.parametrize(
    "images, words",
    [
        (np.zeros((2, 32, 32, 1), np.float32), ("uint8", "float32")),
        (np.zeros((2, 1, 32, 32), np.uint8), ("(2, 1, 32, 32)", "[N, H, W, C]")),
        (np.zeros((4,), np.uint8), ("(4,)",)),
        (np.zeros((0, 32, 32, 1), np.uint8), ("there are no images",)),
        (np.zeros((1, 0, 32, 1), np.uint8), ("(1, 0, 32, 1)",)),
        (5, ("int",)),
        (None, ("NoneType",)),
        ([], ("there are no images",)),
    ],
)
def test_what_is_no_image_is_told(net, images, words):
    for call in (net.predict, net.preprocess, lambda x: net.features(x, "C1")):
        with pytest.raises(ConfigError) as e:
            call(images)
        assert all(word in str(e.value) for word in words) and "\n" not in str(e.value)


def test_a_bad_file_is_named(net, tmp_path):
    (tmp_path / "x.png").write_text("<html>")
    for path in (tmp_path / "x.png", tmp_path / "gone.png", tmp_path):
        with pytest.raises(DataError, match=str(path)):
            net.predict([path])


def test_features_are_those_of_the_layers_that_summarize_prints(net, digits, document_of):
    layers = document_of("summarize", "--config=lenet5_digits")["layers"]
    for layer in layers:
        found = net.features(digits.images[:2], layer["name"])
        assert found.dtype == np.float32 and found.size == 2 * np.prod(layer["out"]), layer
    logits = net.features(digits.images[:2], layers[-1]["name"])
    p = net.predict(digits.images[:2]).probabilities
    assert np.allclose(jax.nn.softmax(logits), p, atol=1e-5)
    with pytest.raises(ConfigError, match="lenet5: no layer 'c3'; did you mean 'C3'?"):
        net.features(digits.images[:2], "c3")


FAMILIES = ["mlp", "cnn", "lenet5_1998", "alexnet_cifar", "vgg_a_bn_cifar", "googlenet_cifar"]
FAMILIES += ["resnet20", "resnet20_v2", "four_layers"]


def check_every_layer(model, shape):
    """Check that each row of the summary names a layer whose output has the row's size."""
    variables = models.shapes(model, shape).variables
    x = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    rows = summarize(model, shape)
    assert len({row.name for row in rows}) == len(rows)

    def outputs(variables, x):
        if model.scan_blocks:
            variables = resnet.unstack(variables)
        return layer_outputs(model.unrolled(), variables, x, [row.name for row in rows])

    for row, out in zip(rows, jax.eval_shape(outputs, variables, x), strict=True):
        assert np.prod(out.shape) == 2 * np.prod(row.out), row.name


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n in FAMILIES[:4] else pytest.mark.slow) for n in FAMILIES],
)
def test_each_layer_of_each_family_can_be_asked_for(name):
    gray = name in ("mlp", "cnn", "lenet5_1998")
    side = 28 if name in ("mlp", "cnn") else 32
    check_every_layer(cnn_archs.create_model(name), (side, side, 1 if gray else 3))


def test_blocks_in_a_loop_and_computed_again_have_layers_too():
    for fields in ({"remat": True}, {"scan_blocks": True, "remat": True}):
        model = cnn_archs.create_model("resnet20", blocks=(2, 2), widths=(16, 32), **fields)
        check_every_layer(model, (16, 16, 3))


def test_each_seed_is_a_network_of_its_own(workdir, net, digits, document_of):
    second = cnn_archs.load(workdir, seed=1).predict(digits.images)
    errors = document_of("evaluate", f"--workdir={workdir}")["test"]["top1_error"]
    assert (second.labels != digits.labels).mean() == pytest.approx(errors[1])
    first = net.predict(digits.images[:20]).probabilities
    assert not np.allclose(first, second.probabilities[:20], atol=0.01)


def test_seeds_and_runs_that_are_not_there(workdir, tmp_path):
    with pytest.raises(ConfigError, match=r"has seeds 0 to 1, not 2"):
        cnn_archs.load(workdir, seed=2)
    with pytest.raises(ConfigError, match="there is no run in"):
        cnn_archs.load(tmp_path)
    with pytest.raises(ConfigError, match="no run in lenet5_mnits; did you mean 'lenet5_mnist'?"):
        cnn_archs.load("lenet5_mnits")


def test_a_run_without_its_statistics_has_its_network(tmp_path, workdir):
    import shutil

    shutil.copytree(workdir, tmp_path / "run")
    (tmp_path / "run" / "statistics.npz").unlink()
    record = json.loads((tmp_path / "run" / "data.json").read_text())
    for split in record["splits"].values():
        split["digest"] = "0" * len(split["digest"])
    (tmp_path / "run" / "data.json").write_text(json.dumps(record))
    net = cnn_archs.load(tmp_path / "run")
    assert net.variables["params"]
    with pytest.raises(DataError, match="needs its own training images"):
        net.predict(np.zeros((1, 32, 32, 1), np.uint8))


def test_streamed_images_are_cropped_as_in_evaluation(tmp_path, document_of):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        for split, count in (("train", 4), ("test", 2)):
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                image = rng.integers(0, 256, (20 + i, 30, 3), np.uint8)
                Image.fromarray(image).save(folder / f"{i}.png")
    more: dict[str, Any] = {"data.name": "image_folder", "data.data_dir": str(tmp_path / "photos")}
    more |= {"data.image_shape": (16, 16, 3), "model.num_classes": 2, "data.batch_size": 4}
    more |= {
        "crop.name": "shorter_side",
        "crop.smallest": 18,
        "crop.largest": 18,
        "crop.evaluate": 18,
        "model.name": "mlp",
    }
    more |= {"model.hidden": (4,)}
    cnn_archs.train("lenet5_digits", tmp_path / "run", {"steps": 1, **more})
    net = cnn_archs.load(tmp_path / "run")
    files = sorted((tmp_path / "photos" / "test").rglob("*.png"))
    by_command = document_of("predict", f"--workdir={tmp_path / 'run'}", *map(str, files))
    found = net.predict(files).probabilities
    arrays = net.predict([np.asarray(Image.open(f)) for f in files]).probabilities
    assert np.array_equal(found, arrays) and net.class_names == ("a", "b")
    best = [p["top"][0]["probability"] for p in by_command]
    assert found.max(-1) == pytest.approx(best)
