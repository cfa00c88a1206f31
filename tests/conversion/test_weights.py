"""export and import: torch's names and layouts, both ways, bit for bit; misfits in one line."""

import json
import re
import struct
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
import torch
import torch_reference as reference
from flax.traverse_util import flatten_dict
from PIL import Image
from safetensors.numpy import load_file, save_file
from safetensors.torch import load_file as load_torch

import cnn_archs
from cnn_archs import cli, models
from cnn_archs.conversion import file_network, option_a, torch_layout
from cnn_archs.errors import ConfigError, DataError
from cnn_archs.models import resnet
from cnn_archs.runtime.compiler_options import fast_compile_options
from cnn_archs.training import weights_file

# torchvision's and akamaster's own names, from their sources: (model, image side, some of them).
NAMES = {
    ("alexnet_owt", 224): {
        "features.0.weight": [64, 3, 11, 11],
        "features.3.bias": [192],
        "features.10.weight": [256, 256, 3, 3],
        "classifier.1.weight": [4096, 9216],
        "classifier.6.bias": [1000],
    },
    ("vgg_d", 224): {
        "features.0.weight": [64, 3, 3, 3],
        "features.28.weight": [512, 512, 3, 3],
        "classifier.0.weight": [4096, 25088],
        "classifier.6.weight": [1000, 4096],
    },
    ("vgg_e_bn", 224): {
        "features.49.weight": [512, 512, 3, 3],
        "features.49.bias": [512],
        "features.50.running_mean": [512],
        "features.50.num_batches_tracked": [],
        "classifier.3.weight": [4096, 4096],
    },
    ("googlenet_torchvision", 224): {
        "conv1.conv.weight": [64, 3, 7, 7],
        "conv1.bn.running_var": [64],
        "conv3.conv.weight": [192, 64, 3, 3],
        "inception3a.branch1.conv.weight": [64, 192, 1, 1],
        "inception4b.branch2.0.bn.bias": [112],
        "inception5b.branch3.1.conv.weight": [128, 48, 3, 3],
        "inception4e.branch4.1.conv.weight": [128, 528, 1, 1],
        "aux1.conv.conv.weight": [128, 512, 1, 1],
        "aux1.fc1.weight": [1024, 2048],
        "aux2.fc2.bias": [1000],
        "fc.weight": [1000, 1024],
    },
    ("resnet18", 224): {
        "conv1.weight": [64, 3, 7, 7],
        "bn1.running_mean": [64],
        "layer1.0.conv2.weight": [64, 64, 3, 3],
        "layer2.0.downsample.0.weight": [128, 64, 1, 1],
        "layer2.0.downsample.1.num_batches_tracked": [],
        "layer4.1.bn2.weight": [512],
        "fc.bias": [1000],
    },
    ("resnet50_v1_5", 224): {
        "layer1.0.downsample.0.weight": [256, 64, 1, 1],
        "layer3.5.conv3.weight": [1024, 256, 1, 1],
        "layer4.2.bn3.running_var": [2048],
    },
    ("resnet20", 32): {
        "conv1.weight": [16, 3, 3, 3],
        "bn1.bias": [16],
        "layer3.2.bn2.weight": [64],
        "linear.weight": [10, 64],
    },
    ("resnet20_b", 32): {
        "layer2.0.shortcut.0.weight": [32, 16, 1, 1],
        "layer2.0.shortcut.1.running_mean": [32],
    },
    ("inception_v3", 299): {
        "Conv2d_1a_3x3.conv.weight": [32, 3, 3, 3],
        "Mixed_5b.branch5x5_2.bn.running_mean": [64],
        "Mixed_6b.branch7x7_2.conv.weight": [128, 128, 1, 7],
        "AuxLogits.fc.weight": [1000, 768],
    },
}
# All tensors of a state dict, counters included: weights and biases, and 5 for each norm.
TENSORS = {
    "alexnet_owt": 2 * 8,
    "vgg_d": 2 * 16,
    "vgg_e_bn": 2 * 19 + 5 * 16,
    "googlenet_torchvision": 6 * (3 + 9 * 6 + 2) + 2 * (1 + 2 * 2),
    "resnet18": 6 * (1 + 8 * 2 + 3) + 2,
    "resnet50_v1_5": 6 * (1 + 16 * 3 + 4) + 2,
    "resnet20": 6 * 19 + 2,
    "resnet20_b": 6 * (19 + 2) + 2,
    "inception_v3": 6 * 96 + 2 * 2,
}


def listed(name, side):
    found = torch_layout.tensors(models.create(name), (side, side, 3))
    shapes = {t.name: list(t.torch_shape) for t in found}
    counters = {n.replace("running_mean", torch_layout.COUNTER) for n in shapes if "mean" in n}
    return shapes | {n: [] for n in counters}


LARGE = ("inception_v3", "resnet50_v2", "googlenet_separable_bn", "googlenet_naive", "resnet110_v2")


@pytest.mark.parametrize(
    "name, side",
    [pytest.param(*n, marks=pytest.mark.slow if n[0] in LARGE else ()) for n in NAMES],
)
def test_the_names_and_shapes_are_torchs(name, side):
    found = listed(name, side)
    assert NAMES[name, side].items() <= found.items()
    assert len(found) == TENSORS[name]


# One network of each kind, narrow: (model, fields, image side).
SMALL: dict[str, tuple[str, dict[str, Any], int]] = {
    "alexnet": ("alexnet", dict(width=0.05), 99),
    "vgg_c": ("vgg_c", dict(width=0.05), 64),
    "vgg_a_bn": ("vgg_a_bn", dict(width=0.05), 64),
    "googlenet": ("googlenet", dict(width=0.1), 64 + 32),
    "googlenet_naive": ("googlenet", dict(width=0.1, module="naive"), 64 + 32),
    "googlenet_separable_bn": ("googlenet_separable", dict(width=0.1, batch_norm=True), 96),
    "resnet50": ("resnet50", dict(width=0.1), 64),
    "resnet50_v2": ("resnet50_v2", dict(width=0.1, scan_blocks=True), 64),
    "plain20": ("plain20", dict(width=0.5), 32),
    "resnet110_v2": ("resnet110_v2", dict(width=0.5, scan_blocks=True), 32),
    "inception_v3": ("inception_v3", dict(width=0.1), 299),
    "mlp": ("mlp", dict(hidden=(5, 4)), 8),
    "cnn": ("cnn", dict(widths=(3, 4), hidden=5), 8),
    "lenet5": ("lenet5", dict(widths=(2, 3, 5, 4)), 32),
    "lenet5_1998": ("lenet5_1998", {}, 32),
    "four_layers": ("four_layers", {}, 32),
    "zfnet": ("zfnet", dict(width=0.05), 96),
}
COLORS = dict.fromkeys(("lenet5_1998", "lenet5_1998_eblearn", "lenet4", "lenet1"), 1)


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=pytest.mark.slow) if k in LARGE else k for k in SMALL]
)
def test_there_and_back_keeps_every_bit(kind, tmp_path):
    name, fields, side = SMALL[kind]
    there_and_back(models.create(name, **fields), (side, side, COLORS.get(name, 3)), tmp_path)


# The networks that SMALL has not, as narrow as they can be.
SIDES = {
    "alexnet": 99,
    "zfnet": 96,
    "vgg": 64,
    "googlenet": 96,
    "resnet": 64,
    "inception": 299,
    "lenet1": 28,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", models.MODELS)
def test_every_network_goes_there_and_back(name, tmp_path):
    small = name.endswith("_cifar") or "3x3" in (models.fields(name).get("stem"),)
    side = next((s for kind, s in SIDES.items() if name.startswith(kind)), 32)
    side = 32 if small else side
    narrow = {"width": 0.05} if "width" in models.fields(name) else {}
    there_and_back(models.create(name, **narrow), (side, side, COLORS.get(name, 3)), tmp_path)


def there_and_back(model, image, tmp_path):
    shapes = models.shapes(model, image).variables
    random = np.random.default_rng(0)
    variables = jax.tree.map(lambda s: random.normal(size=s.shape).astype(s.dtype), shapes)
    state = torch_layout.to_state_dict(model, image, variables, step=7)
    if option_a.has_akamasters_maps(model):
        theirs = option_a.to_akamasters(model, state)
        back = option_a.from_akamasters(model, theirs)
        assert {k: v.tobytes() for k, v in back.items()} == {
            k: v.tobytes() for k, v in state.items()
        }
        assert any(not np.array_equal(theirs[k], state[k]) for k in state)
    save_file(state, tmp_path / "x.safetensors")
    back = torch_layout.from_state_dict(model, image, load_file(tmp_path / "x.safetensors"))
    expected = {path: v.tobytes() for path, v in flatten_dict(variables).items()}
    assert {path: np.asarray(v).tobytes() for path, v in flatten_dict(back).items()} == expected
    counters = {int(v) for n, v in state.items() if n.endswith(torch_layout.COUNTER)}
    assert counters == ({7} if variables["batch_stats"] else set())


def test_stack_is_the_inverse_of_unstack():
    model, image = models.create("resnet20", scan_blocks=True), (32, 32, 3)
    shapes = models.shapes(model, image).variables
    random = np.random.default_rng(0)
    variables = jax.tree.map(lambda s: random.normal(size=s.shape).astype(s.dtype), shapes)
    unrolled = resnet.unstack(variables)
    assert {"conv3_2", "conv3_3"} <= set(unrolled["params"])
    jax.tree.map(np.testing.assert_array_equal, resnet.stack(unrolled), variables)


# --- The commands --------------------------------------------------------------------------------

RESNET = (
    *("--config=lenet5_digits", "--config.model.name=resnet20", "--config.model.width=0.25"),
    *("--config.model.blocks=(1,2,1)", "--config.data.batch_size=8"),
)


def run(*arguments):
    assert cli.main([str(a) for a in arguments]) == 0


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A file of random weights, and a run that was made of it."""
    folder = tmp_path_factory.mktemp("weights")
    run("export", *RESNET, f"--output={folder / 'a.safetensors'}")
    run("import", folder / "a.safetensors", *RESNET, f"--workdir={folder / 'run'}")
    return folder


def test_an_experiment_is_exported_with_the_weights_it_would_begin_with(exported):
    state = load_file(exported / "a.safetensors")
    key, _ = jax.random.split(jax.random.key(0))
    model = models.create("resnet20", width=0.25, blocks=(1, 2, 1))
    init = partial(models.init, model, image_shape=(32, 32, 1))
    variables = jax.jit(init, compiler_options=fast_compile_options())(key)
    conv1 = np.asarray(variables["params"]["conv1"]["conv"]["kernel"])
    np.testing.assert_array_equal(state["conv1.weight"], conv1.transpose(3, 2, 0, 1))


def test_what_is_imported_is_exported_again_byte_for_byte(exported):
    run("export", f"--workdir={exported / 'run'}", f"--output={exported / 'b.safetensors'}")
    files = [(exported / f"{name}.safetensors").read_bytes() for name in "ab"]
    assert files[0] == files[1]


def test_torch_computes_the_same_from_the_file(exported):
    loaded = cnn_archs.load(exported / "run")
    weights = load_torch(exported / "a.safetensors")
    images = np.random.default_rng(0).uniform(size=(4, 32, 32, 1)).astype(np.float32)
    ours = jax.jit(partial(loaded.model.apply, train=False))(loaded.variables, images)["logits"]
    theirs, _ = reference.cifar_resnet(
        weights,
        torch.tensor(images).movedim(3, 1),
        train=False,
        blocks=(1, 2, 1),
        zeros_around=True,
    )
    np.testing.assert_allclose(ours, theirs["logits"], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_an_imported_network_is_evaluated_and_trained_on(exported, capsys):
    workdir = exported / "run"
    run("evaluate", f"--workdir={workdir}", "--format=json")
    result = json.loads(capsys.readouterr().out)
    assert result["steps"] == 0 and result["test"]["examples"] == 360
    before = cnn_archs.load(workdir).variables["params"]["conv1"]["conv"]["kernel"]
    run("train", *RESNET, f"--workdir={workdir}", "--config.steps=2")
    after = cnn_archs.load(workdir)
    assert after.step == 2
    distance = np.abs(np.asarray(after.variables["params"]["conv1"]["conv"]["kernel"]) - before)
    assert 0 < distance.max() < 0.1  # from there on, not from new random weights
    run("export", f"--workdir={workdir}", f"--output={exported / 'c.safetensors'}")
    assert load_file(exported / "c.safetensors")["bn1.num_batches_tracked"] == 2


@pytest.mark.slow
def test_one_view_of_another_size_has_a_name_of_its_own(exported, document_of):
    workdir = f"--workdir={exported / 'run'}"
    own = document_of("evaluate", workdir)
    same, larger = (document_of("evaluate", workdir, f"--size={s}") for s in (32, 40))
    assert own["protocol"] == "single" and "scales" not in own
    assert (same["protocol"], same["views"], same["scales"]) == ("single_32", 1, [32])
    assert (larger["protocol"], larger["views"], larger["scales"]) == ("single_40", 1, [40])
    assert same["test"]["top1_error"] == own["test"]["top1_error"]
    assert same["test"]["loss"] == pytest.approx(own["test"]["loss"], rel=1e-4)
    assert larger["test"]["loss"] != pytest.approx(own["test"]["loss"], rel=1e-3)


@pytest.mark.slow
def test_an_imported_imagenet_network_tells_classes(tmp_path, capsys):
    """No ImageNet is there: the size of its images is the network's, and no mean is taken off."""
    narrow = ("--config=resnet_imagenet:18", "--config.model.width=0.1", "--config.data.mean=none")
    run("export", *narrow, f"--output={tmp_path / 'a.safetensors'}")
    run("import", tmp_path / "a.safetensors", *narrow, f"--workdir={tmp_path / 'run'}")
    Image.new("RGB", (300, 200), (200, 30, 30)).save(tmp_path / "red.png")
    capsys.readouterr()
    run("predict", f"--workdir={tmp_path / 'run'}", tmp_path / "red.png", "--format=json")
    (prediction,) = json.loads(capsys.readouterr().out)
    assert len(prediction["top"]) == 5 and 0 <= prediction["top"][0]["label"] < 1000


def edit(state, what):
    """`state` with one thing wrong with it."""
    state = dict(state)
    if what == "missing":
        del state["layer2.1.conv2.weight"]
    elif what == "more":
        state["layer2.9.conv1.weight"] = state["layer2.1.conv1.weight"]
    elif what == "shape":
        state["linear.weight"] = state["linear.weight"].T.copy()
    elif what == "dtype":
        state["layer1.0.bn1.bias"] = state["layer1.0.bn1.bias"].astype(np.int32)
    elif what == "nan":
        state["bn1.running_var"] = np.full_like(state["bn1.running_var"], np.nan)
    return state


# --- Which network a file is of ------------------------------------------------------------------


def section(name, **fields):
    """Return the section `model` of a config.json."""
    return json.loads(json.dumps({"name": name, **models.fields(name), **fields}))


@pytest.mark.parametrize(
    "of_file, here",
    [
        (section("resnet50"), section("resnet50", dtype="bfloat16", num_classes=7, remat=True)),
        (section("resnet50", stride_in="3x3"), section("resnet50_v1_5")),
        (section("alexnet", dropout=0.1), section("alexnet", initializer="he")),
    ],
)
def test_metadata_of_the_same_network_fit(of_file, here):
    file_network.check_same_network(file_network.metadata(of_file), here, "x")


@pytest.mark.parametrize(
    "of_file, here, message",
    [
        (
            section("resnet50"),
            section("resnet50_v1_5"),
            "of resnet50, not of resnet50_v1_5, by its metadata: --config.model.name=resnet50",
        ),
        (
            section("vgg_a_lrn", width=0.5),
            section("vgg_a"),
            "--config.model.name=vgg_a_lrn --config.model.width=0.5",
        ),
        (
            section("alexnet", lrn=False, activation="tanh"),
            section("alexnet"),
            "of another alexnet, by its metadata: --config.model.activation=tanh "
            "--config.model.lrn=False",
        ),
        (section("resnet20", width=0.5), section("resnet20"), "--config.model.width=0.5"),
        ({"name": "resnet21"}, section("resnet20"), "no value 'resnet21'; did you mean 'resnet"),
    ],
)
def test_metadata_of_another_network_are_refused_with_the_way(of_file, here, message):
    with pytest.raises(ConfigError) as e:
        file_network.check_same_network(file_network.metadata(of_file), here, "x")
    assert message in str(e.value)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"network": "resnet20", "fields": 3}', "{}"])
def test_damaged_metadata_are_an_error(text):
    with pytest.raises(DataError, match="x is damaged: its metadata 'cnn_archs' name no network"):
        file_network.check_same_network({"cnn_archs": text}, section("resnet20"), "x")


V1 = ("resnet50", "resnet101", "resnet152")
NO_QUESTION = ("resnet50_v1_5", "resnet18", "resnet34", "resnet50_v2", "resnet20", "resnet50_a")


@pytest.mark.parametrize("name", V1)
def test_torchvisions_names_are_not_enough_for_the_strides_of_v1(name):
    message = f"torchvision's strides are those of {name}_v1_5: --config.model.stride_in=3x3"
    with pytest.raises(ConfigError, match=message):
        file_network.check_strides(models.create(name, width=0.5), "", "x")
    file_network.check_strides(models.create(name), "v1", "x")


@pytest.mark.parametrize("name", NO_QUESTION)
def test_no_other_network_has_to_say_its_strides(name):
    file_network.check_strides(models.create(name), "", "x")


def test_a_file_of_torchvision_is_imported_once_its_strides_are_said(tmp_path, capsys):
    tiny = [
        *("--config=lenet5_digits", "--config.model.name=resnet50", "--config.model.width=0.05"),
        *("--config.model.blocks=(1,1)", "--config.model.widths=(64,128)"),
    ]
    run("export", *tiny, f"--output={tmp_path / 'ours.safetensors'}")
    save_file(load_file(tmp_path / "ours.safetensors"), tmp_path / "theirs.safetensors")
    theirs = ["import", str(tmp_path / "theirs.safetensors"), *tiny]
    assert cli.main([*theirs, f"--workdir={tmp_path / 'a'}"]) == 2
    assert "torchvision's strides are those of resnet8_v1_5" in capsys.readouterr().err
    run(*theirs, f"--workdir={tmp_path / 'a'}", "--strides=v1")
    assert not (tmp_path / "b").exists()
    run("import", tmp_path / "ours.safetensors", *tiny, f"--workdir={tmp_path / 'b'}")


def test_a_file_that_does_not_say_its_network_gets_torchvisions_first_pool(tmp_path, capsys):
    """The experiment's own pool is the authors'; a file that says it has that keeps it."""
    tiny = [
        *("--config=resnet_imagenet:18", "--config.model.width=0.05", "--config.data.mean=none"),
        *("--config.model.blocks=(1,)", "--config.model.widths=(64,)"),
    ]
    run("export", *tiny, f"--output={tmp_path / 'ours.safetensors'}")
    save_file(load_file(tmp_path / "ours.safetensors"), tmp_path / "theirs.safetensors")
    capsys.readouterr()
    found = {}
    for name, more in (
        ("ours", ()),
        ("theirs", ()),
        ("stated", ("--config.model.pool1=overhanging",)),
    ):
        file = tmp_path / f"{'ours' if name == 'ours' else 'theirs'}.safetensors"
        run("import", file, *tiny, *more, f"--workdir={tmp_path / name}")
        config = json.loads((tmp_path / name / "config.json").read_text())
        found[name] = (
            config["model"]["pool1"],
            "the first pool is padded" in capsys.readouterr().err,
        )
    assert found == {
        "ours": ("overhanging", False),
        "theirs": ("padded", True),
        "stated": ("overhanging", False),
    }


# --- A new head ----------------------------------------------------------------------------------


def test_another_number_of_classes_needs_a_new_head(exported, tmp_path, capsys):
    more = (*RESNET, "--config.model.num_classes=12")
    arguments = ["import", str(exported / "a.safetensors"), *more, f"--workdir={tmp_path / 'run'}"]
    assert cli.main(arguments) == 2
    err = capsys.readouterr().err
    assert "linear.bias is float32[10], wanted float32[12]; --new_head gives" in err
    assert "a new head" in err and "--config.model.num_classes=10" in err
    run(*arguments, "--new_head")
    ours, theirs = cnn_archs.load(tmp_path / "run").variables, load_file(exported / "a.safetensors")
    head = ours["params"]["fc"]
    assert head["kernel"].shape == (16, 12) and np.asarray(head["kernel"]).std() > 0.1
    assert not np.asarray(head["bias"]).any()
    conv1 = np.asarray(ours["params"]["conv1"]["conv"]["kernel"])
    np.testing.assert_array_equal(conv1.transpose(3, 2, 0, 1), theirs["conv1.weight"])


def test_a_file_without_a_last_layer_gets_a_new_one(exported, tmp_path, capsys):
    state = {k: v for k, v in load_file(exported / "a.safetensors").items() if "linear" not in k}
    save_file({f"module.{k}": v for k, v in state.items()}, tmp_path / "x.safetensors")
    arguments = [
        "import",
        str(tmp_path / "x.safetensors"),
        *RESNET,
        f"--workdir={tmp_path / 'run'}",
    ]
    assert cli.main(arguments) == 2
    assert "linear.bias is missing: wanted float32[10]; --new_head" in capsys.readouterr().err
    run(*arguments, "--new_head")
    err = capsys.readouterr().err
    assert "note: the prefix module. is taken off" in err and "akamaster's" in err


@pytest.mark.parametrize("name, side", [("googlenet", 96), ("inception_v3", 299), ("mlp", 8)])
def test_the_head_is_every_layer_whose_shape_has_the_number_of_classes(name, side):
    narrow: dict[str, Any] = {} if name == "mlp" else {"width": 0.1}
    model = models.create(name, **narrow)
    found = {path[1:] for path in models.head_paths(model, (side, side, 3))}
    layers: dict[str, list[tuple[str, ...]]] = {
        "googlenet": [("aux_4a", "fc2"), ("aux_4d", "fc2"), ("fc",)],
        "inception_v3": [("AuxLogits", "fc"), ("fc",)],
        "mlp": [("fc2",)],
    }
    assert found == {(*layer, leaf) for layer in layers[name] for leaf in ("kernel", "bias")}
    assert not models.head_paths(models.create("lenet5_1998"), (32, 32, 1))


@pytest.mark.parametrize(
    "what, message",
    [
        ("missing", r"layer2.1.conv2.weight is missing: wanted float32\[8, 8, 3, 3\]"),
        ("more", r"layer2.9.conv1.weight, float32\[8, 8, 3, 3\], is not a tensor of this network"),
        ("shape", r"linear.weight is float32\[16, 10\], wanted float32\[10, 16\]"),
        ("dtype", r"layer1.0.bn1.bias is int32\[4\], wanted float32\[4\]"),
        ("nan", "bn1.running_var has values that are not finite"),
    ],
)
def test_a_misfit_is_one_line_that_names_the_first_tensor(
    what, message, exported, tmp_path, capsys
):
    path = tmp_path / "x.safetensors"
    save_file(edit(load_file(exported / "a.safetensors"), what), path)
    assert cli.main(["import", str(path), *RESNET, f"--workdir={tmp_path / 'run'}"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and re.search(message, err), err
    assert not (tmp_path / "run").exists()


def damaged(sound):
    """Files that are no valid safetensors."""
    header = struct.unpack("<Q", sound[:8])[0]
    yield b""
    yield b"PK" + bytes(100)  # a zip, as torch.save writes
    yield sound[:-1]
    yield sound + b"x"
    yield sound[: 8 + header // 2]
    yield struct.pack("<Q", 1 << 60) + sound[8:]
    yield sound[:8] + b"[" + sound[9:]
    yield sound.replace(b'"F32"', b'"F99"', 1)


def test_a_damaged_file_is_one_line_and_exit_3(exported, tmp_path, capsys):
    for content in damaged((exported / "a.safetensors").read_bytes()):
        path = tmp_path / "x.safetensors"
        path.write_bytes(content)
        assert cli.main(["import", str(path), *RESNET, f"--workdir={tmp_path / 'run'}"]) == 3
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and "not a valid safetensors file" in err, err


def header(name: str, kind: str, start: int, end: int, shape: list[int]) -> dict[str, Any]:
    return {name: {"dtype": kind, "shape": shape, "data_offsets": [start, end]}}


HOSTILE = {
    "a type that is none": header("a", "F7", 0, 8, [2]),
    "a type that numpy has not": header("a", "F8_E4M3", 0, 8, [8]),
    "half a byte": header("a", "F4", 0, 4, [8]),
    "overlapping": header("a", "F32", 0, 8, [2]) | header("b", "F32", 4, 8, [1]),
    "too many values": header("a", "F32", 0, 8, [2**40, 2**40]),
    "too many of no values": header("a", "F32", 0, 0, [2**62, 0]),
    "too many axes": header("a", "F32", 0, 4, [1] * 100),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_header_is_one_line(kind, tmp_path):
    text = json.dumps(HOSTILE[kind]).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    with pytest.raises(DataError, match="x.safetensors is not a valid safetensors file: .+"):
        weights_file.read_safetensors(path)
    path.write_bytes(struct.pack("<Q", 2**62) + text + bytes(8))
    with pytest.raises(DataError, match="x.safetensors is not a valid safetensors file: .+"):
        weights_file.read_safetensors(path)


def test_escapes_in_the_name_of_a_tensor_do_not_reach_the_terminal(tmp_path, capsys):
    path = tmp_path / "x.safetensors"
    save_file({"\x1b]0;title\x07\nerror: b": np.zeros(2, np.float32)}, path)
    assert cli.main(["import", str(path), *RESNET, f"--workdir={tmp_path / 'run'}"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "\\x1b]0;title\\x07\\nerror: b" in err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("export", "--output=x"), "either --workdir=DIR (a trained run) or --config=EXPERIMENT"),
        (("export", *RESNET, "--workdir=run", "--output=x"), "export needs either"),
        (
            ("export", "--workdir=run", "--config.seed=1", "--output=x"),
            "it takes no --config.seed=1",
        ),
        (("export", "--workdir=nowhere", "--output=x"), "there is no run in nowhere"),
        (("export", *RESNET, "--output=no/x"), "there is no folder"),
        (("import", "nowhere", *RESNET, "--workdir=w"), "there is no file nowhere"),
        (("import", "a.safetensors", *RESNET), "import needs --workdir=DIR"),
        (("import", "a.safetensors", "--workdir=w"), "import needs --config=EXPERIMENT"),
        (("import", "a.safetensors", *RESNET, "--workdir=left"), "left holds a run already"),
        (
            ("import", "a.safetensors", *RESNET, "--workdir=w", "--config.schedule.name=piecewise")
            + ("--config.schedule.factors=(1.0,)",),
            "config: ",
        ),
        (("export", *RESNET, "--output=run"), "--output=run is a folder"),
        (("export", *RESNET, "--output=x"), "must end in .safetensors, as in --output=x.safete"),
        (("export", *RESNET, "--output=../x.pth"), "as in --output=../x.safetensors"),
        (("export", *RESNET, "--output=x.safetensors.pt"), "as in --output=x.safetensors"),
        (("augment", "--output=x.jpg"), "--output=x.jpg: the name of the file must end in .png"),
        (("predict", "--workdir=run", "run", "--sheet=x.pdf"), "as in --sheet=x.png"),
        (("report", "run", "-ox.pdf"), "as in --output=x.html"),
        (("classical", "linear", "--output=x.npz"), "as in --output=x.json"),
        (
            ("export", "--config=vgg_imagenet", "--config.model.column=F", "--output=x"),
            "model.column=F: must be A,",
        ),
        (("import", "a.safetensors", *RESNET, "--workdir=run"), "run holds a run already"),
        (("import", "a.safetensors", *RESNET, "--workdir=w", "--config.seeds=2"), "one network"),
        (
            ("import", "a.safetensors", "--config=lenet5_digits", "--workdir=w"),
            "a.safetensors holds the weights of resnet20, not of lenet5, by its metadata: "
            "--config.model.name=resnet20 --config.model.blocks=1,2,1 --config.model.width=0.25",
        ),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(arguments, message, exported, monkeypatch, capsys):
    monkeypatch.chdir(exported)
    (exported / "left/checkpoints/0").mkdir(parents=True, exist_ok=True)  # by a killed import
    assert cli.main(list(arguments)) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and message in err, err
    assert not (exported / "x").exists() and not (exported / "w").exists()
