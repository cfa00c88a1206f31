"""Pictures of a run: each is written, has what it says in it, and is named to the user."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image
from scipy import signal

import cnn_archs
from cnn_archs import cli
from cnn_archs.data.datasets import sources, splits
from cnn_archs.visualize import figures, pictures, predictions

PICTURES = {"filters.png", "features.png", "confusion.png", "mistakes.png"}


def trained(tmp_path_factory, *more):
    where = tmp_path_factory.mktemp("run")
    assert cli.main(["train", f"--workdir={where}", "--config.steps=8", *more]) == 0
    return where


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """LeNet-5 after a few steps on the digits: it makes mistakes."""
    return trained(tmp_path_factory)


@pytest.fixture(scope="module")
def many_outputs(tmp_path_factory):
    """An MLP with more outputs than there are digits."""
    more = ("--config.model.name=mlp", "--config.model.num_classes=40")
    return trained(tmp_path_factory, *more)


def colors(path: Path) -> int:
    with Image.open(path) as picture:
        return len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0))


@pytest.fixture
def drawn(monkeypatch):
    """{function of `figures`: the arguments it was called with}; nothing is drawn."""
    calls = {}
    for name in ("draw_filters", "draw_features", "draw_confusion", "draw_gallery"):
        monkeypatch.setattr(figures, name, lambda *args, name=name: calls.update({name: args}))
    return calls


def test_figures_are_written_and_named(workdir, capsys):
    capsys.readouterr()
    assert cli.main(["figures", f"--workdir={workdir}"]) == 0
    out = capsys.readouterr().out
    written = {p.name for p in (workdir / "figures").iterdir()}
    assert written == PICTURES and all(name in out for name in PICTURES)
    assert all(colors(workdir / "figures" / name) > 10 for name in PICTURES)


def test_the_confusions_are_those_of_the_test_images(workdir, drawn):
    pictures.write_figures(workdir, None)
    loaded, test = cnn_archs.load(workdir), sources.load_split("digits", "test")
    heads: Any = loaded.model.apply(loaded.variables, np.float32(test.images) / 255, train=False)
    predicted = np.asarray(heads["logits"]).argmax(-1)
    want = np.zeros((10, 10), int)
    np.add.at(want, (test.labels, predicted), 1)
    counts, names, title, _ = drawn["draw_confusion"]
    there = want.any(0) | want.any(1)
    np.testing.assert_array_equal(counts, want[there][:, there])
    assert names == [str(i) for i in np.flatnonzero(there)]
    wrong = predicted != test.labels
    assert f"{100 * wrong.mean():.2f} % error on 360 test images" in title
    shown, title, _ = drawn["draw_gallery"]
    assert f"of {wrong.sum()} mistakes" in title and len(shown) == min(wrong.sum(), 40)


def test_the_most_confident_mistakes_come_first():
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (300, 2, 2, 1), np.uint8), rng.integers(0, 3, 300)
    p = rng.dirichlet((1, 1, 1), 300)
    shown: Any = iter(np.split(p, range(7, 300, 7)))
    data = splits.Split(images, labels.astype(np.int32), ("a", "b", "c"))
    counts, mistakes = pictures.judge_predictions(lambda _: next(shown), data, 3, 7)
    assert counts.sum() == 300 and np.trace(counts) == (p.argmax(1) == labels).sum()
    wrong = np.flatnonzero(p.argmax(1) != labels)
    worst = wrong[np.argsort(-p[wrong].max(1), kind="stable")][: pictures.MOST_MISTAKES]
    assert [m.probability for m in mistakes] == pytest.approx(p[worst].max(1))
    assert [m.label for m in mistakes] == labels[worst].tolist()
    assert [m.predicted for m in mistakes] == p[worst].argmax(1).tolist()
    assert all((m.image == images[i]).all() for m, i in zip(mistakes, worst, strict=True))


def test_filters_and_maps_are_those_of_the_network(workdir, drawn):
    pictures.write_figures(workdir, None)
    image, layers, title, _ = drawn["draw_features"]
    np.testing.assert_array_equal(image, sources.load_split("digits", "test").images[0])
    assert "the first test image" in title
    kernel = drawn["draw_filters"][0]
    (name, maps), *_ = layers
    params = cnn_archs.load(workdir).variables["params"][name]
    np.testing.assert_array_equal(kernel, params["kernel"])
    x = image[..., 0] / 255
    want = [signal.correlate2d(x, k, "valid") for k in np.moveaxis(kernel[:, :, 0], -1, 0)]
    np.testing.assert_allclose(maps, np.stack(want, -1) + np.asarray(params["bias"]), atol=1e-5)
    sizes = [maps.shape[0] for _, maps in layers]
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] > 1


@pytest.mark.slow
def test_filters_of_a_dense_layer_cover_the_image(many_outputs, drawn):
    """A class that neither occurs nor is predicted is not among the confusions."""
    pictures.write_figures(many_outputs, None)
    kernel = cnn_archs.load(many_outputs).variables["params"]["fc1"]["kernel"]
    np.testing.assert_array_equal(drawn["draw_filters"][0], kernel.reshape(32, 32, 1, -1))
    counts, names, *_ = drawn["draw_confusion"]
    assert 10 <= len(counts) == len(names) < 40 and counts.sum() == 360


def test_outputs_without_a_class_have_names(many_outputs, workdir, tmp_path, capsys):
    Image.new("L", (32, 32), 200).save(tmp_path / "a.png")
    for run, last in ((many_outputs, "class 39"), (workdir, "9")):
        names = pictures.load_predictor(run).class_names
        assert names[:10] == tuple("0123456789") and names[-1] == last


def test_a_sheet_of_hits_and_misses(workdir, tmp_path, drawn, capsys):
    """The frame of an image says whether its folder is named after what it is taken for."""
    test = sources.load_split("digits", "test")
    loaded = cnn_archs.load(workdir)
    heads: Any = loaded.model.apply(loaded.variables, np.float32(test.images) / 255, train=False)
    predicted = np.asarray(jax.nn.softmax(heads["logits"])).argmax(-1)
    hit, miss = (np.flatnonzero((predicted == test.labels) == right)[0] for right in (True, False))
    for i, folder in ((hit, str(test.labels[hit])), (miss, str(test.labels[miss])), (hit, "who")):
        (tmp_path / folder).mkdir(exist_ok=True)
        Image.fromarray(test.images[i, ..., 0]).save(tmp_path / folder / f"{i}.png")
    files = sorted(map(str, tmp_path.glob("*/*.png")))
    command = ["predict", f"--workdir={workdir}", *files, f"--sheet={tmp_path / 'sheet.png'}"]
    assert cli.main(command) == 0
    shown, title, _ = drawn["draw_gallery"]
    frames = {Path(f).parent.name: s.frame for f, s in zip(files, shown, strict=True)}
    assert frames[str(test.labels[hit])] == figures.HIT and frames["who"] == "none"
    assert frames[str(test.labels[miss])] == figures.MISS
    assert "right on 1 of the 2 whose class is known" in title


def test_predict_draws_a_sheet(workdir, tmp_path):
    Image.new("L", (32, 32), 200).save(tmp_path / "a.png")
    sheet = tmp_path / "sheet.png"
    command = ["predict", f"--workdir={workdir}", str(tmp_path / "a.png"), f"--sheet={sheet}"]
    assert cli.main(command) == 0
    assert colors(sheet) > 5


@pytest.mark.parametrize(
    "path, name",
    [
        ("x/cat/1.jpg", "cat"),
        ("cat/dog/1.jpg", "dog"),
        ("cat/some/1.jpg", "cat"),
        ("x/dog.7.jpg", "dog"),
        ("cat/dog.7.jpg", "cat"),
        ("x/dog.jpg", None),
    ],
)
def test_the_class_that_an_image_is_named_after(path, name):
    assert predictions.class_named_by(Path(path), ("cat", "dog")) == name
