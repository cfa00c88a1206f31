"""The statistics of the layers are right, and are logged when they are scheduled."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn_archs import config, models
from cnn_archs.errors import ConfigError
from cnn_archs.experiment import resolve
from cnn_archs.optim import losses
from cnn_archs.training import loop
from cnn_archs.training.build import Member, build_trainer
from cnn_archs.training.layer_stats import make_layer_stats_fn
from cnn_archs.training.seeds import SeedAxis

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2], np.int32)


def prepare(key, images):
    assert key is None  # not augmented
    return images.astype(jnp.float32) / 255


def diagnosed(model, auxiliary=0.0):
    variables = models.init(model, jax.random.key(1), (16, 16, 3))
    loss = losses.create("cross_entropy", smoothing=0.0)
    rows = make_layer_stats_fn(model, loss, prepare, auxiliary)(
        variables, IMAGES, LABELS, jax.random.key(2)
    )
    return variables, {row.pop("name"): row for row in rows}


@pytest.mark.slow
def test_a_residual_network_layer_by_layer():
    model = models.create("resnet20", num_classes=3, width=0.25, blocks=(1, 1), widths=(16, 32))
    variables, rows = diagnosed(model)
    units = [f"conv{s}_1/3x3{half}" for s in (2, 3) for half in "ab"]
    assert list(rows) == ["conv1", *units, "fc"]

    def loss(params):
        heads, _ = model.apply(
            {**variables, "params": params}, prepare(None, IMAGES), train=True,
            mutable=["batch_stats"],
        )  # fmt: skip
        return optax.softmax_cross_entropy_with_integer_labels(heads["logits"], LABELS).mean()

    grads = jax.grad(loss)(variables["params"])
    for name in units:
        unit, layer = name.split("/")
        kernel = np.asarray(grads[unit][layer]["conv"]["kernel"])
        assert rows[name]["gradient_norm"] == pytest.approx(np.sqrt((kernel**2).sum()), rel=1e-5)
    fc = np.asarray(grads["fc"]["kernel"])
    assert rows["fc"] == {"gradient_norm": pytest.approx(np.sqrt((fc**2).sum()), rel=1e-5)}

    # conv1 by hand: with the initial statistics batch norm is a division by sqrt(1 + 1e-5)
    kernel = variables["params"]["conv1"]["conv"]["kernel"]
    sums = jax.lax.conv_general_dilated(
        prepare(None, IMAGES), kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    assert rows["conv1"]["response_sd"] == pytest.approx(float(sums.std()), rel=1e-4)


def test_a_network_without_batch_norm_has_no_responses_to_tell():
    _, rows = diagnosed(models.create("mlp", num_classes=3, hidden=(8, 5)))
    assert len(rows) == 3
    assert {key for row in rows.values() for key in row} == {"gradient_norm"}


def lines(workdir):
    return [json.loads(text) for text in (workdir / "diagnostics.jsonl").read_text().splitlines()]


MLP = ("model.name=mlp", "model.hidden=(8,)", "log_every=50", "diagnose_every=0.4")


@pytest.mark.slow
def test_it_is_logged_from_start_to_end_and_goes_on_where_the_run_does(tmp_path):
    def configured(steps):
        return resolve(config.load_config("lenet5_digits", [*MLP, "seeds=2", f"steps={steps}"]))

    loop.train(configured(30), tmp_path / "whole")
    found = lines(tmp_path / "whole")
    period = 0.4 * 1437 / 32  # 17.96 steps
    at = [0, int(np.ceil(period)), 30]
    assert [(line["step"], line["seed"]) for line in found] == [(s, i) for s in at for i in (0, 1)]
    assert found[0]["epoch"] == 0 and found[-1]["epoch"] == pytest.approx(30 * 32 / 1437)
    assert found[0]["layers"] != found[1]["layers"]
    loop.train(configured(20), tmp_path / "parts")
    loop.train(configured(30), tmp_path / "parts")
    there = lines(tmp_path / "parts")  # which has the end of the shorter run as well
    assert [line for line in there if line["step"] != 20] == found


def test_nothing_is_logged_unless_it_is_asked_for(tmp_path):
    never = config.load_config("lenet5_digits", [*MLP, "diagnose_every=0", "steps=2"])
    loop.train(resolve(never), tmp_path)
    assert not (tmp_path / "diagnostics.jsonl").exists()


def test_seeds_that_are_vmapped_are_diagnosed_alike():
    c = resolve(config.load_config("lenet5_digits", [*MLP, "seeds=2", "steps=2"]))
    alone, together = (
        build_trainer(Member(c), axis=SeedAxis(f)).layer_stats() for f in ("in_turn", "vmapped")
    )
    for a, b in zip(alone, together, strict=True):
        for x, y in zip(a, b, strict=True):
            assert x["name"] == y["name"]
            assert x["gradient_norm"] == pytest.approx(y["gradient_norm"], rel=1e-5)


def test_images_that_are_streamed_are_refused(tmp_path):
    for label in "ab":
        (tmp_path / "train" / label).mkdir(parents=True)
        (tmp_path / "train" / label / "1.jpg").touch()
    keys = ("data.name=image_folder", f"data.data_dir={tmp_path}", "diagnose_every=1")
    with pytest.raises(ConfigError, match="diagnose_every needs a dataset that is held in memory"):
        resolve(config.load_config("resnet_imagenet:18", [*keys, "steps=1"]))
