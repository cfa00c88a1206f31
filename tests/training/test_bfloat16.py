"""`model.dtype=bfloat16`: which operations use it, which stay float32, and how results change."""

import json
from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from abstract_step import abstract_step

from cnn_archs import config as configs
from cnn_archs import models
from cnn_archs.experiment import resolve
from cnn_archs.optim import losses
from cnn_archs.runtime.compiler_options import fast_compile_options
from cnn_archs.training import loop, steps

slow = pytest.mark.slow
SIDES = {  # height and width of the image of each network
    **dict(lenet5=28, mlp=28, cnn=28, alexnet_cifar=32, four_layers=32, vgg_a_bn=32),
    **dict(googlenet=96, googlenet_bn=96, resnet20=32, resnet18_v2=32, zfnet=224),
    **dict(inception_v2=96, inception_v3=299, inception_v4=75, inception_resnet_v1=75),
    "nin_cifar10": 32,
}
FAST = ("lenet5", "four_layers", "vgg_a_bn")


def step_of(name, **fields):
    """Return (training step, its abstract arguments) for eight images."""
    side = SIDES[name]
    narrow = {key: 1 / 8 for key in ("width",) if key in models.fields(name)}
    net = models.create(name, **fields, **narrow)
    return abstract_step(net, (side, side, 1 if side == 28 else 3), 8, average="ema", decay=0.9)


def operations(jaxpr):
    """Count (primitive, dtype of its output) in a jaxpr, including nested ones."""
    found: Counter[tuple[Any, str]] = Counter()
    for equation in jaxpr.eqns:
        found[equation.primitive.name, str(equation.outvars[0].aval.dtype)] += 1
        for value in equation.params.values():
            for inner in value if isinstance(value, list | tuple) else [value]:
                inner = getattr(inner, "jaxpr", inner)
                found += operations(inner) if hasattr(inner, "eqns") else Counter()
    return found


@pytest.mark.parametrize("name", [n if n in FAST else pytest.param(n, marks=slow) for n in SIDES])
def test_a_step_multiplies_in_bfloat16_and_keeps_float32(name):
    """All convolutions and matrix products, forward and backward, have the dtype of the model.
    Exponentials and logarithms (the loss), the state and the sums in pools are float32."""
    for dtype, other in (("bfloat16", "float32"), ("float32", "bfloat16")):
        step, arguments = step_of(name, dtype=dtype)
        jaxpr, out = jax.make_jaxpr(step, return_shape=True)(*arguments)
        found = operations(jaxpr.jaxpr)
        products = ("conv_general_dilated", "dot_general")
        assert sum(found[p, dtype] for p in products) >= 5
        assert not sum(found[p, other] for p in products)
        assert found["log", "float32"] and found["exp", "float32"]
        assert not found["reduce_window_sum", "bfloat16"]
        assert not [p for p in ("log", "exp", "rsqrt", "pow") if found[p, "bfloat16"]]
        kept = {x.dtype for x in jax.tree.leaves(out)}
        assert kept == {jnp.dtype("float32"), jnp.dtype("int32")}


def losses_of(workdir, dtype):
    few = ["data.batch_size=100", "steps=40", "log_every=5", "eval_every=100", "model.hidden=(64,)"]
    config = configs.load_config("lenet5_digits", ["model.name=mlp", *few, f"model.dtype={dtype}"])
    result = loop.train(resolve(config), workdir)
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return np.array([x["loss"] for x in lines if x["split"] == "train"]), result


@slow
def test_the_digits_are_learnt_alike(tmp_path):
    """With equal batches and initial weights, losses from 2.16 on differ by at most 0.01."""
    (half, result), (full, _) = (
        losses_of(tmp_path / dtype, dtype) for dtype in ("bfloat16", "float32")
    )
    assert full[-1] < 0.5 * full[0]
    np.testing.assert_allclose(half, full, rtol=0, atol=0.01)
    assert (half != full).any()
    assert result["made"]["config"]["model"]["dtype"] == "bfloat16"


@slow
@pytest.mark.parametrize("name", ["lenet5", "four_layers", "vgg_a_bn", "resnet20"])
def test_gradients_point_the_same_way(name):
    """The gradients have a cosine above 0.9, and lengths equal to 10 %.

    Of a narrow network at its start, on 16 random images. Normalization over so few makes much of
    rounding: single small layers agree less.
    """
    side = SIDES[name]
    shape, random = (side, side, 1 if side == 28 else 3), np.random.default_rng(3)
    fields = dict(width=1 / 4) if "width" in models.fields(name) else {}
    images = jnp.asarray(random.uniform(-1, 1, (16, *shape)), jnp.float32)
    loss = losses.create("cross_entropy", smoothing=0.0)

    def gradient(dtype):
        net = models.create(name, dtype=dtype, num_classes=10, **fields)
        make = jax.jit(
            lambda key: models.init(net, key, shape), compiler_options=fast_compile_options()
        )

        def of(v):
            labels, key = jnp.arange(16) % 10, jax.random.key(2)
            objective = steps.make_loss_fn(net, loss, 0.3, v["batch_stats"], images, labels, key)
            return jax.grad(objective, has_aux=True)(v["params"])[0]

        found = jax.tree.leaves(
            jax.jit(of, compiler_options=fast_compile_options())(make(jax.random.key(1)))
        )
        assert {x.dtype for x in found} == {jnp.dtype("float32")}
        return np.concatenate([np.ravel(x) for x in found])

    half, full = gradient("bfloat16"), gradient("float32")
    lengths = np.linalg.norm(half), np.linalg.norm(full)
    assert np.vdot(half, full) > 0.9 * np.prod(lengths)
    assert lengths[0] == pytest.approx(lengths[1], rel=0.1)
