"""Weights that are kept with a card: made of a run, found by name, used in place of a run."""

import json
import os
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image, ImageDraw
from safetensors.numpy import load_file, save_file

import cnn_archs
from cnn_archs import cli
from cnn_archs.conversion import stored
from cnn_archs.conversion.export import as_dtype
from cnn_archs.errors import ConfigError, DataError
from cnn_archs.evaluate.load import load_run
from cnn_archs.runtime.files import file_sha256
from cnn_archs.shipped import shipped_folder

MNIST = Path(os.environ.get("TFDS_DATA_DIR") or "/nowhere") / "mnist"
SHIPPED = stored.list_weights()
DOCUMENTED = (Path(__file__).parents[2] / "docs" / "weights.md").read_text("utf-8")


def run(*arguments):
    assert cli.main([str(a) for a in arguments]) == 0


def refused(capsys, *arguments, code=2):
    assert cli.main([str(a) for a in arguments]) == code
    err = capsys.readouterr().err
    assert err.count("\n") == 1, err
    return err


@pytest.mark.parametrize("name", SHIPPED)
def test_a_card_is_of_its_file(name):
    path = shipped_folder("weights") / f"{name}.safetensors"
    card = json.loads(path.with_suffix(".json").read_text())
    assert path.stat().st_size < 4e6
    assert (card["name"], card["sha256"], card["dtype"]) == (name, file_sha256(path), "float16")
    assert card["config"]["seeds"] == 1 and card["config"]["seed"] == card["seed"] == 0
    test = card["test"]
    assert abs(test["top1_error_as_stored"] - test["top1_error"]) <= 0.0003
    page = path.with_suffix(".md").read_text()
    for value in (card["sha256"], card["made"]["git_commit"], f"{card['steps']:,}"):
        assert value in page
    for error in (test["top1_error"], test["top1_error_as_stored"]):
        assert f"{100 * error:.2f} %" in page
    assert "/" not in card["data"]["folder"] + card["config"]["data"]["data_dir"]
    (row,) = [line for line in DOCUMENTED.splitlines() if line.startswith(f"| `{name}` |")]
    as_stored = f"{100 * test['top1_error_as_stored']:.2f}"
    assert row.split(" | ")[2:] == [f"{card['params']:,}", f"{as_stored} |"]


def test_shipped_weights_tell_a_drawn_digit(tmp_path, capsys):
    image = Image.new("L", (28, 28))
    ImageDraw.Draw(image).line([(8, 7), (20, 7), (12, 23)], fill=255, width=3)
    image.save(tmp_path / "seven.png")
    run("predict", "--weights=mlp_mnist", tmp_path / "seven.png", "--format=json")
    (found,) = json.loads(capsys.readouterr().out)
    assert found["top"][0]["class"] == "7" and found["top"][0]["probability"] > 0.9


def test_stored_weights_are_called_by_their_name_and_have_their_steps():
    net = cnn_archs.load("lenet5_mnist")
    card = json.loads((shipped_folder("weights") / "lenet5_mnist.json").read_text())
    assert net.step == card["steps"] > 0
    said = f"step {card['steps']}, 'lenet5_mnist')"
    assert repr(net) == f"TrainedNetwork(lenet5 on mnist, {said}"
    with pytest.raises(ConfigError, match="^lenet5_mnist has seeds 0 to 0, not 2$"):
        cnn_archs.load("lenet5_mnist", seed=2)


def test_a_library_loads_them_by_name():
    pixels = np.zeros((2, 28, 28), np.uint8)
    pixels[:, 5:23, 13:16] = 255  # a stroke
    net = cnn_archs.load("lenet5_mnist")
    assert list(net.predict(pixels).names) == ["1", "1"]
    assert net.features(pixels, layer="C5").shape[-1] == 120


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of three steps with a mean and two seeds, and its weights with their card."""
    folder = tmp_path_factory.mktemp("stored")
    tiny = ("--config.model.name=mlp", "--config.model.hidden=(8,)", "--config.data.mean=pixel")
    flags = ("--config=lenet5_digits", *tiny, "--config.seeds=2", "--config.seed=3")
    run("train", *flags, "--config.steps=3", f"--workdir={folder / 'run'}")
    output = folder / "tiny.safetensors"
    run("export", f"--workdir={folder / 'run'}", f"--output={output}", "--dtype=float16", "--card")
    return folder


def test_export_writes_the_first_seed_and_its_card(made):
    card = json.loads((made / "tiny.json").read_text())
    result = json.loads((made / "run/result.json").read_text())
    state = load_file(made / "tiny.safetensors")
    assert {str(v.dtype) for v in state.values()} == {"float16"}
    assert (card["seed"], card["steps"], card["network"]) == (3, 3, "mlp")
    assert card["test"]["top1_error"] == result["test"]["top1_error"][0]
    assert card["made"]["command"] == result["made"]["command"]
    assert "2 seeds side by side" in (made / "tiny.md").read_text()
    trained = load_run(made / "run").seed_variables(0)["params"]
    with stored.run_of_weights(str(made / "tiny.safetensors")) as workdir:
        kept = load_run(workdir).seed_variables(0)["params"]
    assert not workdir.exists()
    rounded = jax.tree.map(lambda x: np.float32(np.float16(x)), trained)
    jax.tree.map(np.testing.assert_array_equal, kept, rounded)


def test_the_error_on_the_card_is_what_evaluate_prints(made, capsys):
    run("evaluate", f"--weights={made / 'tiny.safetensors'}", "--format=json")
    found = json.loads(capsys.readouterr().out)["test"]["top1_error"]
    card = json.loads((made / "tiny.json").read_text())
    assert found == [card["test"]["top1_error_as_stored"]]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("predict", "x.png"), "predict needs --workdir=DIR, the folder of a run, or --weights"),
        (("evaluate", "--weights=a", "--workdir=run"), "takes --workdir or --weights, not both"),
        (("evaluate", "--weights=mlp_mnis"), "did you mean 'mlp_mnist'?"),
        (("evaluate", "--weights=no.safetensors"), "there is no file no.safetensors"),
        (("evaluate", "--weights=alone.safetensors"), "has no card alone.json beside it"),
        (("predict", "--weights=mlp_mnist,mlp_mnist", "x.png"), "takes one run, not several"),
        (("export", "--config=lenet5_digits", "--output=a.safetensors", "--card"), "needs --work"),
        (("export", "--workdir=run", "--output=a.bin", "--card"), "must end in .safetensors"),
        (("export", "--workdir=fresh", "--output=a.safetensors", "--card"), "not trained to its"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(arguments, message, made, monkeypatch, capsys):
    monkeypatch.chdir(made)
    Image.new("L", (8, 8)).save("x.png")
    shutil.copy("tiny.safetensors", "alone.safetensors")
    if not (made / "fresh").exists():
        shutil.copytree("run", "fresh", ignore=lambda *_: ["result.json"])
    assert message in refused(capsys, *arguments)
    assert not (made / "a.safetensors").exists() and not (made / "a.bin").exists()


def test_another_file_or_a_damaged_card_is_one_line_and_exit_3(made, tmp_path, capsys):
    path = tmp_path / "tiny.safetensors"
    sound = json.loads((made / "tiny.json").read_text())
    weights = f"--weights={path}"

    def write(**changes):
        shutil.copy(made / "tiny.safetensors", path)
        (tmp_path / "tiny.json").write_text(json.dumps({**sound, **changes}))

    write()
    state = load_file(path)
    save_file({name: v + np.float16(1) for name, v in state.items()}, path)
    assert "is not the file that its card is of" in refused(capsys, "evaluate", weights, code=3)
    for changes, message in (
        ({"config": 3}, "tiny.json is damaged: config is 3"),
        ({"config": {"model": {"name": "mlp", "hidden": "x"}}}, "tiny.json is damaged"),
        ({"data": {}}, "tiny.json"),
        ({"statistics": {"mean": ["x"]}}, "tiny.json"),
    ):
        write(**changes)
        assert message in refused(capsys, "evaluate", weights, code=3)


def test_a_number_too_large_for_float16_is_refused():
    with pytest.raises(DataError, match="conv1.weight has values that are too large for float16"):
        as_dtype("conv1.weight", np.array([1e6], np.float32), "float16")
    assert as_dtype("bn1.num_batches_tracked", np.array(70000), "float16") == 70000


@pytest.mark.slow
@pytest.mark.skipif(not MNIST.is_dir(), reason="MNIST is not prepared in $TFDS_DATA_DIR")
@pytest.mark.parametrize("name", SHIPPED)
def test_the_error_of_shipped_weights_is_that_on_their_card(name, capsys):
    run("evaluate", f"--weights={name}", "--format=json")
    found = json.loads(capsys.readouterr().out)["test"]
    card = json.loads((shipped_folder("weights") / f"{name}.json").read_text())
    assert found["examples"] == card["test"]["examples"]
    assert found["top1_error"] == pytest.approx([card["test"]["top1_error_as_stored"]], abs=1e-4)
