"""The two forms of the seeds are inverted by unstack, and a step gives the same in both."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_archs.training.seeds import SeedAxis, fastest_axis

FORMS = pytest.mark.parametrize("axis", [SeedAxis(vmapped=True), SeedAxis(vmapped=False)])


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


@pytest.mark.parametrize("lead", [(), (5,)])
def test_the_index_of_a_group_has_its_seeds_before_the_batch(lead):
    each = [np.full((*lead, 7), seed) for seed in (3, 4)]
    vmapped, alone = SeedAxis(vmapped=True), SeedAxis(vmapped=False)
    assert vmapped.groups((3, 4)) == [(3, 4)] and alone.groups((3, 4)) == [(3,), (4,)]
    joined = vmapped.join_indices(each)
    assert joined.shape == (*lead, 2, 7)
    assert (joined[..., 0, :] == 3).all() and (joined[..., 1, :] == 4).all()
    assert alone.join_indices(each[:1]) is each[0]


@pytest.mark.parametrize(
    "in_memory, devices, platform, vmapped",
    [
        (True, 1, "gpu", True),
        (True, 1, "cpu", False),
        (True, 2, "tpu", False),
        (False, 1, "gpu", False),
    ],
)
def test_seeds_are_vmapped_on_one_accelerator_alone(in_memory, devices, platform, vmapped):
    found = fastest_axis(in_memory=in_memory, devices=devices, platform=platform)
    assert found.vmapped == vmapped
