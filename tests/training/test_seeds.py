"""The forms of the seeds are inverted by unstack, and a step gives the same in each."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_archs.errors import ConfigError
from cnn_archs.training.seeds import SeedAxis, choose_axis

UNROLLED = SeedAxis("unrolled")
FORMS = pytest.mark.parametrize("axis", [SeedAxis("vmapped"), SeedAxis("in_turn"), UNROLLED])


def trees(module):
    """Return a state for each of three seeds."""
    return [{"a": module.arange(4.0) + k, "b": module.asarray(k)} for k in range(3)]


def equal(a, b):
    same = jax.tree.map(lambda x, y: type(x) is type(y) and bool(np.all(x == y)), a, b)
    return all(jax.tree.leaves(same))


@FORMS
def test_unstack_is_the_inverse_of_stack(axis):
    held = axis.stack(trees(jnp))
    assert len(held) == (1 if axis.vmapped else 3)
    assert held[0]["a"].ndim == 1 + axis.ndim
    assert equal(axis.unstack(held), trees(jnp))


@FORMS
def test_what_is_on_the_host_stays_there(axis):
    """Numpy arrays stay numpy arrays, since checkpoints are read on one process only."""
    assert all(isinstance(x, np.ndarray) for x in jax.tree.leaves(axis.stack(trees(np))))


@FORMS
def test_a_share_has_a_leading_axis_in_both_forms(axis):
    share = axis.take(axis.stack(trees(jnp)), slice(1, 3))
    assert share["b"].tolist() == [1, 2] and share["a"].shape == (2, 4)


@FORMS
def test_a_step_takes_own_and_common_arguments(axis):
    step = axis.map(lambda state, rate: state["a"] * rate + state["b"], in_axes=(0, None))
    made = [step(state, 2.0) for state in axis.stack(trees(jnp))]
    for k, result in enumerate(axis.unstack(made)):
        assert result.tolist() == [2 * (i + k) + k for i in range(4)]


@FORMS
def test_a_training_step_takes_own_and_common_arguments(axis):
    def step(state, key, images, labels, index):
        return {"a": state["a"] * images + labels * index.sum(), "b": state["b"] + key}

    keys = [jnp.int32(10 * k) for k in range(3)]
    index = axis.join_indices([np.full(2, k) for k in range(3)])
    index = [index] if axis.together else [np.full(2, k) for k in range(3)]
    states, keys = axis.calls(axis.stack(trees(jnp))), axis.calls(axis.stack(keys))
    mapped = axis.map_training(step)
    done = [mapped(s, k, 2.0, 3.0, i) for s, k, i in zip(states, keys, index, strict=True)]
    for k, result in enumerate(axis.unstack(axis.of_calls(done))):
        assert result["a"].tolist() == [2 * (i + k) + 3 * 2 * k for i in range(4)]
        assert result["b"] == k + 10 * k


@pytest.mark.parametrize("lead", [(), (5,)])
def test_the_index_of_a_call_has_its_seeds_before_the_batch(lead):
    each = [np.full((*lead, 7), seed) for seed in (3, 4)]
    for axis in (SeedAxis("vmapped"), UNROLLED):
        assert axis.groups((3, 4)) == [(3, 4)]
        joined = axis.join_indices(each)
        assert joined.shape == (*lead, 2, 7)
        assert (joined[..., 0, :] == 3).all() and (joined[..., 1, :] == 4).all()
    alone = SeedAxis("in_turn")
    assert alone.groups((3, 4)) == [(3,), (4,)] and alone.join_indices(each[:1]) is each[0]


@pytest.mark.parametrize(
    "in_memory, devices, platform, form",
    [
        (True, 1, "gpu", UNROLLED),
        (True, 8, "gpu", UNROLLED),
        (True, 1, "tpu", SeedAxis("vmapped")),
        (True, 2, "tpu", SeedAxis("in_turn")),
        (True, 1, "cpu", SeedAxis("in_turn")),
        (False, 1, "gpu", SeedAxis("in_turn")),
        (False, 1, "tpu", SeedAxis("in_turn")),
    ],
)
def test_the_form_of_the_seeds_is_that_of_the_backend(in_memory, devices, platform, form):
    where: dict[str, Any] = dict(in_memory=in_memory, devices=devices, platform=platform)
    assert choose_axis("default", **where) == form
    assert choose_axis("in_turn", **where) == SeedAxis("in_turn")


def test_a_config_may_choose_another_where_images_do_not_differ():
    where: dict[str, Any] = dict(devices=1, platform="cpu")
    assert choose_axis("vmapped", in_memory=True, **where) == SeedAxis("vmapped")
    assert choose_axis("unrolled", in_memory=True, **where) == UNROLLED
    with pytest.raises(ConfigError, match="seeds_form=unrolled: images that are streamed differ"):
        choose_axis("unrolled", in_memory=False, **where)
