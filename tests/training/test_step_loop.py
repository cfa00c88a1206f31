"""A loop of steps gives what single steps give, and holds no loop of another kind."""

from collections import Counter
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from cnn_archs import config
from cnn_archs.experiment import resolve
from cnn_archs.planning.xla_memory import delivered_shape, placeholder_statistics
from cnn_archs.training import step_loop, steps
from cnn_archs.training.placement import place_model
from cnn_archs.training.seeds import SeedAxis, choose_axis, stack_trees

LOOP, SEEDS = 7, 2
RECIPES = {
    "resnet_cifar10:20": ("model.blocks=(1,1,1)", "model.width=0.25", "warmup.name=error"),
    "lenet5_digits": ("schedule.name=lenet5_paper1998", "augment.name=distortions"),
    "alexnet_cifar10": ("schedule.name=piecewise", "color.name=pca", "average.name=ema"),
}


def loops(jaxpr):
    """Count the `while` and (`scan`, length) in a jaxpr, including nested ones."""
    found: Counter[Any] = Counter()
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name in ("while", "scan"):
            found[name if name == "while" else (name, equation.params["length"])] += 1
        for inner in jaxprs_in_params(equation.params):
            found += loops(inner)
    return found


def traced_loop(recipe, axis, monkeypatch):
    """Return the jaxpr of LOOP steps of all seeds, as on an accelerator."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    experiment = resolve(config.load_config(recipe, [*RECIPES[recipe], "data.batch_size=64"]))
    placed, rules = place_model(experiment), experiment.recipe.make_rules(100.0)
    init = partial(
        steps.init_state,
        placed.net.model,
        rules.optimizer,
        rules.average,
        image_shape=placed.net.image_shape,
    )
    state, key, images, labels = steps.abstract_arguments(init, delivered_shape(experiment), 640)
    step = steps.make_train_step(
        placed.net.model,
        rules.loss,
        rules.optimizer,
        rules.average,
        placed.net.inputs.make_preprocess(placeholder_statistics(experiment)),
        auxiliary=0.3,
        micro_batch=0,
    )
    if axis.vmapped:
        state, key = jax.eval_shape(lambda tree: stack_trees([tree] * SEEDS), (state, key))
    each = [axis.calls([tree] * SEEDS)[0] for tree in (state, key)]
    shape = (LOOP, SEEDS, 64) if axis.together else (LOOP, 64)
    looped = step_loop.repeat_steps(axis.map_training(step_loop.gather_batch(step)), packed=True)
    index = jax.ShapeDtypeStruct(shape, jnp.int32)
    return jax.make_jaxpr(looped)(*each, images, labels, index).jaxpr


@pytest.mark.parametrize("recipe", RECIPES)
def test_on_an_accelerator_the_count_is_constant_and_no_loop_is_inside_the_step(
    recipe, monkeypatch
):
    jaxpr = traced_loop(recipe, SeedAxis("in_turn"), monkeypatch)
    assert loops(jaxpr) == {("scan", LOOP): 1}


def convolutions(jaxpr):
    """Return the groups of each convolution in a jaxpr, including nested ones."""
    found = []
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            names = ("feature_group_count", "batch_group_count")
            found.append(tuple(equation.params[name] for name in names))
        for inner in jaxprs_in_params(equation.params):
            found += convolutions(inner)
    return found


def test_no_gradient_of_a_kernel_is_a_grouped_convolution_on_a_gpu(monkeypatch):
    """Grouped, its window would be as large as the map, for which a GPU has nothing fast."""
    where: dict[str, Any] = dict(in_memory=True, devices=1, platform="gpu")
    unrolled, vmapped = choose_axis("default", **where), choose_axis("vmapped", **where)
    found = convolutions(traced_loop("resnet_cifar10:20", unrolled, monkeypatch))
    assert found == [(1, 1)] * SEEDS * (3 * 7 - 1)  # seven layers; none for the images' gradient
    grouped = convolutions(traced_loop("resnet_cifar10:20", vmapped, monkeypatch))
    assert grouped == [(SEEDS, 1)] * (3 * 7 - 1)


def test_a_packed_state_is_the_same_again():
    experiment = resolve(config.load_config("resnet_cifar10:20", [*RECIPES["resnet_cifar10:20"]]))
    net, rules = place_model(experiment).net, experiment.recipe.make_rules(100.0)
    init = partial(
        steps.init_state, net.model, rules.optimizer, rules.average, image_shape=net.image_shape
    )
    shapes = jax.eval_shape(init, jax.random.key(0))
    numbers = iter(range(1000))
    state = jax.tree.map(lambda x: np.full(x.shape, next(numbers), x.dtype), shapes)
    for states in (state, (state, jax.tree.map(lambda x: x + 1, state))):
        pack, unpack = step_loop.packing(states)
        held = pack(states)
        assert sorted(held[1]) == ["float32", "int32"] and len(held[1]) == 2
        again = unpack(held)
        structures: list[Any] = [jax.tree.structure(tree) for tree in (again, states)]
        assert structures[0] == structures[1]
        for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(states), strict=True):
            assert a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b)


def counting_step(state, key, images, labels):
    """Return a state that depends on the order of the batches and on their number."""
    return {"x": 0.75 * state["x"] + images.sum() * labels.mean(), "step": state["step"] + 1}


def test_all_steps_and_some_of_them_are_those_of_single_calls():
    images = jnp.asarray(np.random.default_rng(0).normal(size=(20, 3)), jnp.float32)
    labels = jnp.arange(20.0)
    index = jnp.asarray(np.random.default_rng(1).permutation(20)[:15].reshape(5, 3), jnp.int32)
    start = {"x": jnp.float32(1), "step": jnp.int32(0)}
    single = step_loop.gather_batch(counting_step)
    looped = jax.jit(step_loop.repeat_steps(single, packed=False))
    called: list[str] = []

    def noted(name):
        def call(*arguments):
            called.append(name)
            return looped(*arguments)

        return call

    loop = step_loop.StepLoop(5, part=noted("part"), whole=noted("whole"))
    state = start
    for count in range(1, 6):
        state = jax.jit(single)(state, None, images, labels, index[count - 1])
        found = loop(start, None, images, labels, index, count)
        assert found["step"] == state["step"] == count and found["x"] == state["x"]
    assert called == ["part"] * 4 + ["whole"]
    on_cpu = step_loop.StepLoop(5, part=noted("part"), whole=None)
    assert on_cpu(start, None, images, labels, index, 5)["x"] == state["x"]
    assert called[-1] == "part"
