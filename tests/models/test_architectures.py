"""AlexNet, VGG, GoogLeNet and ResNet are as printed, beyond counts and values.

Counts stand in tests/models/test_summary.py, values and gradients in test_parity.py.
"""

import re
import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch_reference as reference
from abstract_step import abstract_step
from flax.traverse_util import flatten_dict, unflatten_dict

from cnn_archs import models
from cnn_archs.conversion import torch_layout
from cnn_archs.models import inception, residual_units, resnet, summary, vgg
from cnn_archs.runtime.compiler_options import fast_compile_options


def init(model, side, channels=3, seed=0):
    make = partial(models.init, model, image_shape=(side, side, channels))
    return jax.device_get(
        jax.jit(make, compiler_options=fast_compile_options())(jax.random.key(seed))
    )


def drawn(model, side, seed=0):
    """Variables for any test but of the initial ones, which take longer to compile than a pass."""
    random = np.random.default_rng(seed)

    def value(path, leaf):
        if path[-1] == "kernel":
            return random.normal(0, he(leaf, False), leaf.shape).astype(leaf.dtype)
        return np.full(leaf.shape, path[-1] in ("scale", "var"), leaf.dtype)

    flat = flatten_dict(models.shapes(model, (side, side, 3)).variables)
    found = unflatten_dict({path: value(path, leaf) for path, leaf in flat.items()})
    return {"params": {}, "batch_stats": {}} | found


def images(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def rows(name, side, train=False, **fields):
    model = models.create(name, **fields)
    return {r.name: r for r in summary.summarize(model, (side, side, 3), train)}


def quick(model, train, **options):
    """(variables, images) -> heads, compiled for one run."""
    return jax.jit(
        lambda v, x: model.apply(v, x, train=train, **options),
        compiler_options=fast_compile_options(),
    )


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


# --- Initialization: the mean and the deviation of each layer ------------------------------------


def fans(kernel):
    window = np.prod(kernel.shape[:-2])
    return window * kernel.shape[-2], window * kernel.shape[-1]


def dense_fans(kernel):
    """A kernel over a whole map is a dense layer's."""
    return np.prod(kernel.shape[:-1]), kernel.shape[-1]


def glorot(kernel, dense):
    return (2 / sum((dense_fans if dense else fans)(kernel))) ** 0.5


def he(kernel, dense):
    return (2 / fans(kernel)[0]) ** 0.5


def torchs(kernel, dense):
    return (3 * (dense_fans if dense else fans)(kernel)[0]) ** -0.5


FEW = {"modules": {name: inception.INCEPTION[name] for name in ("4a", "4d")}}
ONE = {"modules": {"4a": inception.INCEPTION["4a"]}}  # and its auxiliary classifier
INITIALIZATIONS: dict[str, tuple[dict[str, Any], int, Any, dict[str, float] | None]] = {
    # name: fields, side, deviation of a kernel, {bias: value} with "" for all others
    "alexnet": ({}, 99, 0.01, {**dict.fromkeys(("conv2", "conv4", "conv5", "fc6", "fc7"), 1.0)}),
    "alexnet_owt": ({}, 99, torchs, None),
    "vgg_a": ({}, 64, 0.1, {}),
    "vgg_c": ({}, 64, glorot, {}),
    "vgg_a_bn": ({}, 64, glorot, {}),
    "googlenet": (ONE, 128, glorot, {"": 0.2, "fc": 0.0, "fc2": 0.0}),
    "googlenet_torchvision": (ONE, 128, 0.01 * 0.87963, {}),  # what is left of N(0, 1) within 2
    "resnet50": ({"blocks": (1, 1, 1, 1)}, 64, he, {}),
    "resnet18_v2": ({"blocks": (1, 1, 1, 1)}, 64, he, {}),
    "resnet20": ({"blocks": (1, 1, 1)}, 32, he, {}),
}


OTHER_FORMS = ("alexnet_owt", "vgg_c", "vgg_a_bn", "googlenet_torchvision", "resnet18_v2")


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n in OTHER_FORMS else n for n in INITIALIZATIONS],
)
def test_the_initial_weights_are_the_papers(name):
    fields, side, deviation, biases = INITIALIZATIONS[name]
    model = models.create(name, width=0.25, num_classes=50, **fields)
    variables = init(model, side)
    checked = 0
    for path, value in flatten_dict(variables["params"]).items():
        layer = path[-2]
        if path[-1] == "kernel":
            expected = deviation(value, layer[:2] == "fc") if callable(deviation) else deviation
            n = value.size
            assert abs(value.mean()) < 5 * expected / n**0.5, path
            assert abs(value.std() / expected - 1) < 5 / (2 * n) ** 0.5, path
            checked += 1
        elif path[-1] == "scale":
            assert (value == 1).all(), path
        elif layer == "norm" or layer.startswith("bn") or biases == {}:
            assert (value == 0).all(), path
        elif biases is None:  # uniform as the weights, by the fan-in of the layer
            bound = 3**0.5 * torchs(variables["params"][layer]["kernel"], layer[:2] == "fc")
            assert abs(value).max() <= bound and value.std() > 0.3 * bound, path
        else:
            assert (value == np.float32(biases.get(layer, biases.get("", 0.0)))).all(), path
    assert checked >= 8
    for path, value in flatten_dict(variables["batch_stats"]).items():
        assert (value == (path[-1] == "var")).all(), path


@pytest.mark.parametrize("name, side", [("alexnet", 99), ("vgg_a", 64), slow("googlenet", 128)])
@pytest.mark.parametrize("initializer, deviation", [("he", he), ("glorot", glorot)])
def test_other_initializations_are_one_override(name, side, initializer, deviation):
    model = models.create(name, width=0.25, initializer=initializer)
    params = init(model, side)["params"]
    kernel = params["conv2" if name != "vgg_a" else "conv2_1"]["kernel"]
    assert kernel.std() == pytest.approx(deviation(kernel, False), rel=0.05)


# --- AlexNet -------------------------------------------------------------------------------------


def test_the_neurons_of_alexnet():
    """Figure 2's caption, but 55*55*96 where it prints 253,440, which is 55*48*96."""
    layers = rows("alexnet", 227)
    neurons = [
        np.prod(layers[n].out)
        for n in ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
    ]
    assert neurons == [290_400, 186_624, 64_896, 64_896, 43_264, 4096, 4096, 1000]
    assert sum(neurons) == 659_272


def test_the_order_in_alexnet_is_convolution_norm_pool():
    convolutions = ["conv1", "lrn1", "pool1", "conv2", "lrn2", "pool2", "conv3", "conv4", "conv5"]
    assert list(rows("alexnet", 227)) == [*convolutions, "pool5", "fc6", "fc7", "fc8"]


def test_each_claimed_gain_is_one_override():
    """Sections 3.1 (ReLU), 3.3 (LRN), 3.4 (overlapping pools), 4.2 (dropout), figure 2 (towers)."""
    printed = rows("alexnet", 227)
    assert set(printed) - set(rows("alexnet", 227, lrn=False)) == {"lrn1", "lrn2"}
    pools = rows("alexnet", 227, pool=(2, 2))
    assert {printed[f"pool{i}"].window for i in (1, 2, 5)} == {"3x3/2"}
    assert {pools[f"pool{i}"].window for i in (1, 2, 5)} == {"2x2/2"}
    assert [r.out for r in pools.values()] == [r.out for r in printed.values()]
    whole = rows("alexnet", 227, groups=1)
    assert whole["conv2"].params - 256 == 2 * (printed["conv2"].params - 256)
    small, x = dict(width=0.1, num_classes=5), images(2, 99, 99, 3)
    variables = drawn(models.create("alexnet", **small), 99)
    for fields in ({"activation": "tanh"}, {"dropout": 0.0}):
        model = models.create("alexnet", **small, **fields)
        apply = jax.jit(
            lambda key, m=model: m.apply(variables, x, train=True, rngs={"dropout": key})["logits"],
            compiler_options=fast_compile_options(),
        )
        same = np.array_equal(*(apply(jax.random.key(seed)) for seed in (0, 1)))
        assert same == ("dropout" in fields)
    low = models.create("alexnet", **small, activation="tanh", dropout=0.0)
    relu = models.create("alexnet", **small, dropout=0.0)
    of_low, of_relu = (quick(m, False)(variables, x)["logits"] for m in (low, relu))
    assert not np.allclose(of_low, of_relu, atol=1e-3)


def test_the_net_for_one_gpu():
    """Section 3.2's footnote: 48-128-192-192-256 maps, dense layers as large as before."""
    layers = rows("alexnet_one_gpu", 227)
    widths = [layers[f"conv{i}"].out[2] for i in range(1, 6)]
    assert widths == [48, 128, 192, 192, 256]
    assert layers["fc6"].params == 9216 * 4096 + 4096


def test_dropout_is_on_outputs_in_2012_and_on_inputs_in_torchvisions():
    """With all of fc6's outputs kept or dropped, what fc7 says tells which."""
    for name, kept in (("alexnet", False), ("alexnet_owt", True)):
        model = models.create(name, width=0.1, dropout=1.0)
        variables = drawn(model, 99)
        for layer in ("fc7", "fc8"):
            variables["params"][layer]["bias"] = images(*variables["params"][layer]["bias"].shape)
        out = quick(model, True, rngs={"dropout": jax.random.key(0)})(
            variables, images(1, 99, 99, 3)
        )
        fc8 = variables["params"]["fc8"]
        if not kept:  # fc7's outputs are all 0: the logits are fc8's bias
            np.testing.assert_allclose(out["logits"][0], fc8["bias"], atol=1e-7)
        else:  # fc7 saw nothing: its bias, through ReLU, goes on
            hidden = np.maximum(variables["params"]["fc7"]["bias"], 0)
            expected = hidden @ fc8["kernel"][0, 0] + fc8["bias"]
            np.testing.assert_allclose(out["logits"][0], expected, rtol=1e-4, atol=1e-6)


# --- VGG -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, layers", [("a", 11), ("a_lrn", 11), ("b", 13), ("c", 16), ("d", 16), ("e", 19)]
)
def test_the_weight_layers_of_table_1(name, layers):
    found = [r for r in rows(f"vgg_{name}", 224).values() if r.params]
    assert len(found) == layers


def test_column_c_has_1x1_layers_where_d_has_3x3():
    c, d = rows("vgg_c", 224), rows("vgg_d", 224)
    differ = {name for name in d if c[name].params != d[name].params}
    assert differ == {"conv3_3", "conv4_3", "conv5_3"}
    assert all(c[name].window == "1x1/1" for name in differ)


def test_lrn_is_in_a_lrn_only_after_the_first_convolution():
    assert list(rows("vgg_a_lrn", 224))[:3] == ["conv1_1", "lrn1", "pool1"]
    assert [name for name in vgg.TABLE_1 if "LRN" in vgg.TABLE_1[name]] == ["A-LRN"]


def test_on_a_larger_image_vgg_is_fully_convolutional():
    """Section 3.2: dense layers as 2x2 and 1x1 convolutions, the map of scores averaged."""
    model = models.create("vgg_a", width=0.1, dropout=0.0, num_classes=5)
    variables = drawn(model, 64)
    state = torch_layout.to_state_dict(model, (64, 64, 3), variables, 0)
    weights = {k: torch.tensor(v) for k, v in state.items()}
    for side in (64, 96, 160):
        x = images(2, side, side + 32, 3)
        form = partial(reference.vgg, column="A", side=2, train=False)
        expected, _ = form(weights, torch.tensor(x).movedim(3, 1))
        found = quick(model, False)(variables, x)["logits"]
        np.testing.assert_allclose(found, expected["logits"], rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="a dense layer takes maps of 2x2 or larger, not 1x1"):
        model.apply(variables, images(1, 32, 32, 3), train=False)


# --- GoogLeNet -----------------------------------------------------------------------------------


def test_the_plan_of_googlenet():
    """Table 1: 22 layers with parameters in depth, 9 modules, and these outputs."""
    layers = rows("googlenet", 224)
    modules = [r for r in layers.values() if r.type == "concat"]
    assert len(modules) == 9
    stem = [r for r in layers.values() if r.params and "/" not in r.name]  # fc among them
    assert len(stem) + 2 * len(modules) == 22  # a module is two layers deep
    outputs = {
        **{"conv1": (112, 112, 64), "pool1": (56, 56, 64), "conv2": (56, 56, 192)},
        **{"pool2": (28, 28, 192), "3a": (28, 28, 256), "3b": (28, 28, 480)},
        **{"pool3": (14, 14, 480), "4a": (14, 14, 512), "4b": (14, 14, 512)},
        **{"4c": (14, 14, 512), "4d": (14, 14, 528), "4e": (14, 14, 832)},
        **{"pool4": (7, 7, 832), "5a": (7, 7, 832), "5b": (7, 7, 1024)},
        **{"pool5": (1, 1, 1024), "fc": (1, 1, 1000)},
    }
    assert {name: layers[name].out for name in outputs} == outputs


# fmt: off
TABLE_1 = {  # params in K of 1024 weights, operations in millions, as printed; biases apart
    "3a": (159, 128), "3b": (380, 304), "4a": (364, 73), "4b": (437, 88), "4c": (463, 100),
    "4d": (580, 119), "4e": (840, 170), "5a": (1072, 54), "5b": (1388, 71),
}
# fmt: on


def test_the_costs_of_table_1():
    """The printed widths give the printed costs to 8 % and 6 %, the papers' own rounding."""
    layers = rows("googlenet", 224)
    for name, (params, operations) in TABLE_1.items():
        branches = layers[name].branches
        biases = sum(inception.INCEPTION[name])
        weights = sum(p for p, _ in branches.values()) - biases
        assert weights / 1024 == pytest.approx(params, rel=0.08), name
        assert sum(m for _, m in branches.values()) / 1e6 == pytest.approx(operations, rel=0.06)


def test_the_separable_stem_has_the_cost_of_table_1():
    """2.7K parameters and 34M operations, which a full 7x7 convolution has not."""
    layers = rows("googlenet_separable", 224)
    first = [layers["conv1_depthwise"], layers["conv1_pointwise"]]
    assert sum(r.params for r in first) - 64 == 2_712 and sum(r.macs for r in first) == 34_019_328


NAIVE = {  # weights, multiply-adds, maps out: figure 2a with the same numbers of kernels
    "3a": (387_072, 303_464_448, 416),
    "4e": (3_345_408, 655_699_968, 1232),
    "5b": (5_857_280, 287_006_720, 1728),
}


@pytest.mark.parametrize("name", NAIVE)
def test_a_naive_module_costs_more(name):
    weights, macs, maps = NAIVE[name]
    reduced = rows("googlenet", 224)
    inputs = {"3a": reduced["pool2"], "4e": reduced["4d"], "5b": reduced["5a"]}[name].out
    widths = inception.INCEPTION[name]
    model = models.create("inception_module", widths=widths, module="naive")
    (module,) = [r for r in summary.summarize(model, inputs) if r.type == "concat"]
    biases = widths[0] + widths[2] + widths[4]
    assert module.out[2] == maps and module.branches
    assert sum(p for p, _ in module.branches.values()) == weights + biases
    assert sum(m for _, m in module.branches.values()) == macs


def test_auxiliary_heads_are_there_in_training_only():
    model = models.create("googlenet", width=0.1, num_classes=5, **FEW)
    without = models.create("googlenet", width=0.1, num_classes=5, aux=False, **FEW)
    variables, x = drawn(model, 128), images(2, 128, 128, 3)
    heads = quick(model, True, rngs={"dropout": jax.random.key(0)})(variables, x)
    assert set(heads) == {"logits", "aux_4a", "aux_4d"}
    assert {h.shape for h in heads.values()} == {(2, 5)}
    tested = quick(model, False)(variables, x)
    assert set(tested) == {"logits"}
    lean = {"params": {k: v for k, v in variables["params"].items() if k[:3] != "aux"}}
    np.testing.assert_array_equal(quick(without, False)(lean, x)["logits"], tested["logits"])
    fresh = models.shapes(without, (128, 128, 3)).variables
    found: Any = jax.tree.structure(fresh["params"])
    assert found == jax.tree.structure(lean["params"])


@pytest.mark.slow
def test_every_head_can_be_tested():
    """Without dropout, and without batch normalization, as they are in training."""
    fields = dict(width=0.1, num_classes=5, dropout=0.0, aux_dropout=0.0)
    model = models.create("googlenet_cifar", **fields)
    variables, x = init(model, 32), images(2, 32, 32, 3)
    trained = quick(model, True, rngs={"dropout": jax.random.key(0)})(variables, x)
    tested = jax.jit(partial(models.tested, model), compiler_options=fast_compile_options())(
        variables, x
    )
    assert set(tested) == {"logits", "aux_4a", "aux_4d"}
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5), tested, trained)
    without = model.clone(aux=False)
    assert set(jax.eval_shape(partial(models.tested, without), variables, x)) == {"logits"}


def test_branches_are_scaled_overridden_and_removed():
    def widths(module="3a", **fields):
        layers = rows("googlenet", 224, **fields)
        parts = [r for r in layers if r.startswith(f"{module}/") and r[2:7] != "/pool"]
        return {r.partition("/")[2]: layers[r].out[2] for r in parts}, layers[module].out[2]

    printed = {"1x1": 64, "3x3_reduce": 96, "3x3": 128, "5x5_reduce": 16, "5x5": 32}
    assert widths() == (printed, 256)
    assert widths(scale_5x5=0.5)[0] == {**printed, "5x5_reduce": 8, "5x5": 16}
    one = dict(inception.INCEPTION, **{"3a": (64, 96, 128, 0, 0, 32)})
    assert "5x5" not in widths(modules=one)[0] and widths(modules=one)[1] == 224
    assert widths("3b", modules=one)[1] == 480
    assert widths(scale_pool=0.0)[1] == 224
    assert widths(width=0.5)[1] == 128
    removed = dict(scale_1x1=0.0, scale_3x3=0.0, scale_5x5=0.0, scale_pool=0.0)
    with pytest.raises(ValueError, match="no branch is left"):
        widths(**removed)


# --- ResNet --------------------------------------------------------------------------------------

STAGES = {  # parameters and multiply-adds of conv1, conv2_x to conv5_x and the classifier, option B
    18: [(9_536, 118_013_952), (147_968, 462_422_016), (525_568, 411_041_792),
         (2_099_712, 411_041_792), (8_393_728, 411_041_792), (513_000, 512_000)],
    50: [(9_536, 118_013_952), (215_808, 667_942_912), (1_219_584, 950_534_144),
         (7_098_368, 1_387_266_048), (14_964_736, 732_168_192), (2_049_000, 2_048_000)],
    152: [(9_536, 118_013_952), (215_808, 667_942_912), (2_339_840, 1_823_997_952),
          (40_613_888, 7_938_244_608), (14_964_736, 732_168_192), (2_049_000, 2_048_000)],
}  # fmt: skip
CIFAR_STAGES = {20: (14_016, 51_072, 203_520), 110: (84_096, 329_472, 1_313_280)}


@pytest.mark.parametrize("depth", STAGES)
def test_the_costs_of_each_stage(depth):
    sums = {stage: [0, 0] for stage in ("conv1", "conv2", "conv3", "conv4", "conv5", "fc")}
    for row in rows(f"resnet{depth}", 224).values():
        stage = row.name.split("_")[0]
        if stage in sums:
            sums[stage][0] += row.params
            sums[stage][1] += row.macs
    assert [tuple(s) for s in sums.values()] == STAGES[depth]


@pytest.mark.parametrize("depth", CIFAR_STAGES)
def test_the_parameters_of_each_cifar_stage(depth):
    layers = rows(f"resnet{depth}", 32).values()
    found = tuple(
        sum(r.params for r in layers if r.name.startswith(f"conv{i}_")) for i in (2, 3, 4)
    )
    assert found == CIFAR_STAGES[depth]


@pytest.mark.parametrize(
    "name, side, depth",
    [("resnet18", 64, 18), ("resnet34_c", 64, 34), ("resnet50", 64, 50), ("resnet101", 64, 101),
     ("resnet152_v2", 64, 152), ("resnet200_v2", 64, 200), ("plain34", 64, 34),
     ("resnet20", 32, 20), ("plain56", 32, 56), ("resnet110_v2", 32, 110),
     ("resnet164_v2", 32, 164)],
)  # fmt: skip
def test_the_name_is_the_number_of_layers(name, side, depth):
    layers = [r for r in rows(name, side).values() if r.type in ("conv", "dense")]
    assert sum("shortcut" not in r.name for r in layers) == depth


def test_where_the_stride_is():
    """v1: in the first 1x1 of conv3_1; v1.5: in its 3x3. The parameters are the same."""
    v1, v1_5 = rows("resnet50", 224), rows("resnet50_v1_5", 224)
    assert [v1[f"conv3_1/{n}"].out[0] for n in ("1x1a", "3x3", "1x1b")] == [28, 28, 28]
    assert [v1_5[f"conv3_1/{n}"].out[0] for n in ("1x1a", "3x3", "1x1b")] == [56, 28, 28]
    assert v1["conv3_1/1x1a"].window == "1x1/2" and v1_5["conv3_1/3x3"].window == "3x3/2"
    assert {n: r.params for n, r in v1.items()} == {n: r.params for n, r in v1_5.items()}
    basic = rows("resnet18", 224)
    assert basic["conv3_1/3x3a"].window == "3x3/2" and basic["conv3_1/3x3b"].window == "3x3/1"


def test_option_a_takes_every_second_pixel_and_adds_zeros_behind():
    x = images(2, 6, 6, 3)
    found: Any = residual_units.PaddedShortcut(5, 2).apply({}, x)
    np.testing.assert_array_equal(found[..., :3], x[:, ::2, ::2])
    np.testing.assert_array_equal(found[..., 3:], np.zeros((2, 3, 3, 2)))
    for name in ("resnet20", "resnet34_a"):
        plain = name.replace("resnet", "plain").removesuffix("_a")
        of, without = rows(name, 64), rows(plain, 64)
        assert {n for n in of if n not in without} == {n for n in of if "shortcut" in n}
        assert (
            summary.totals(list(of.values()))["params"]
            == (summary.totals(list(without.values()))["params"])
        )


UNIT: dict[str, Any] = dict(width=4, kind="basic", stride_in="1x1", bn_group=0, dtype="float32")


@pytest.mark.parametrize("kind", [residual_units.ResidualUnit, residual_units.PreActivationUnit])
def test_a_unit_of_zeros_is_the_identity(kind):
    """Section 3.1: were an identity the best, weights of 0 would do. In a plain net they do not."""
    x = np.abs(images(2, 5, 5, 4))
    for shortcut, expected in (("A", x), ("B", x), ("none", np.zeros_like(x))):
        unit = kind(stride=1, shortcut=shortcut, **UNIT)
        variables = unit.init(jax.random.key(0), x, train=False)
        variables = {**variables, "params": jax.tree.map(jnp.zeros_like, variables["params"])}
        np.testing.assert_array_equal(unit.apply(variables, x, train=False), expected)


def test_the_last_relu_of_a_unit_is_behind_the_addition():
    """In the first paper nothing below 0 leaves a unit; in the second it does."""
    x = images(2, 5, 5, 4)
    unit = residual_units.ResidualUnit(stride=1, shortcut="B", **UNIT)
    second = residual_units.PreActivationUnit(stride=1, shortcut="B", **UNIT)
    for module, least in ((unit, 0.0), (second, None)):
        variables = module.init(jax.random.key(0), x, train=False)
        y: Any = module.apply(variables, x, train=False)
        assert y.min() == 0.0 if least == 0.0 else y.min() < -1.0


def test_in_the_first_preactivation_unit_the_shortcut_takes_the_activated_input():
    """He et al. 2016, appendix: the first activation is for both paths; later units split before.

    With the last convolution at 0 the output is the shortcut. Before training, the normalization
    divides by sqrt(1 + 1e-5).
    """
    x = images(2, 5, 5, 4)
    for first, expected in ((True, np.maximum(x, 0) / np.sqrt(1 + 1e-5)), (False, x)):
        unit = residual_units.PreActivationUnit(stride=1, shortcut="A", first=first, **UNIT)
        variables = unit.init(jax.random.key(0), x, train=False)
        params = dict(variables["params"])
        params["3x3b"] = jax.tree.map(jnp.zeros_like, params["3x3b"])
        found: Any = unit.apply({**variables, "params": params}, x, train=False)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_unit_of_stride_2_projects_on_a_1x1_map_too():
    """There its output has the size of its input: to compare shapes would miss it."""
    unit = residual_units.ResidualUnit(stride=2, shortcut="B", **UNIT)
    variables = unit.init(jax.random.key(0), images(2, 1, 1, 4), train=False)
    assert "shortcut" in variables["params"]
    names = [set(rows("resnet18", side)) for side in (32, 224)]
    assert names[0] == names[1]


SHALLOW = dict(blocks=(1, 3), widths=(4, 8))


@pytest.mark.parametrize(
    "name, side, fields",
    [
        ("resnet20", 16, SHALLOW),
        slow("resnet50_v2", 32, SHALLOW),
        slow("resnet20", 16, dict(width=0.25)),
        slow("plain20", 16, dict(width=0.25)),
        slow("resnet50_v2", 64, dict(width=1 / 16)),
    ],
)
def test_scanned_blocks_compute_the_same(name, side, fields):
    """Logits in evaluation to 1e-5; in float64 the gradients too."""
    model, scanned = models.create(name, **fields), models.create(name, **fields, scan_blocks=True)
    variables, x = drawn(model, side), images(4, side, side, 3)
    stacked = resnet.stack(variables)
    shapes = models.shapes(scanned, (side, side, 3)).variables
    assert jax.tree.map(np.shape, shapes) == jax.tree.map(np.shape, stacked)
    found = quick(scanned, False)(stacked, x)["logits"]
    expected = quick(model, False)(variables, x)["logits"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)

    def gradient(module):
        def loss(params, stats, x):
            v = {"params": params, "batch_stats": stats}
            return module.apply(v, x, train=True, mutable=["batch_stats"])[0]["logits"].var()

        return jax.jit(jax.grad(loss), compiler_options=fast_compile_options())

    with jax.enable_x64(True):
        wide = jax.tree.map(lambda v: v.astype(np.float64), (variables, stacked))
        grads = [
            gradient(models.create(name, dtype="float64", **fields, scan_blocks=scan))(
                v["params"], v["batch_stats"], x.astype(np.float64)
            )
            for scan, v in zip((False, True), wide, strict=True)
        ]
    unrolled, found = flatten_dict(grads[0]), flatten_dict(resnet.unstack({"p": grads[1]})["p"])
    for path, expected in unrolled.items():
        difference = np.linalg.norm(np.asarray(found[path]) - np.asarray(expected))
        assert difference <= 1e-9 * np.linalg.norm(expected) + 1e-12, path


def seconds_to_compile(name):
    """Return the processor seconds to trace and compile a training step of the scanned net."""
    step, arguments = abstract_step(models.create(name, scan_blocks=True), (32, 32, 3), 128)
    started = time.process_time()
    jax.jit(step).lower(*arguments).compile()
    return time.process_time() - started


@pytest.mark.slow
def test_a_scanned_step_compiles_as_fast_at_any_depth():
    seconds_to_compile("resnet32")  # what the process itself needs for its first
    shallow, deep, deepest = map(seconds_to_compile, ("resnet20", "resnet110", "resnet1202"))
    assert deep < 1.5 * shallow and deepest < 60


# --- All of them ---------------------------------------------------------------------------------

FAMILIES = {
    "alexnet": 99,
    "vgg_a_lrn": 64,
    "vgg_a_bn": 64,
    "googlenet": 128,
    "googlenet_bn": 128,
    "resnet18": 64,
    "resnet18_v2": 64,
    "resnet20": 32,
}
NARROW: dict[str, dict[str, Any]] = {name: dict(width=0.1, num_classes=5) for name in FAMILIES}
NARROW["resnet20"] |= {"blocks": (1, 1, 1)}


@pytest.mark.parametrize(
    "name", [n if n in ("vgg_a_bn", "resnet20") else slow(n) for n in FAMILIES]
)
def test_bfloat16_is_of_the_arithmetic_only(name):
    side = FAMILIES[name]
    model = models.create(name, dtype="bfloat16", **NARROW[name])
    variables, x = drawn(model, side), images(2, side, side, 3)
    assert {v.dtype for v in jax.tree.leaves(variables)} == {np.dtype("float32")}
    train = quick(model, True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(0)})
    heads, updates = train(variables, x)
    assert {h.dtype for h in heads.values()} == {np.dtype(jnp.bfloat16)}
    assert {v.dtype for v in jax.tree.leaves(updates)} <= {np.dtype("float32")}
    wide = models.create(name, **NARROW[name])
    found = quick(model, False)(variables, x)["logits"].astype(np.float32)
    expected = quick(wide, False)(variables, x)["logits"]
    assert np.linalg.norm(found - expected) < 0.05 * np.linalg.norm(expected)


@pytest.mark.parametrize(
    "name", ["vgg_a_bn", "resnet20", slow("resnet18_v2"), slow("googlenet_bn")]
)
def test_groups_of_the_batch_are_normalized_apart(name):
    side = FAMILIES[name]
    fields = dict(dropout=0.0, aux_dropout=0.0, **NARROW[name])
    fields = {k: v for k, v in fields.items() if k in models.fields(name)}
    together, apart = models.create(name, **fields), models.create(name, bn_group=2, **fields)
    variables, x = drawn(together, side), images(4, side, side, 3)
    whole = quick(apart, True, mutable=["batch_stats"])(variables, x)[0]["logits"]
    half = quick(together, True, mutable=["batch_stats"])
    halves = [half(variables, part)[0]["logits"] for part in (x[:2], x[2:])]
    np.testing.assert_allclose(whole, np.concatenate(halves), rtol=1e-3, atol=1e-3)


def test_the_forms_for_32x32():
    """Their sizes, and their parameters as arithmetic."""

    def params(name):
        return summary.totals(list(rows(name, 32).values()))["params"]

    convolutions = 96 * 28 + 256 * (25 * 48 + 1) + 384 * (9 * 256 + 1)
    convolutions += 384 * (9 * 192 + 1) + 256 * (9 * 192 + 1)
    dense = (3 * 3 * 256 + 1) * 1024 + (1024 + 1) * 1024 + (1024 + 1) * 10
    assert params("alexnet_cifar") == convolutions + dense == 5_721_994
    head = 2 * (512 + 1) * 512 + (512 + 1) * 10
    for column, whole in (("a", 132_863_336), ("d", 138_357_544), ("e", 143_667_240)):
        assert params(f"vgg_{column}_cifar") == whole - 123_642_856 + head
    stem = (7 * 7 - 3 * 3) * 3 * 64 + 64 * 65
    assert params("googlenet_cifar") == 6_998_552 - stem - 990 * 1_025 == 5_971_962
    layers = rows("googlenet_cifar", 32, train=True)
    sides = {n: layers[n].out[0] for n in ("3a", "4a", "aux_4a/pool", "5a")}
    assert sides == {"3a": 16, "4a": 8, "aux_4a/pool": 2, "5a": 4}
    assert [rows("alexnet_cifar", 32)[f"pool{i}"].out[0] for i in (1, 2, 5)] == [15, 7, 3]
    assert rows("vgg_a_cifar", 32)["pool5"].out == (1, 1, 512)


NOT_DEEP = [
    n
    for n in models.MODELS
    if not re.search("1202|1001|101|152|200|resnet_v2$|_c$|_b$|vgg_.*_cifar", n)
]


@pytest.mark.parametrize("name", NOT_DEEP)
def test_every_network_takes_other_images_and_classes(name):
    """48x48 or 320x320 RGB, or what little the LeNets take; 7 classes."""
    if name.startswith("lenet5_1998") or name in ("lenet4", "lenet1", "inception_module"):
        return  # one size in gray; no classes at all
    small = any(k in name for k in ("cifar", "lenet", "mlp", "cnn"))
    side = 48 if small or models.fields(name).get("stem") == "3x3" else 320
    model = models.create(name, num_classes=7)
    found = summary.summarize(model, (side, side, 3))
    assert found[-1].out[2] == 7 and found[-1].type in ("dense", "gap")
    assert all(row.receptive_field and row.memory for row in found)


@pytest.mark.parametrize("name, side", [("alexnet", 50), ("vgg_d", 31), ("googlenet", 64)])
def test_an_image_that_is_too_small_is_an_error_in_words(name, side):
    model = models.create(name)
    with pytest.raises(ValueError, match="image is too small|need maps of 5x5"):
        jax.eval_shape(partial(models.init, model, image_shape=(side, side, 3)), jax.random.key(0))
