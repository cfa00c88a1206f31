"""Printed values of a paper stand beside the cells that they belong to."""

import dataclasses
import json
from pathlib import Path

import pytest

from cnn_archs.claims.checks import recipes
from cnn_archs.errors import DataError
from cnn_archs.report import comparisons, printed_values
from cnn_archs.report.runs import CellRecord, RunRecord

STATED = printed_values.read_claims_file()


def cell(experiment, *overrides, name="x", protocol="single", path="somewhere"):
    run = RunRecord(Path(path), result={"protocol": protocol, "seeds": [0], "test": {}})
    return CellRecord(name, experiment, overrides, [run])


def test_the_value_of_a_network():
    found = printed_values.find_printed_values([cell("resnet_cifar10:20", "steps=1500")], STATED)
    (one,) = found
    assert (one.metric, one.bound) == ("test.top1_error", "")
    assert one.value == pytest.approx(0.0875)
    assert one.source == "He, Zhang, Ren & Sun 2015, table 6"


@pytest.mark.parametrize(
    "other",
    [
        cell("resnet_cifar10:20_quick"),
        cell("resnet_cifar10:20", protocol="mirror"),
        cell("resnet_cifar10:20", "model.shortcut=B"),
        cell("", path="elsewhere/resnet20_seed0.json"),
    ],
)
def test_another_network_or_protocol_has_none(other):
    assert not list(printed_values.find_printed_values([other], STATED))


@pytest.mark.parametrize(
    "same",
    [
        cell("resnet_cifar10:20", "model.width=0.5", "optimizer.momentum=0.5", "seeds=3"),
        cell("", path="results/cifar10/resnet20_seed0.json"),
    ],
)
def test_a_changed_recipe_of_the_same_network_has_its_value(same):
    (one,) = printed_values.find_printed_values([same], STATED)
    assert one.value == pytest.approx(0.0875) and one.cells == (same,)


def test_of_a_result_of_a_sweep_the_config_tells_what_is_changed():
    """Its command names the sweep, not the experiment; keys that were not stated do not count."""
    config = json.loads(recipes.config("resnet_cifar10:20").to_json())
    config |= {"seeds": 5, "steps": 100, "mirror": False}
    run = RunRecord(
        Path("results/cifar10/resnet20_seed0.json"), config=config, result={"protocol": "single"}
    )
    sweep = CellRecord("resnet20", "", (), [run])
    (one,) = printed_values.find_printed_values([sweep], STATED)
    assert sorted(one.changed) == ["mirror=false", "steps=100"]
    table = comparisons.paper_table([one._replace(cells=(with_test(sweep),))])
    assert table.rows[0][4] == "changed: " + ", ".join(one.changed)


def with_test(cell):
    (run,) = cell.runs
    result = {"seeds": [0], "test": {"top1_error": [0.09]}}
    return dataclasses.replace(cell, runs=[dataclasses.replace(run, result=result)])


def test_without_a_config_the_recipe_is_not_known():
    (one,) = printed_values.find_printed_values(
        [cell("", path="cifar10/resnet20_seed0.json")], STATED
    )
    table = comparisons.paper_table([one._replace(cells=(with_test(one.cells[0]),))])
    assert table.rows[0][4] == "not known"


def test_what_is_changed():
    assert cell("x", "seeds=3", "log_every=10", "model.width=0.5").changed == ["model.width=0.5"]


def test_overrides_that_a_claim_names_are_no_change():
    lrn = cell("alexnet_imagenet", "model.lrn=false", protocol="ten_crop")
    whole = cell("alexnet_imagenet", protocol="ten_crop")
    claims = list(printed_values.find_printed_values([whole, lrn], STATED))
    pair = [c for c in claims if c.cells == (lrn, whole)]
    assert [c.metric for c in pair] == ["test.top1_error", "test.top5_error"]
    assert "normali" in pair[0].says and pair[0].changed == ()


def test_of_several_the_one_nearest_to_the_recipe_is_taken():
    short, shorter = (cell("resnet_cifar10:20", *o) for o in (["steps=9"], ["steps=9", "mirror=0"]))
    assert [c.cells for c in printed_values.find_printed_values([shorter, short], STATED)] == [
        (short,)
    ]


def test_two_cells_have_the_claims_of_their_difference():
    plain20, plain56 = cell("resnet_cifar10:plain20"), cell("resnet_cifar10:plain56")
    found = list(printed_values.find_printed_values([plain20, plain56], STATED))
    assert [(c.metric, c.value) for c in found] == [
        ("train.top1_error", None),
        ("test.top1_error", None),
    ]
    assert all(c.cells == (plain56, plain20) and c.changed == () for c in found)


def test_a_file_that_is_broken_is_named(tmp_path):
    path = tmp_path / "claims.toml"
    path.write_text("[")
    with pytest.raises(DataError, match="claims.toml"):
        printed_values.read_claims_file(path)
