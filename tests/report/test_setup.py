"""A report describes the setup of a run as its config has it, and keeps unlike errors apart."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from fake_sweep import Page, compared, workdir, write_json

from cnn_archs import cli, roles
from cnn_archs.config import load_config, to_plain_dict
from cnn_archs.config_files import EXPERIMENTS
from cnn_archs.report import read_runs, scatter, tables


def sweep(folder: Path, cells: dict[str, dict[str, Any]], **stated: Any) -> Path:
    """A sweep of one seed. cells: {name: keys of data in the config of its run}."""
    for i, (name, data) in enumerate(cells.items()):
        workdir(folder / name / "seed0", "resnet20", 0, 0.1 + i / 100, 0.05, data=data, depth=20)
    spec = dict(title="t", seeds=1, cells={name: ["resnet_cifar10:20"] for name in cells})
    write_json(folder / "sweep.json", spec | stated)
    return folder


def page_of(*paths: Path) -> Page:
    output = paths[0].parent / "page.html"
    assert cli.main(["report", *map(str, paths), "-o", str(output)]) == 0
    return Page(output.read_text("utf-8"))


def test_what_was_changed_is_read_from_the_configs(tmp_path):
    """sweep.json says otherwise: its overrides are those of the last start."""
    recipe = to_plain_dict(load_config("resnet_cifar10:20", []))
    folder = sweep(
        tmp_path / "sweep",
        {"a": {"examples": 1000}, "b": {"examples": 1000, "batch_size": 32}},
        overrides=["data.examples=5000"],
        notes="5,000 training images; nothing else is reduced.",
        recipes={"resnet_cifar10:20": recipe},
    )
    page = page_of(folder)
    rows = {row[0]: row for table in page.tables for row in table if "setting" in table[0]}
    assert rows["data.examples"] == ["data.examples", "0", "1000", "all 2"]
    assert rows["data.batch_size"] == ["data.batch_size", "128", "32", "b"]
    assert rows["steps"][1:] == [str(recipe["steps"]), "1500", "all 2"]
    assert "Of the training images 1,000 are used" in page.text
    assert "5,000" not in page.text and "educed" not in page.text


def test_a_recipe_that_is_whole_or_not_known_is_said_to_be(tmp_path):
    recipe = to_plain_dict(load_config("resnet_cifar10:20", []))
    folder = sweep(tmp_path / "sweep", {"a": {}}, recipes={"resnet_cifar10:20": recipe})
    path = folder / "a/seed0/config.json"
    write_json(path, recipe)
    said = "No setting differs from the recipe: a (resnet_cifar10:20)."
    assert said in page_of(folder).text
    spec = json.loads((folder / "sweep.json").read_text())
    mine = tmp_path / "mine.py"
    mine.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    write_json(folder / "sweep.json", spec | {"cells": {"a": [str(mine)]}, "recipes": {}})
    page = page_of(folder)
    assert "The recipe is not known: a (mine)." in page.text
    assert not (tmp_path / "ran").exists()  # a report executes nothing that a run names


@pytest.mark.parametrize(
    "command",
    [
        ["cnn-archs", "train"],
        ["cnn-archs", "train", "--workdir", "evaluate", "--config", "lenet5_digits"],
        ["launch.py", "train", "--config=experiments/lenet5_digits.py"],
        ["cnn_archs.train", "--config=lenet5_digits"],
    ],
)
def test_an_older_run_has_the_recipe_of_its_command_line(tmp_path, command):
    """Such a run has no record of its recipe."""
    folder = workdir(tmp_path / "a", "lenet5", 0, 0.1, 0.05)
    write_json(folder / "config.json", to_plain_dict(load_config("lenet5_digits", [])))
    write_json(folder / "environment.json", {"command": command})
    said = "differs from the recipe, as far as it is recorded: a (lenet5_digits)."
    assert said in page_of(folder).text


@pytest.mark.parametrize(
    "command, said",
    [
        (["cnn_archs.train", "--config=config"], "a"),
        (["cnn-archs", "evaluate", "--workdir", "train"], "a"),
        (
            ["cnn-archs", "train", "--config=/home/me/lenet5_digits.py"],
            "a (lenet5_digits.py, a file that is not one of this package's)",
        ),
    ],
)
def test_an_older_run_of_no_installed_experiment_has_no_recipe(tmp_path, command, said):
    folder = workdir(tmp_path / "a", "lenet5", 0, 0.1, 0.05)
    write_json(folder / "config.json", to_plain_dict(load_config("lenet5_digits", [])))
    write_json(folder / "environment.json", {"command": command})
    assert f"The recipe is not known: {said}." in page_of(folder).text


def test_a_run_is_compared_with_the_recipe_that_it_recorded(tmp_path):
    """The command of a sweep names no experiment, and a file of one's own may have changed."""
    mine = tmp_path / "lenet5_digits.py"
    mine.write_text((EXPERIMENTS / "lenet5_digits.py").read_text())
    folder = workdir(tmp_path / "a", "lenet5", 0, 0.1, 0.05)
    for overrides, said in (
        ([], "No setting differs from the recipe: a (lenet5_digits.py, a file that is not one of "),
        (["seed=3"], "No setting differs from the recipe: a (lenet5_digits.py"),
        (["model.activation=relu"], "last epoch"),
    ):
        config = to_plain_dict(load_config(str(mine), overrides))
        result = json.loads((folder / "result.json").read_text())
        write_json(folder / "config.json", config)
        write_json(folder / "result.json", result | {"seeds": [config["seed"]]})
        (folder / "metrics.jsonl").unlink(missing_ok=True)
        made = {"command": ["cnn-archs", "sweep"], **roles.recipe_record(str(mine), config)}
        write_json(folder / "environment.json", made)
        page = page_of(folder)
        assert said in page.text and "The recipe is not known" not in page.text
        assert ("No setting differs" in page.text) == (overrides != ["model.activation=relu"])
    (rows,) = (table[1:] for table in page.tables if table[0][0] == "setting")
    assert [row[0] for row in rows] == ["model.activation"] and rows[0][2:] == ["relu", "a"]


def test_a_recipe_that_lacks_settings_of_a_run_is_never_said_to_be_whole(tmp_path):
    """The width was changed by an earlier start, and older sweeps did not record whole recipes."""
    recipe = to_plain_dict(load_config("resnet_cifar10:20", []))
    stated = recipe | {"model": {"name": "resnet", "kind": "basic", "blocks": [3, 3, 3]}}
    folder = sweep(tmp_path / "sweep", {"a": {}}, recipes={"resnet_cifar10:20": stated})
    run = recipe | {"model": recipe["model"] | {"width": 0.5, "name": stated["model"]["name"]}}
    write_json(folder / "a/seed0/config.json", run)
    said = "differs from the recipe, as far as it is recorded: a (resnet_cifar10:20)."
    assert said in page_of(folder).text


def test_lengths_are_told_in_the_unit_of_the_recipe(tmp_path):
    recipe = to_plain_dict(load_config("lenet5_digits", []))
    folder = sweep(tmp_path / "sweep", {"a": {}}, recipes={"lenet5_digits": recipe})
    spec = json.loads((folder / "sweep.json").read_text())
    write_json(folder / "sweep.json", spec | {"cells": {"a": ["lenet5_digits"]}})
    write_json(
        folder / "a/seed0/config.json", recipe | {"epochs": 0.0, "steps": 90, "mirror": True}
    )
    page = page_of(folder)
    (rows,) = (table[1:] for table in page.tables if table[0][0] == "setting")
    assert rows == [["mirror", "false", "true", "a"], ["steps", "20.0 epochs", "90", "a"]]


def test_other_training_images_are_marked_in_the_table_and_in_the_scatter(tmp_path):
    folder = sweep(
        tmp_path / "sweep",
        {"a": {}, "b": {"examples": 500}, "c": {"holdout": 5000}},
        x="params",
        groups={"all": ["a", "b", "c"]},
    )
    for i, name in enumerate("abc"):
        path = folder / name / "seed0/result.json"
        write_json(path, json.loads(path.read_text()) | {"params": 1000 * (i + 1)})
    (found,) = read_runs.read_collections([folder])
    (table,) = tables.results_tables(found)
    at = table.heads.index("trained on")
    assert [row[at] for row in table.rows] == ["all", "500", "all but 5,000"]
    (figure,) = scatter.cost_figures(found)
    names = {curve[0] for curve in json.loads(figure.panels[0].chart)["curves"]}
    marks = ("all training images", "500 training images", "all but 5,000 training images")
    assert names == {f"{name}, {mark}" for name, mark in zip("abc", marks, strict=True)}
    assert all(f">{name}<" in figure.panels[0].svg for name in names)
    assert scatter.size_figures(found) == []  # no two of a group may be on one line


UNLIKE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "folders": (
        {"name": "image_folder", "data_dir": "/cats"},
        {"name": "image_folder", "data_dir": "/dogs"},
    ),
    "sizes": ({"image_shape": [32, 32, 3]}, {"image_shape": [64, 64, 3]}),
    "reductions": ({}, {"downsample": 2}),
}


@pytest.mark.parametrize("kind", UNLIKE)
def test_errors_of_unlike_images_are_in_no_common_table_figure_or_difference(kind, tmp_path):
    a, b = UNLIKE[kind]
    cells = {"a": a, "b": b, "a2": a, "b2": b}
    folder = sweep(
        tmp_path / "sweep",
        cells,
        comparisons=[
            compared("a is worse than b", "a", "b", "test.top1_error"),
            compared("a trains worse than b", "a", "b", "train.top1_error"),
            compared("a2 is worse than a", "a2", "a", "test.top1_error"),
        ],
        x="params",
        groups={"all": list(cells)},
    )
    for i, name in enumerate(cells):
        path = folder / name / "seed0/result.json"
        dataset = cells[name].get("name", "cifar10")
        params = {"params": 1000 * (i + 1), "dataset": dataset}
        write_json(path, json.loads(path.read_text()) | params)
    (found,) = read_runs.read_collections([folder])
    assert [[r[0] for r in t.rows] for t in tables.results_tables(found)] == [
        ["a", "a2"],
        ["b", "b2"],
    ]
    captions = {t.caption for t in tables.results_tables(found)}
    assert len(captions) == 2 and len(scatter.size_figures(found)) == 2
    assert len(scatter.cost_figures(found)) == 2
    page = page_of(folder)
    assert page.text.count("Not comparable: a is tested on ") == 2
    assert "The sign is as stated" in page.text


def test_other_test_images_and_protocols_are_apart_too(tmp_path):
    folder = sweep(tmp_path / "sweep", {"a": {}, "b": {}, "c": {}})
    for name, change in (("b", {"protocol": "ten_crop", "views": 10}), ("c", {})):
        path = folder / name / "seed0/result.json"
        tree = json.loads(path.read_text()) | change
        if name == "c":
            tree["test"]["examples"] = 999
        write_json(path, tree)
    (found,) = read_runs.read_collections([folder])
    assert [[r[0] for r in t.rows] for t in tables.results_tables(found)] == [["a"], ["b"], ["c"]]


def test_runs_on_two_folders_are_two_parts_of_the_page(tmp_path):
    paths = []
    for name in ("cats", "dogs"):
        data = {"name": "image_folder", "data_dir": f"/{name}"}
        paths.append(
            workdir(tmp_path / name, "resnet20", 0, 0.1, 0.1, data=data, dataset="image_folder")
        )
    titles = [c.title for c in read_runs.read_collections(paths)]
    assert titles == ["Runs on image_folder in /cats", "Runs on image_folder in /dogs"]


def test_one_folder_with_other_images_is_another(tmp_path):
    """Its path is the same in both configs: the record of the images tells them apart."""
    data = {"name": "image_folder", "data_dir": "photos"}
    folder = sweep(tmp_path / "sweep", {"a": data, "b": data, "c": data})
    for name, place, digest in (("a", "/x", "1"), ("b", "/x", "2"), ("c", "/y", "1")):
        run = folder / name / "seed0"
        result = json.loads((run / "result.json").read_text())
        write_json(run / "result.json", result | {"dataset": "image_folder"})
        splits = {split: {"digest": digest * 64} for split in ("train", "test")}
        write_json(run / "data.json", {"folder": f"{place}/photos", "splits": splits})
    (found,) = read_runs.read_collections([folder])
    captions = [t.caption for t in tables.results_tables(found)]
    assert len(captions) == 3 and "/x/photos" in captions[0] and "digest 1111" in captions[0]


@pytest.mark.parametrize("target", [".", "..", "../b"])
def test_a_link_that_leads_back_is_not_followed_for_ever(target, tmp_path):
    run = workdir(tmp_path / "a" / "run", "resnet20", 0, 0.1, 0.1)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "link").symlink_to("../a")
    (tmp_path / "a" / "link").symlink_to(target)
    (found,) = read_runs.read_collections([tmp_path / "a"])
    assert {c.runs[0].path.resolve() for c in found.cells} == {run.resolve()}
    assert len(found.cells) <= 2


def copy_result(source: Path, target: Path) -> None:
    shutil.copy(source / "result.json", target / "result.json")


def with_config(run: Path) -> None:
    """Let the result of a run record its config, as `train` does."""
    result = json.loads((run / "result.json").read_text())
    config = json.loads((run / "config.json").read_text())
    write_json(run / "result.json", result | {"made": {"config": config}})


@pytest.mark.parametrize("how", ["seed", "cell", "log", "folder"])
def test_a_file_of_another_run_is_never_counted(how, tmp_path, capsys):
    """In the folder of a sweep the run is left out with the reason, alone it is one line."""
    folder = sweep(tmp_path / "sweep", {"a": {"examples": 0}, "b": {"examples": 1000}}, seeds=2)
    for name, data in (("a", {"examples": 0}), ("b", {"examples": 1000})):
        workdir(folder / name / "seed1", "resnet20", 1, 0.2, 0.05, data=data)
    for run in folder.glob("*/seed*"):
        with_config(run)
    bad = folder / "a/seed0"
    if how == "seed":
        copy_result(folder / "a/seed1", bad)
        reason = "result.json is of seeds [1], the run of [0]"
    elif how == "cell":
        copy_result(folder / "b/seed0", bad)
        reason = "result.json is of another config than config.json (data.examples)"
    elif how == "log":
        shutil.copy(folder / "a/seed1/metrics.jsonl", bad / "metrics.jsonl")
        reason = "metrics.jsonl has lines of seeds [1], the run is of [0]"
    else:
        bad = folder / "a/seed1"
        shutil.rmtree(bad)
        shutil.copytree(folder / "b/seed1", bad)
        reason = "the run has another config than its cell (data.examples)"
    page = page_of(folder)
    row = page.table("cell", "why")["a"]
    assert row["why"].startswith("left out: ") and reason in row["why"]
    errors = page.table("cell", "test")["a"]["test"]
    assert errors.startswith("20." if bad.name == "seed0" else "10.") and errors.endswith(" (1)")
    if how != "folder":
        capsys.readouterr()
        assert cli.main(["report", str(bad), "-o", str(tmp_path / "x.html")]) == 3
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and reason in err and not (tmp_path / "x.html").exists()


def test_names_that_are_not_printable_are_escaped(tmp_path):
    folder = sweep(tmp_path / "sweep", {"a\n\x1b[2J<b>": {}}, title="t\u202eb")
    output = tmp_path / "page.html"
    assert cli.main(["report", str(folder), "-o", str(output)]) == 0
    text = output.read_text("utf-8")
    assert "\x1b" not in text and "\u202e" not in text and "<b>" not in text.replace("<b>W", "")
    assert "a\\n\\x1b[2J&lt;b&gt;" in text
