"""The update rules against loops in numpy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from cnn_archs import models
from cnn_archs.optim import optimizers, schedules

STEPS = 8
DROP = schedules.create(  # 0.1 for three steps, then 0.01
    "piecewise",
    1.0,
    **dict(learning_rate=0.1, factors=(1.0, 0.1), boundaries=(3.0,), unit="step", bias_factors=()),
)
RATE = [0.1] * 3 + [0.01] * 5
START = np.random.default_rng(0).normal(size=(4, 3))
NO_ERROR = jnp.float32(0)  # no schedule here uses the error
PLAIN: dict[str, Any] = dict(decayed="all", bias_rate=1.0)
GRADIENTS = np.random.default_rng(1).normal(size=(STEPS, 4, 3))


def run(optimizer):
    """Return the weights after each of STEPS steps from START with GRADIENTS."""
    weights = {"kernel": jnp.asarray(START, jnp.float32)}
    state, path = optimizer.init(weights), []
    for gradient in GRADIENTS:
        gradients = {"kernel": jnp.asarray(gradient, jnp.float32)}
        updates, state = optimizer.update(gradients, state, weights, error=NO_ERROR)
        weights = optax.apply_updates(weights, updates)
        path.append(np.asarray(weights["kernel"]))
    return path


def caffe_form(mu, decay):
    """v <- mu v - lr (g + wd w);  w <- w + v."""
    w, v, path = START.copy(), np.zeros_like(START), []
    for rate, g in zip(RATE, GRADIENTS, strict=True):
        v = mu * v - rate * (g + decay * w)
        w = w + v
        path.append(w)
    return path


def torch_form(mu, decay):
    """v <- mu v + (g + wd w);  w <- w - lr v: the old steps shrink with the rate."""
    w, v, path = START.copy(), np.zeros_like(START), []
    for rate, g in zip(RATE, GRADIENTS, strict=True):
        v = mu * v + g + decay * w
        w = w - rate * v
        path.append(w)
    return path


@pytest.mark.parametrize("mu", [0.0, 0.9])
@pytest.mark.parametrize("decay", [0.0, 5e-4, 0.1])
def test_momentum_has_the_rate_inside_the_velocity(mu, decay):
    path = run(optimizers.create("momentum", DROP, momentum=mu, weight_decay=decay, **PLAIN))
    np.testing.assert_allclose(path, caffe_form(mu, decay), rtol=1e-5, atol=1e-6)


def test_momentum_is_torchs_form_until_the_rate_drops_and_not_after():
    path = run(optimizers.create("momentum", DROP, momentum=0.9, weight_decay=0.0, **PLAIN))
    other = torch_form(0.9, 0.0)
    np.testing.assert_allclose(path[:3], other[:3], rtol=1e-5, atol=1e-6)
    for step in range(3, STEPS):
        assert np.abs(path[step] - other[step]).max() > 0.01


def test_a_rate_drop_leaves_the_velocity_as_it_is():
    """Without gradients after the drop, the weights move on by mu^k of the old step."""
    optimizer = optimizers.create("momentum", DROP, momentum=0.5, weight_decay=0.0, **PLAIN)
    w = {"w": jnp.zeros(())}
    state, path = optimizer.init(w), []
    for g in (1.0, 0.0, 0.0, 0.0, 0.0):
        updates, state = optimizer.update({"w": jnp.asarray(g)}, state, w, error=NO_ERROR)
        path.append(float(updates["w"]))
    np.testing.assert_allclose(path, [-0.1, -0.05, -0.025, -0.0125, -0.00625], rtol=1e-6)


def test_weight_decay_alone_shrinks_the_weights_by_rate_times_decay():
    optimizer = optimizers.create("momentum", DROP, momentum=0.0, weight_decay=0.5, **PLAIN)
    w = {"w": jnp.ones(())}
    updates, _ = optimizer.update({"w": jnp.zeros(())}, optimizer.init(w), w, error=NO_ERROR)
    np.testing.assert_allclose(updates["w"], -0.1 * 0.5, rtol=1e-6)


def test_adam_is_algorithm_1():
    """Kingma & Ba 2015, with the rate of each step."""
    b1, b2, eps = 0.9, 0.999, 1e-8
    w, m, v, expected = START.copy(), 0.0, 0.0, []
    for t, (rate, g) in enumerate(zip(RATE, GRADIENTS, strict=True), start=1):
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        w = w - rate * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
        expected.append(w)
    path = run(optimizers.create("adam", DROP, b1=b1, b2=b2, eps=eps))
    np.testing.assert_allclose(path, expected, rtol=1e-4, atol=1e-5)


# --- A network's parameters, through a drop of the rate ------------------------------------------

# As flax has them: two layers with weights, batch norm between them.
LAYERS: dict[str, dict[str, tuple[int, ...]]] = {
    "conv": {"kernel": (3, 3, 2, 4), "bias": (4,)},
    "norm": {"scale": (4,), "bias": (4,)},
    "fc": {"kernel": (4, 5), "bias": (5,)},
}
NAMES = [(layer, name) for layer, shapes in LAYERS.items() for name in shapes]
DECAYED = {"all": NAMES, "weights": [("conv", "kernel"), ("fc", "kernel")]}
FASTER = [("conv", "bias"), ("fc", "bias")]  # not batch norm's


def tree(of_leaf):
    return {k: {n: of_leaf(k, n) for n in names} for k, names in LAYERS.items()}


def drawn(seed):
    rng = np.random.default_rng(seed)
    return tree(lambda layer, name: rng.normal(size=LAYERS[layer][name]).astype(np.float32))


def ours(name, schedule=DROP, **knobs):
    """Return the parameters after STEPS steps, by (layer, name)."""
    optimizer = optimizers.create(name, schedule, **knobs)
    params = jax.tree.map(jnp.asarray, drawn(0))
    state = optimizer.init(params)
    for k in range(STEPS):
        updates, state = optimizer.update(drawn(k + 1), state, params, error=NO_ERROR)
        params = optax.apply_updates(params, updates)
    return {(k, n): np.asarray(params[k][n]) for k, n in NAMES}


def check(found, expected):
    for leaf in NAMES:
        np.testing.assert_allclose(found[leaf], expected[leaf], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("decayed", DECAYED)
@pytest.mark.parametrize("faster", [1.0, 2.0])
@pytest.mark.parametrize("nesterov", [False, True])
def test_torchs_form_is_torch_optim_sgd(decayed, faster, nesterov):
    start = drawn(0)
    tensors = {(k, n): torch.tensor(start[k][n], requires_grad=True) for k, n in NAMES}
    factor = {leaf: faster if leaf in FASTER else 1.0 for leaf in NAMES}
    groups = [
        {"params": [t], "weight_decay": 0.01 if leaf in DECAYED[decayed] else 0.0, "lr": 0.1}
        for leaf, t in tensors.items()
    ]
    sgd = torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=nesterov)
    for k in range(STEPS):
        for group, (leaf, t) in zip(sgd.param_groups, tensors.items(), strict=True):
            t.grad = torch.tensor(drawn(k + 1)[leaf[0]][leaf[1]])
            group["lr"] = RATE[k] * factor[leaf]
        sgd.step()
    expected = {leaf: t.detach().numpy() for leaf, t in tensors.items()}
    knobs = dict(momentum=0.9, weight_decay=0.01, decayed=decayed, bias_rate=faster)
    check(ours("torch_momentum", nesterov=nesterov, **knobs), expected)


@pytest.mark.parametrize("decayed", DECAYED)
@pytest.mark.parametrize("faster", [1.0, 2.0])
def test_the_papers_form_is_its_equation_in_a_loop(decayed, faster):
    """v <- 0.9 v - 0.0005 lr w - lr g;  w <- w + v (AlexNet, section 5), Caffe's multipliers."""
    start = drawn(0)
    expected = {}
    for leaf in NAMES:
        w = start[leaf[0]][leaf[1]].astype(np.float64)
        v = np.zeros_like(w)
        decay = 0.0005 if leaf in DECAYED[decayed] else 0.0
        for k in range(STEPS):
            lr = RATE[k] * (faster if leaf in FASTER else 1.0)
            v = 0.9 * v - decay * lr * w - lr * drawn(k + 1)[leaf[0]][leaf[1]]
            w = w + v
        expected[leaf] = w
    knobs = dict(momentum=0.9, weight_decay=0.0005, decayed=decayed, bias_rate=faster)
    check(ours("momentum", **knobs), expected)


def test_biases_follow_factors_of_their_own_in_a_loop():
    """Twice the rate at first, and no drop: 0.2 beside 0.1, then 0.2 beside 0.01."""
    own = schedules.create(
        "piecewise",
        1.0,
        **dict(learning_rate=0.1, factors=(1.0, 0.1), boundaries=(3.0,), unit="step"),
        bias_factors=(1.0, 1.0),
    )
    start, expected = drawn(0), {}
    for layer, name in NAMES:
        w = start[layer][name].astype(np.float64)
        v = np.zeros_like(w)
        for k in range(STEPS):
            lr = 0.2 if (layer, name) in FASTER else RATE[k]
            v = 0.9 * v - lr * drawn(k + 1)[layer][name]
            w = w + v
        expected[layer, name] = w
    knobs = dict(momentum=0.9, weight_decay=0.0, decayed="all", bias_rate=2.0)
    check(ours("momentum", own, **knobs), expected)


def test_rmsprop_is_tensorflows_in_a_loop():
    """tf.train.RMSPropOptimizer: s begins at 1, eps is inside the root, lr inside the momentum."""
    rho, eps, mu, decay, clip = 0.9, 1.0, 0.9, 4e-5, 2.0
    start = drawn(0)
    w = {(k, n): start[k][n].astype(np.float64) for k, n in NAMES}
    s = {leaf: np.ones_like(w[leaf]) for leaf in NAMES}
    v = {leaf: np.zeros_like(w[leaf]) for leaf in NAMES}
    for k in range(STEPS):
        g = {leaf: drawn(k + 1)[leaf[0]][leaf[1]].astype(np.float64) for leaf in NAMES}
        norm = np.sqrt(sum((x**2).sum() for x in g.values()))
        assert norm > clip  # the gradient is clipped
        for leaf in NAMES:
            d = g[leaf] * clip / norm + (decay * w[leaf] if leaf in DECAYED["weights"] else 0)
            s[leaf] = rho * s[leaf] + (1 - rho) * d**2
            v[leaf] = mu * v[leaf] - RATE[k] * d / np.sqrt(s[leaf] + eps)
            w[leaf] = w[leaf] + v[leaf]
    knobs = dict(decay=rho, eps=eps, momentum=mu, weight_decay=decay, decayed="weights", clip=clip)
    check(ours("rmsprop", **knobs), w)


@pytest.mark.parametrize("name", ["resnet20", "vgg_a_bn_cifar", "googlenet_cifar", "lenet5_1998"])
def test_decay_of_weights_leaves_out_what_has_no_inputs(name):
    """Only kernels are decayed, in unrolled and in scanned networks."""
    for fields in ({}, {"scan_blocks": True}) if name == "resnet20" else ({},):
        model = models.create(name, **fields)
        image = (32, 32, 1 if name == "lenet5_1998" else 3)
        params = models.shapes(model, image).variables["params"]
        groups = optimizers.parameter_groups(params)
        for path, group in jax.tree_util.tree_leaves_with_path(groups):
            last = path[-1].key
            assert (group == "weight") == (last == "kernel"), path
            assert group != "bias" or last == "bias"
        assert "weight" in jax.tree.leaves(groups)


def test_the_rate_of_the_last_step_is_in_the_state():
    optimizer = optimizers.create("momentum", DROP, momentum=0.9, weight_decay=0.0, **PLAIN)
    w = {"w": jnp.ones(())}
    state, rates = optimizer.init(w), []
    assert state.learning_rate == 0
    for _ in range(STEPS):
        _, state = optimizer.update(w, state, w, error=NO_ERROR)
        rates.append(float(state.learning_rate))
    np.testing.assert_allclose(rates, RATE, rtol=1e-6)
    assert state.step == STEPS


def test_names_and_knobs_are_checked():
    with pytest.raises(KeyError):
        optimizers.create("lars", DROP)
    with pytest.raises(TypeError):
        optimizers.create("momentum", DROP, momentum=0.9)
    with pytest.raises(TypeError):
        optimizers.create("adam", DROP, b1=0.9, b2=0.999, eps=1e-8, weight_decay=0.1)
