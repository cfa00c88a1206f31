"""ZFNet: figure 3's sizes, counts by hand, and the same network in torch.nn.functional."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from compare_torch import assert_torch_agrees

from cnn_archs import models
from cnn_archs.models import summary
from cnn_archs.models.pooling import MaxPool
from cnn_archs.runtime.compiler_options import fast_compile_options

F = torch.nn.functional
IMAGE = (224, 224, 3)

# fmt: off
LAYERS = [  # figure 3
    # name, type, window, out (H, W, C), parameters, multiply-adds
    ("conv1", "conv",    "7x7/2", (110, 110, 96), 96 * (3 * 49 + 1),       110 * 110 * 96 * 3 * 49),
    ("pool1", "maxpool", "3x3/2", (55, 55, 96),   0,                       0),
    ("lrn1",  "lrn",     "",      (55, 55, 96),   0,                       0),
    ("conv2", "conv",    "5x5/2", (26, 26, 256),  256 * (96 * 25 + 1),     26 * 26 * 256 * 96 * 25),
    ("pool2", "maxpool", "3x3/2", (13, 13, 256),  0,                       0),
    ("lrn2",  "lrn",     "",      (13, 13, 256),  0,                       0),
    ("conv3", "conv",    "3x3/1", (13, 13, 384),  384 * (256 * 9 + 1),     13 * 13 * 384 * 256 * 9),
    ("conv4", "conv",    "3x3/1", (13, 13, 384),  384 * (384 * 9 + 1),     13 * 13 * 384 * 384 * 9),
    ("conv5", "conv",    "3x3/1", (13, 13, 256),  256 * (384 * 9 + 1),     13 * 13 * 256 * 384 * 9),
    ("pool5", "maxpool", "3x3/2", (6, 6, 256),    0,                       0),
    ("fc6",   "dense",   "",      (1, 1, 4096),   4096 * (6 * 6 * 256 + 1), 4096 * 6 * 6 * 256),
    ("fc7",   "dense",   "",      (1, 1, 4096),   4096 * (4096 + 1),       4096 * 4096),
    ("fc8",   "dense",   "",      (1, 1, 1000),   1000 * (4096 + 1),       1000 * 4096),
]
# fmt: on
SEES = {  # side, pixels between neighbors, the first pixel
    "conv1": (7, 2, -1),
    "pool1": (7 + 2 * 2, 4, -1),
    "conv2": (11 + 4 * 4, 8, -1),
    "pool2": (27 + 2 * 8, 16, -1),
    "conv3": (43 + 2 * 16, 16, -1 - 16),
    "conv4": (75 + 2 * 16, 16, -17 - 16),
    "conv5": (107 + 2 * 16, 16, -33 - 16),
    "pool5": (139 + 2 * 16, 32, -49),
    "fc6": (171 + 5 * 32, 32, -49),
}


def rows(**fields):
    return summary.summarize(models.create("zfnet", **fields), IMAGE)


# --- Counts and sizes ----------------------------------------------------------------------------


def test_every_layer_of_figure_3():
    found = [(r.name, r.type, r.window, r.out, r.params, r.macs) for r in rows()]
    assert found == LAYERS
    convolutions = 14_208 + 614_656 + 885_120 + 1_327_488 + 884_992
    dense = 37_752_832 + 16_781_312 + 4_097_000
    totals = summary.totals(rows())
    assert totals["params"] == convolutions + dense == 62_357_608
    convolutions = 170_755_200 + 415_334_400 + 149_520_384 + 224_280_576 + 149_520_384
    assert totals["macs"] == convolutions + 37_748_736 + 16_777_216 + 4_096_000 == 1_168_032_896


def test_what_an_output_sees():
    """Ren et al. 2015, section 3.1: a 3x3 window on ZF's conv5, here pool5's, sees 171 pixels."""
    found = {r.name: (r.receptive_field, r.stride, r.offset) for r in rows()}
    assert {layer: found[layer] for layer in SEES} == SEES
    assert found["pool5"][0] == 171


@pytest.mark.parametrize(
    "fields, sides",
    [
        (dict(ceil=True), (55, 13, 6)),  # as printed
        (dict(padding=1), (55, 13, 7)),
        (dict(padding=0), (54, 12, 6)),
    ],
)
def test_only_pools_that_hang_over_the_edge_fit_all_of_figure_3(fields, sides):
    pool = MaxPool(3, 2, **fields)
    maps = [jax.ShapeDtypeStruct((1, n, n, 1), "float32") for n in (110, 26, 13)]
    assert tuple(jax.eval_shape(pool.apply, {}, x).shape[1] for x in maps) == sides


@pytest.mark.parametrize(
    "fields, more",  # parameters
    [
        (dict(hidden=(2048, 2048)), -2048 * 9217 - 4096 * 4097 + 2048 * 2049 - 2048 * 1000),
        (dict(hidden=(8192, 8192)), 4096 * 9217 - 4096 * 4097 + 8192 * 8193 + 4096 * 1000),
        (
            dict(widths=(96, 256, 512, 1024, 512)),
            128 * 2305 + (1024 * 4609 - 384 * 3457) + (512 * 9217 - 256 * 3457) + 4096 * 9216,
        ),
    ],
)
def test_the_sizes_of_table_3(fields, more):
    assert summary.totals(rows(**fields))["params"] == 62_357_608 + more


# --- Initialization and dropout ------------------------------------------------------------------


def test_weights_start_as_normal_numbers_of_deviation_0_01_and_biases_at_0():
    """Each bound is five deviations of what it bounds."""
    model = models.create("zfnet", width=1 / 8)
    init = jax.jit(
        partial(models.init, model, image_shape=IMAGE), compiler_options=fast_compile_options()
    )
    variables = init(jax.random.key(0))
    layers = jax.device_get(variables["params"])
    assert set(layers) == {name for name, *_, params, _ in LAYERS if params}
    for name, layer in layers.items():
        unit = layer["kernel"] / 0.01
        root = unit.size**0.5
        assert abs(unit.mean()) < 5 / root, name
        assert abs(unit.std() - 1) < 5 / (2**0.5 * root), name
        beyond = np.mean(np.abs(unit) > 2)  # 0.0455 of normal numbers, none where they are cut
        assert abs(beyond - 0.0455) < 5 * (0.0455 * 0.9545) ** 0.5 / root, name
        assert not layer["bias"].any(), name


@pytest.mark.parametrize("train", [True, False])
def test_half_of_the_outputs_of_fc6_and_fc7_are_dropped_in_training(train):
    dense = []

    def note(following, args, kwargs, context):
        module = context.module
        if isinstance(module, nn.Dropout):
            dense.append((module.rate, module.deterministic))
        elif context.method_name == "__call__" and module.name in ("fc6", "fc7", "fc8"):
            dense.append(module.name)
        return following(*args, **kwargs)

    rngs = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    with nn.intercept_methods(note):
        init = partial(models.create("zfnet").init_with_output, rngs, train=train)
        heads, _ = jax.eval_shape(init, jnp.zeros((2, *IMAGE)))
    drop = (0.5, not train)
    assert dense == ["fc6", drop, "fc7", drop, "fc8"]
    assert {name: head.shape for name, head in heads.items()} == {"logits": (2, 1000)}


# --- The whole network in torch.nn.functional ----------------------------------------------------


def reference(image, w):
    """Map an image [N, C, H, W] to logits. Torch divides alpha by n."""
    lrn = partial(F.local_response_norm, size=5, alpha=5 * 1e-4, beta=0.75, k=2.0)
    pool = partial(F.max_pool2d, kernel_size=3, stride=2, ceil_mode=True)

    def conv(x, layer, stride=1, padding=0):
        return F.relu(F.conv2d(x, w[f"{layer}/kernel"], w[f"{layer}/bias"], stride, padding))

    def dense(x, layer):
        return F.linear(x.flatten(1), w[f"{layer}/kernel"].flatten(1), w[f"{layer}/bias"])

    x = lrn(pool(conv(image, "conv1", stride=2, padding=1)))
    x = lrn(pool(conv(x, "conv2", stride=2)))
    for layer in ("conv3", "conv4", "conv5"):
        x = conv(x, layer, padding=1)
    x = F.relu(dense(pool(x), "fc6"))
    return dense(F.relu(dense(x, "fc7")), "fc8")


def test_inference_computes_what_torch_computes():
    """At a sixteenth of the widths; images in [-128, 128], as in section 3."""
    model = models.create("zfnet", num_classes=7, width=1 / 16, dtype="float64")
    assert_torch_agrees(model, IMAGE, reference, pixels=(-128, 128))
