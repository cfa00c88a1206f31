"""Attributes that every network has, whether or not they are settings of its config."""

from pathlib import Path

import pytest

from cnn_archs import models
from cnn_archs.models import vgg
from cnn_archs.models.network import Network
from cnn_archs.report import runs

LENETS_1998 = ("lenet5_1998", "lenet5_1998_eblearn", "lenet4", "lenet1")
OPTIONAL = {"dtype": "float32", "bn_group": 0, "remat": False, "scan_blocks": False}


@pytest.mark.parametrize("name", models.MODELS)
def test_a_setting_is_a_field_or_has_the_value_of_every_network_without_it(name):
    model, fields = models.create(name), models.fields(name)
    assert isinstance(model, Network)
    for setting, default in OPTIONAL.items():
        assert getattr(model, setting) == fields.get(setting, default)


@pytest.mark.parametrize(
    "name, field",
    [
        ("vgg_d", "scan_blocks"),
        ("alexnet", "bn_group"),
        ("zfnet", "remat"),
        ("lenet5_1998", "dtype"),
        ("lenet5_1998", "num_classes"),
        ("inception_module", "num_classes"),
        ("mlp", "gains_from_onednn"),
    ],
)
def test_a_setting_that_a_network_lacks_cannot_be_set(name, field):
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{field}'"):
        models.create(name, **{field: 1})


def test_the_number_of_classes():
    assert models.create("lenet5_1998").num_classes == 10
    assert models.create("alexnet").num_classes == 1000
    assert models.create("resnet20", num_classes=7).num_classes == 7
    with pytest.raises(ValueError, match="InceptionModule is no classifier"):
        _ = models.create("inception_module").num_classes


def test_only_networks_with_convolutions_for_few_channels_gain_nothing_from_onednn():
    without = {name for name in models.MODELS if not models.create(name).gains_from_onednn}
    assert without == {*("mlp", "cnn", "lenet5", *LENETS_1998, "mlp_1998")}


def test_an_unrolled_network_has_no_loop_and_all_else_as_before():
    scanned = models.create("resnet20", scan_blocks=True, width=0.5)
    assert scanned.unrolled() == models.create("resnet20", width=0.5)
    vgg_d = models.create("vgg_d")
    assert vgg_d.unrolled() is vgg_d


def test_columns_of_vgg():
    """Table 1, first and last block, and its head: the numbers of weight layers."""
    assert vgg.layers_of("A-LRN")[0] == [("conv1_1", 3, 64), ("lrn1", 0, 0)]
    assert vgg.layers_of("C")[-1] == [("conv5_1", 3, 512), ("conv5_2", 3, 512), ("conv5_3", 1, 512)]
    assert vgg.layers_of("B-5x5")[1] == [("conv2_1", 5, 128)]
    printed = {"A": 11, "A-LRN": 11, "B": 13, "C": 16, "D": 16, "E": 19}
    assert {column: vgg.depth_of(column) for column in printed} == printed
    assert vgg.depth_of("B-5x5") == 5 + 3
    with pytest.raises(ValueError, match="column 'F' is not one of A, A-LRN, B, C, D, E, B-5x5"):
        vgg.layers_of("F")


def test_a_column_that_is_not_in_table_1_has_no_depth():
    run = runs.RunRecord(Path("x"), config={"model": {"column": "F"}})
    assert runs.CellRecord("x", "", (), [run]).depth is None
