"""`remat`: what a block computes inside is computed again for the gradient, and nothing else."""

from typing import Any

import jax
import jax.numpy as jnp
import memory
import numpy as np
import pytest
from abstract_step import abstract_step

from cnn_archs import config as configs
from cnn_archs import models
from cnn_archs.models import summary
from cnn_archs.optim import losses
from cnn_archs.runtime.compiler_options import fast_compile_options
from cnn_archs.training import steps

slow = pytest.mark.slow
NETWORKS: dict[str, tuple[str, dict[str, Any], int]] = {  # name, fields, side of the image
    "vgg": ("vgg_a_bn", dict(width=1 / 16, hidden=(8, 8)), 32),
    "vgg_lrn": ("vgg_a_lrn", dict(width=1 / 16, hidden=(8, 8), initializer="glorot"), 32),
    "resnet": ("resnet20", dict(width=1 / 4, blocks=(1, 1, 1)), 16),
    "scanned": ("resnet20", dict(width=1 / 4, blocks=(3,), widths=(16,), scan_blocks=True), 16),
    "v2": ("resnet50_v2", dict(width=1 / 16, blocks=(1, 1, 1, 1)), 32),
    "googlenet": ("googlenet_cifar", dict(width=1 / 16, batch_norm=True, lrn=False), 80),
    "inception": ("inception_v3", dict(width=1 / 16, aux=False), 75),
    "inception_v2": ("inception_v2", dict(width=1 / 16), 64),
    "inception_resnet": ("inception_resnet_v2", dict(width=1 / 16, blocks=(1, 1, 1)), 75),
}


def trained(name, fields, side, **more):
    """(variables at the start, (what `make_loss_fn` says, gradients)) of four images."""
    net = models.create(name, **{"num_classes": 5, **fields, **more})
    variables = jax.jit(
        lambda k: models.init(net, k, (side, side, 3)), compiler_options=fast_compile_options()
    )(jax.random.key(0))
    random = np.random.default_rng(1)
    images = jnp.asarray(random.normal(0, 1, (4, side, side, 3)), jnp.float32)
    loss = losses.create("cross_entropy", smoothing=0.0)

    def values(variables):
        objective = steps.make_loss_fn(
            net, loss, 0.3, variables["batch_stats"], images, jnp.arange(4), jax.random.key(2)
        )
        if name == "inception_v3":  # whose gradient takes minutes to compile
            return objective(variables["params"])
        return jax.value_and_grad(objective, has_aux=True)(variables["params"])

    return variables, jax.jit(values, compiler_options=fast_compile_options())(variables)


@pytest.mark.parametrize(
    "kind",
    [k if k == "scanned" else pytest.param(k, marks=slow) for k in NETWORKS],
)
def test_all_numbers_are_the_same(kind):
    """Initial weights and names to the bit; loss, logits, gradients and new statistics to
    rounding, dropout's choices too. Statistics that moved twice would be 0.1 of the way further."""
    kept, again = (trained(*NETWORKS[kind], remat=remat) for remat in (False, True))
    found: Any = jax.tree.structure(kept)
    assert found == jax.tree.structure(again)
    for a, b in zip(jax.tree.leaves(kept[0]), jax.tree.leaves(again[0]), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(jax.tree.leaves(kept[1]), jax.tree.leaves(again[1]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5 * (1 + np.abs(a).max()))


def left_for_gradient(name, batch, side=224, **fields):
    """Counts the bytes that the forward pass leaves for the gradient, parameters among them."""
    net = models.create(name, **fields)
    _, (state, _, images, _) = abstract_step(net, (side, side, 3), batch)
    return memory.left(net, state, images)


@slow
@pytest.mark.parametrize("dtype, size", [("float32", 4), ("bfloat16", 2)])
def test_vgg_e_keeps_the_maps_between_its_blocks(dtype, size):
    """Table 1: of each image the input and five pools' outputs; beside them the weights, and less
    than 0.1 GB of the dense layers."""
    maps = size * sum(s * s * c for s, c in ((112, 64), (56, 128), (28, 256), (14, 512), (7, 512)))
    expected = 256 * (maps + 4 * 224 * 224 * 3) + size * 143_667_240
    found = left_for_gradient("vgg_e", 256, remat=True, dtype=dtype)
    assert expected <= found < expected + 6e8
    assert left_for_gradient("vgg_e", 256, dtype=dtype) > 10 * found


@slow
@pytest.mark.parametrize("dtype, size", [("float32", 4), ("bfloat16", 2)])
def test_resnet152_keeps_the_maps_between_its_units(dtype, size):
    """Table 1: the outputs of 3, 8, 36 and 3 units."""
    units = ((1, 56, 64), (3, 56, 256), (8, 28, 512), (36, 14, 1024), (3, 7, 2048))
    maps = size * sum(n * s * s * c for n, s, c in units)
    expected = 256 * (maps + 4 * 224 * 224 * 3) + size * 60_192_808
    found = left_for_gradient("resnet152", 256, remat=True, dtype=dtype)
    assert 0.9 * expected < found < expected + 3e8
    assert left_for_gradient("resnet152", 256, dtype=dtype) > 6 * found


def compiled_bytes(name, batch, side, **fields):
    """Return the bytes that a compiled training step takes beside its arguments."""
    step, arguments = abstract_step(models.create(name, **fields), (side, side, 3), batch)
    compiled = jax.jit(step, donate_argnums=0).lower(*arguments).compile()
    used: Any = compiled.memory_analysis()
    return used.temp_size_in_bytes


@slow
def test_a_scanned_stage_takes_less_than_half_of_the_memory():
    """On a CPU, XLA merges both computations of an unrolled network, so this one is scanned."""
    fields = dict(blocks=(9,), widths=(16,), scan_blocks=True)
    kept, again = (compiled_bytes("resnet20", 64, 16, remat=r, **fields) for r in (False, True))
    assert again < kept / 2


@slow
def test_resnet152_at_batch_256_fits_on_40_gb_where_it_took_more():
    """Scanned, float32, by XLA for a CPU; the bytes grow with the batch in proportion."""

    def bytes_of(batch, remat):
        return compiled_bytes("resnet152", batch, 224, scan_blocks=True, remat=remat)

    assert bytes_of(256, False) > 60e9
    small, large = bytes_of(128, True), bytes_of(256, True)
    assert large < 30e9
    assert large == pytest.approx(2 * small, rel=0.1)


@pytest.mark.parametrize("kind", ["scanned", "googlenet"])
def test_the_summary_is_the_same(kind):
    name, fields, side = NETWORKS[kind]
    rows = [
        summary.summarize(models.create(name, remat=remat, **fields), (side, side, 3), train=True)
        for remat in (False, True)
    ]
    assert rows[0] == rows[1] and len(rows[0]) > 5


def test_an_older_run_has_the_fields_that_came_since(tmp_path):
    config = configs.load_config("resnet_cifar10:20", ["steps=1"])
    (tmp_path / "config.json").write_text(config.to_json().replace('"remat": false, ', ""))
    assert '"remat"' not in (tmp_path / "config.json").read_text()
    assert configs.read_config(tmp_path / "config.json").to_json(sort_keys=True) == config.to_json(
        sort_keys=True
    )
