"""Compare the recalibrated statistics of batch normalization with numpy."""

import sys
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import pytest
from jax.sharding import AxisType

sys.path.insert(0, str(Path(__file__).parent))

import drawn

from cnn_archs import models
from cnn_archs.data.loading import sampler
from cnn_archs.data.transforms import crops
from cnn_archs.errors import ConfigError
from cnn_archs.evaluate import recalibrate_bn
from cnn_archs.models.layers import BatchNorm

MESH = jax.make_mesh((1, 1), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
SEED = 3


class Twice(models.Network):
    """A network that normalizes, applies ReLU and normalizes again."""

    bn_group: int = 2

    @nn.compact
    def __call__(self, image, *, train):
        x = nn.relu(BatchNorm(self.bn_group, name="first")(image, train=train))
        x = BatchNorm(self.bn_group, name="second")(x, train=train)
        return {"logits": x.mean((1, 2))}


def by_hand(images, batches):
    """Return the mean over the batches of (mean, var) of both layers, in float64."""
    found = []
    for batch in np.split(images.astype(np.float64), batches):
        mean, var = batch.mean((0, 1, 2)), batch.var((0, 1, 2))
        x = np.maximum((batch - mean) / np.sqrt(var + 1e-5), 0)
        found.append([mean, var, x.mean((0, 1, 2)), x.var((0, 1, 2))])
    return np.mean(found, 0)


def variables_of(model):
    variables = models.init(model, jax.random.key(0), (16, 16, 3))
    trained = jax.tree.map(lambda x: x + 0.3, variables["batch_stats"])
    return {**variables, "batch_stats": trained}


@pytest.mark.parametrize("is_resident", [True, False])
def test_statistics_are_the_mean_of_those_of_batches(is_resident):
    crop = crops.create("none", drawn.OUT)
    pictures = [np.asarray(p)[:16, :16] for p in drawn.pictures(30)]
    data = drawn.resident(pictures) if is_resident else drawn.streamed(pictures)
    net = drawn.network(crop, resident=is_resident, mean="none", model=Twice())
    prepare = net.inputs.make_preprocess({})
    variables = variables_of(net.model)
    found = recalibrate_bn.recalibrate(net, [variables] * 2, data, prepare, (3, 8), SEED, MESH)
    shown = np.stack(pictures)[sampler.indices(30, SEED, 0, 24)] / 255
    mean1, var1, mean2, var2 = by_hand(shown, 3)
    for v in found:
        stats = v["batch_stats"]
        np.testing.assert_allclose(stats["first"]["mean"], mean1, atol=1e-5)
        np.testing.assert_allclose(stats["first"]["var"], var1, atol=1e-5)
        np.testing.assert_allclose(stats["second"]["mean"], mean2, atol=1e-5)
        np.testing.assert_allclose(stats["second"]["var"], var2, atol=1e-5)
        assert v["params"] is variables["params"]


def test_another_image_takes_the_place_of_a_damaged_one():
    crop = crops.create("none", drawn.OUT)
    pictures = [np.asarray(p)[:16, :16] for p in drawn.pictures(12)]
    data = drawn.streamed(pictures, damaged=(4,), on_corrupt="skip")
    net = drawn.network(crop, resident=False, mean="none", model=Twice())
    found = recalibrate_bn.recalibrate(
        net, [variables_of(net.model)], data, net.inputs.make_preprocess({}), (1, 12), SEED, MESH
    )
    index = sampler.indices(12, SEED, 0, 12)
    first = index[0] if index[0] != 4 else index[1]
    shown = np.stack(pictures)[np.where(index == 4, first, index)] / 255
    np.testing.assert_allclose(
        found[0]["batch_stats"]["first"]["mean"], by_hand(shown, 1)[0], atol=1e-5
    )


@pytest.mark.parametrize(
    "images, batch_size, batches",
    [(1000, 250, (4, 250)), (1000, 300, (4, 250)), (1001, 250, (5, 200)), (7, 250, (1, 7))],
)
def test_batches_are_equal_and_no_larger_than_asked(images, batch_size, batches):
    assert recalibrate_bn.choose_batches(images, 5000, batch_size, MESH) == batches


def test_more_images_than_there_are_is_an_error():
    with pytest.raises(ConfigError, match="--precise_stats=5001.*5,000"):
        recalibrate_bn.choose_batches(5001, 5000, 250, MESH)


def test_a_network_without_batch_normalization_is_an_error():
    net = drawn.network(crops.create("none", drawn.OUT), resident=True, mean="none")
    variables: dict[str, Any] = {"params": {}, "batch_stats": {}}
    data, prepare = drawn.resident(list(drawn.pictures(1))), net.inputs.make_preprocess({})
    with pytest.raises(ConfigError, match="no batch normalization"):
        recalibrate_bn.recalibrate(net, [variables], data, prepare, (1, 1), SEED, MESH)
