"""Explanations of a trained network and the neighbors of an image, from the command line on."""

import numpy as np
import pytest
from PIL import Image

import cnn_archs
from cnn_archs import cli
from cnn_archs.data.datasets import sources
from cnn_archs.evaluate.predict import load_predictor
from cnn_archs.visualize import explanation_figures, gradcam, occlusion, reconstructions
from cnn_archs.visualize.layers import last_convolution


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """LeNet-5 with ReLU after some steps on the digits."""
    where = tmp_path_factory.mktemp("run")
    words = ("--config.model.activation=relu", "--config.schedule.learning_rate=0.02")
    assert cli.main(["train", f"--workdir={where}", "--config.steps=60", *words]) == 0
    return where


@pytest.fixture(scope="module")
def run(workdir):
    return load_predictor(workdir)


@pytest.mark.parametrize("kind", ["deconv", "occlusion", "gradcam"])
def test_a_picture_of_each_kind_is_written_and_named(workdir, kind, capsys):
    capsys.readouterr()
    assert cli.main(["figures", f"--workdir={workdir}", f"--kind={kind}"]) == 0
    picture = workdir / "figures" / f"{kind}.png"
    assert str(picture) in capsys.readouterr().out
    with Image.open(picture) as page:
        pixels = np.asarray(page.convert("RGB"))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["deconv", "occlusion", "gradcam"])
def test_an_image_and_a_layer_of_the_users_are_taken(workdir, kind, tmp_path, document_of):
    Image.fromarray(sources.load_split("digits", "test").images[3, ..., 0]).save(tmp_path / "a.png")
    words = (f"--kind={kind}", f"--image={tmp_path / 'a.png'}", "--layer=C1")
    (what,) = document_of("figures", f"--workdir={workdir}", *words).values()
    assert "C1" in what and "a.png" in what


@pytest.mark.parametrize(
    "words, message",
    [
        (("--layer=C1",), "--layer=C1 needs --kind=deconv, occlusion or gradcam"),
        (("--kind=deconv", "--layer=C2"), "--layer=C2: lenet5 has no layer of that name with maps"),
        (("--kind=occlusion", "--layer=OUT7"), "--layer=OUT7: lenet5 has no layer of that name"),
    ],
)
def test_what_does_not_fit_is_refused(workdir, words, message, capsys):
    assert cli.main(["figures", f"--workdir={workdir}", *words]) == 2
    assert message in capsys.readouterr().err


def test_the_square_changes_what_it_would_change_in_the_image(run):
    """A gray square drawn into the pixels gives the same probabilities, places and activity."""
    image = sources.load_split("digits", "test").images[0]
    path = tuple(last_convolution(run).split("/"))
    found = occlusion.make_occlude(run, path)(image, 2)
    assert path == ("C3",) and found.side == 7  # 50 of 224 pixels, of 32
    assert found.tops[0] == found.lefts[0] == 0
    assert found.tops[-1] == found.lefts[-1] == 32 - 7
    assert found.probability.shape == (len(found.tops), len(found.lefts)) == (26, 26)
    output = reconstructions.output_of(run, path)
    for i, j in ((0, 0), (11, 20), (25, 25)):
        covered = image.copy()
        top, left = found.tops[i], found.lefts[j]
        covered[top : top + 7, left : left + 7] = 128
        p = np.asarray(run.probabilities(covered[None]))[0]
        assert found.probability[i, j] == pytest.approx(p[2], rel=1e-4)
        assert found.predicted[i, j] == p.argmax()
        maps = np.asarray(output(run.prepare(None, covered[None])))[0]
        activity = np.maximum(maps[..., found.number], 0).sum()
        assert found.activity[i, j] == pytest.approx(activity, rel=1e-4)
    whole = np.maximum(np.asarray(output(run.prepare(None, image[None])))[0], 0).sum((0, 1))
    assert found.number == whole.argmax()


def test_a_reconstruction_lies_in_the_field_of_its_activation(run):
    """A unit of C3 sees 14x14 pixels, and each unit of a map 2 pixels further than the last."""
    images = sources.load_split("digits", "test").images[:40]
    found = reconstructions.reconstruct_layer(run, ("C3",), [images])
    assert 0 < len(found) <= reconstructions.MAPS
    for some in found.values():
        assert 0 < len(some) <= reconstructions.PEAKS
        assert [s.value for s in some] == sorted((s.value for s in some), reverse=True)
        assert all(s.signal.shape == s.part.shape == (14, 14, 1) for s in some)
    number, (first, *_) = next(iter(found.items()))
    peak = reconstructions.find_peaks(run, ("C3",), [images])[number][0]
    at = (np.array([n]) for n in (number, peak.row, peak.column))
    whole = np.array(reconstructions.make_reconstruct(run, ("C3",))(peak.image[None], *at))[0]
    rows, columns = (slice(2 * n, 2 * n + 14) for n in (peak.row, peak.column))
    np.testing.assert_allclose(whole[rows, columns], first.signal, rtol=1e-3, atol=1e-6)
    assert np.abs(first.signal).max() > 0
    whole[rows, columns] = 0
    assert not whole.any()
    np.testing.assert_array_equal(peak.image[rows, columns], first.part)


def test_heat_is_red_where_it_is_largest_and_blue_where_it_is_0():
    where = np.array([[0.0, 5.0]])
    (left, right) = explanation_figures.overlay(np.full((1, 2, 3), 100, np.uint8), where)[0]
    assert left[2] > left[0] and right[0] > right[2]


def test_a_mosaic_has_nine_places_or_is_one_picture():
    one = np.full((4, 4, 1), 0.5)
    assert explanation_figures.mosaic([one]).shape == (4, 4, 3)
    page = explanation_figures.mosaic([one, one])
    assert page.shape == (14, 14, 3)  # three of 4 pixels, two gaps of 1
    assert (page[:4, 5:9] == 0.5).all() and (page[5:] == explanation_figures.GROUND).all()


def test_the_nearest_training_images_are_those_of_a_search_in_numpy(workdir, document_of):
    found = document_of("neighbours", f"--workdir={workdir}", "--images=3")
    assert found["features"] == "the input of OUT7" and len(found["images"]) == 3
    loaded = cnn_archs.load(workdir)
    splits = [sources.load_split("digits", name) for name in ("test", "train")]

    def hidden(images):
        _, kept = loaded.model.apply(
            loaded.variables,
            np.float32(images) / 255,
            train=False,
            capture_intermediates=lambda module, _: module.path == ("F6",),
            mutable=["intermediates"],
        )
        return np.maximum(np.asarray(kept["intermediates"]["F6"]["__call__"][0]), 0)

    test, train = (hidden(split.images) for split in splits)
    for one, i in zip(found["images"], (0, 180, 359), strict=True):
        assert one["image"] == str(splits[0].labels[i])
        distances = np.linalg.norm(train - test[i], axis=1)
        best = np.argsort(distances, kind="stable")[:6]
        assert [n["class"] for n in one["nearest"]] == [str(k) for k in splits[1].labels[best]]
        got = [n["distance"] for n in one["nearest"]]
        np.testing.assert_allclose(got, distances[best], rtol=1e-4)
    with Image.open(found["file"]) as page:
        assert page.width > 7 * 32 and page.height > 3 * 32


def test_a_training_image_is_nearest_to_itself_by_any_layer(workdir, tmp_path, document_of):
    train = sources.load_split("digits", "train")
    Image.fromarray(train.images[5, ..., 0]).save(tmp_path / "a.png")
    words = (f"--image={tmp_path / 'a.png'}", "--layer=S4")
    found = document_of("neighbours", f"--workdir={workdir}", *words)
    ((one,), features) = found["images"], found["features"]
    assert (one["image"], features) == ("a.png", "S4")
    nearest = one["nearest"][0]
    assert nearest["class"] == str(train.labels[5])
    assert nearest["distance"] < 1e-4 * one["nearest"][1]["distance"]


def test_what_neighbours_does_not_know_is_refused(workdir, capsys):
    assert cli.main(["neighbours", f"--workdir={workdir}", "--layer=fc7"]) == 2
    assert "--layer=fc7: lenet5 has no layer of that name; " in capsys.readouterr().err
    assert cli.main(["neighbours", f"--workdir={workdir}", "--images=0"]) == 2
    assert "--images=0: must be at least 1" in capsys.readouterr().err


def test_gradcam_shows_where_a_class_is_that_only_a_part_of_the_image_decides(run):
    """The map has the size of the last maps, and is 0 nowhere but where they speak against it."""
    images = sources.load_split("digits", "test").images[:8]
    place = gradcam.find_place(run, "")
    seen = gradcam.make_gradcam(run, place)(images)
    assert place.title == "the maps before C5" and seen.where.shape == (8, 5, 5)
    assert (np.asarray(seen.where) >= 0).all()
    p = np.asarray(run.probabilities(images))
    np.testing.assert_array_equal(seen.predicted, p.argmax(-1))
    np.testing.assert_allclose(seen.probability, p.max(-1), rtol=1e-5)
