"""Evaluate runs from the command line, alone and as an ensemble; refuse runs that do not fit."""

import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

import cnn_archs
from cnn_archs import cli
from cnn_archs.data.datasets import sources

QUICK = ("--config.steps=6", "--config.data.batch_size=32", "--config.eval_batch_size=77")


def trained(tmp_path_factory, name, *more):
    workdir = tmp_path_factory.mktemp(name)
    assert cli.main(["train", f"--workdir={workdir}", *QUICK, *more]) == 0
    return workdir


@pytest.fixture(scope="module")
def lenet(tmp_path_factory):
    """Train LeNet-5 with two seeds."""
    return trained(tmp_path_factory, "lenet", "--config.seeds=2")


@pytest.fixture(scope="module")
def mlp(tmp_path_factory):
    """Train one seed of an MLP with averaged weights and another preprocessing."""
    more = ("--config.model.name=mlp", "--config.average.name=ema", "--config.data.mean=pixel")
    return trained(tmp_path_factory, "mlp", *more, "--config.data.pixel_range=(-1,1)")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Train a run on each of two folders of images."""
    runs, rng = [], np.random.default_rng(0)
    for classes in (2, 3):
        where = tmp_path_factory.mktemp("images")
        for label in range(classes):
            for part, count in (("train", 8), ("test", 3)):
                (where / part / str(label)).mkdir(parents=True)
                for i in range(count):
                    image = rng.integers(0, 256, (20 + i, 30, 3), np.uint8)
                    Image.fromarray(image).save(where / part / str(label) / f"{i}.png")
        more = (
            *("--config.data.name=image_folder", f"--config.data.data_dir={where}"),
            *("--config.data.image_shape=(12,12,3)", "--config.data.batch_size=4"),
            *("--config.model.name=mlp", f"--config.model.num_classes={classes}"),
        )
        runs.append(trained(tmp_path_factory, "folder", *more))
    return runs


def softmax(logits):
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_alone_and_in_the_middle_it_is_what_training_ended_with(lenet, document_of):
    result = document_of("evaluate", f"--workdir={lenet}")
    trained = json.loads((lenet / "result.json").read_text())
    assert result["test"] == trained["test"]
    assert result["protocol"] == "single" and result["views"] == 1


def test_an_ensemble_is_the_mean_of_all_networks_probabilities(lenet, mlp, document_of):
    result = document_of("evaluate", f"--workdir={lenet},{mlp}")
    test = sources.load_split("digits", "test")
    pixels = np.float32(test.images)
    mean = np.float32(sources.load_split("digits", "train").images.mean(0))
    inputs = [pixels / 255, pixels / 255, (pixels - mean) * (2 / 255)]
    found = []
    for (workdir, seed), x in zip([(lenet, 0), (lenet, 1), (mlp, 0)], inputs, strict=True):
        loaded = cnn_archs.load(workdir, seed)
        heads: Any = loaded.model.apply(loaded.variables, x, train=False)
        found.append(softmax(np.asarray(heads["logits"], np.float64)))
    right = np.arange(len(test)), test.labels

    def check(report, of):
        assert report["top1_error"] == pytest.approx((of.argmax(-1) != test.labels).mean())
        assert report["loss"] == pytest.approx(-np.log(of[right]).mean(), rel=1e-5)
        assert report["examples"] == len(test)

    check({k: v if k == "examples" else v[0] for k, v in result["test"].items()}, sum(found) / 3)
    assert [(m["name"], m["seed"]) for m in result["members"]] == [
        ("lenet5", 0), ("lenet5", 1), ("mlp", 0),
    ]  # fmt: skip
    for member, of in zip(result["members"], found, strict=True):
        check(member["test"], of)
    errors = [member["test"]["top1_error"] for member in result["members"]]
    assert result["members_mean"]["test"]["top1_error"] == pytest.approx(np.mean(errors))
    assert result["name"] == "lenet5+mlp" and result["networks"] == 3
    assert "test_average" not in result  # of which only one run has one


def test_the_number_of_views_of_an_ensemble_is_that_of_all_networks(lenet, mlp, document_of):
    alone = document_of("evaluate", f"--workdir={mlp}", "--protocol=ten_crop")
    assert alone["views"] == 10 and alone["scales"] == [37] and "test_average" in alone
    result = document_of("evaluate", f"--workdir={lenet},{mlp}", "--protocol=mirror")
    assert result["views"] == 6
    assert [member["views"] for member in result["members"]] == [2, 2, 2]
    assert result["members"][2]["test"]["loss"] != result["members"][0]["test"]["loss"]


def test_the_table_says_the_protocol_and_has_a_line_for_each_network(lenet, mlp, capsys):
    capsys.readouterr()
    assert cli.main(["evaluate", f"--workdir={lenet},{mlp}", "--protocol=mirror"]) == 0
    out = capsys.readouterr().out
    assert "lenet5+mlp on digits, protocol mirror, 6 views of each image" in out
    lines = [line.split() for line in out.splitlines()[3:]]
    assert [line[0] for line in lines] == ["test,", "lenet5,", "lenet5,", "mlp,"]


@pytest.mark.slow
def test_images_of_any_size_and_held_out_ones(folders, document_of):
    result = document_of("evaluate", f"--workdir={folders[1]}", "--protocol=grid_50")
    assert result["test"]["examples"] == 9 and result["views"] == 50


@pytest.mark.parametrize(
    "protocol, said",
    [
        ("ten_crops", "did you mean 'ten_crop'?"),
        ("grid", "did you mean 'grid_"),
        ("dense", "cannot take images of 37x74 (its dense layers fix the image size); ten_crop"),
        ("dense+grid_150", "cannot take images of 32x64"),
    ],
)
def test_protocols_that_cannot_be(mlp, error_of, protocol, said):
    error = error_of(2, "evaluate", f"--workdir={mlp}", f"--protocol={protocol}")
    assert "--protocol" in error and said in error


def test_runs_that_are_no_ensemble(lenet, folders, error_of):
    one, other = folders
    error = error_of(2, "evaluate", f"--workdir={lenet},{one}")
    assert "dataset" in error and str(lenet) in error and str(one) in error
    error = error_of(2, "evaluate", f"--workdir={one},{other}")
    assert "dataset" in error and str(one) in error and str(other) in error
    assert "twice" in error_of(2, "evaluate", f"--workdir={one},{one}")
    assert "no run in" in error_of(2, "evaluate", f"--workdir={one},")


def test_networks_that_tell_other_classes_apart_are_no_ensemble(
    folders, tmp_path, document_of, error_of
):
    """A network may have more outputs than the dataset has classes."""
    config = json.loads((folders[0] / "config.json").read_text())
    data = (
        f"--config.data.data_dir={config['data']['data_dir']}",
        *("--config.data.name=image_folder", "--config.data.image_shape=(12,12,3)"),
    )
    more = ("--config.model.name=mlp", "--config.model.num_classes=7", "--config.data.batch_size=4")
    assert cli.main(["train", f"--workdir={tmp_path}", *QUICK, *data, *more]) == 0
    assert document_of("evaluate", f"--workdir={tmp_path}")["test"]["examples"] == 6
    error = error_of(2, "evaluate", f"--workdir={folders[0]},{tmp_path}")
    assert "number of classes" in error and "has 2, " in error and error.endswith(" 7")


def test_runs_that_held_out_other_images_are_no_ensemble_on_the_rest(folders, tmp_path, error_of):
    config = json.loads((folders[0] / "config.json").read_text())
    more = tmp_path / "run"
    more.mkdir()
    config["data"]["holdout"] = 4
    (more / "config.json").write_text(json.dumps(config))
    error = error_of(2, "evaluate", f"--workdir={folders[0]},{more}", "--split=train")
    assert "data.holdout" in error and str(more) in error


def test_a_run_whose_config_is_of_images_of_another_shape(lenet, tmp_path, error_of):
    config = json.loads((lenet / "config.json").read_text())
    config["data"]["name"], config["model"]["num_classes"] = "shapes", 3
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "checkpoints").symlink_to(lenet / "checkpoints")
    for protocol in ("single", "ten_crop"):
        error = error_of(2, "evaluate", f"--workdir={tmp_path}", f"--protocol={protocol}")
        assert "another network" in error and "[2, 5, 5, 3, 6]" in error


def test_precise_statistics_need_batch_normalization_and_images(lenet, error_of):
    error = error_of(2, "evaluate", f"--workdir={lenet}", "--precise_stats=100")
    assert "no batch normalization" in error
    assert "1,437" in error_of(2, "evaluate", f"--workdir={lenet}", "--precise_stats=9999")
    assert "at least" in error_of(2, "evaluate", f"--workdir={lenet}", "--precise_stats=-1")


@pytest.mark.slow
def test_precise_statistics_are_said(tmp_path_factory, document_of):
    more = ("--config.model.name=resnet20", "--config.model.blocks=(1,1,1)")
    run = trained(tmp_path_factory, "resnet", *more, "--config.model.width=0.25")
    moving = document_of("evaluate", f"--workdir={run}")
    precise = document_of("evaluate", f"--workdir={run}", "--precise_stats=300")
    assert precise["precise_stats"] == 300 and "precise_stats" not in moving
    assert precise["test"]["loss"][0] < moving["test"]["loss"][0]  # after 6 steps they lag
