"""LeNet-5's second-order method (1998, appendix C), against a loop over single connections.

The loop knows no layers: a network is a list of connections (weight, input unit, output unit), in
which a shared weight occurs many times, and each line of the paper is one addition.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn_archs.models import lenet
from cnn_archs.models.network import SquashedChain
from cnn_archs.optim import gauss_newton, losses, optimizers, schedules

J = 1.0  # equation 9's constant
BIAS = -1  # the unit that is always 1
CENTERS = np.array([[1, -1, -1, 1, 1], [-1, 1, 1, -1, -1], [1, 1, 1, -1, -1]], np.float32)


class Chain(SquashedChain):
    """Base of the small networks below: RBF outputs around three centers."""

    squash = staticmethod(lenet.squash)

    def affine(self, x, layer):
        return super().affine(x.reshape(len(x), -1) if layer == "D" else x, layer)

    def output(self, x):
        return {"logits": -jnp.square(x[:, None, :] - CENTERS[None]).sum(-1)}

    def __call__(self, image, *, train=False):
        x = image
        for layer in self.LAYERS:
            x = self.squash(self.affine(x, layer))
        return self.output(x)


class Small(Chain):
    """6x6x1 -> C: 3x3 convolution, 4x4x2 -> S: subsampling, 2x2x2 -> D: dense, 5."""

    LAYERS = ("C", "S", "D")
    image = (6, 6, 1)

    def setup(self):
        self.C = nn.Conv(2, (3, 3), padding="VALID")
        self.S = lenet.Subsample()
        self.D = nn.Dense(5)


class Partial(Chain):
    """6x5x6 -> T: Table I's convolution, 2x1x16 -> D: dense, 5."""

    LAYERS = ("T", "D")
    image = (6, 5, 6)

    def setup(self):
        self.T = lenet.TableConv()
        self.D = nn.Dense(5)


class OneDense(Chain):
    """4 -> D: dense, 5: no weight is shared."""

    LAYERS = ("D",)
    image = (2, 2, 1)

    def setup(self):
        self.D = nn.Dense(5)


def example(model, samples=3):
    """Return (params, images, labels), with weights uniform in +-0.5."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, *model.image))))
    params = jax.tree.map(
        lambda s: jnp.asarray(rng.uniform(-0.5, 0.5, s.shape), jnp.float32), shapes["params"]
    )
    image = rng.uniform(-0.1, 1.175, (samples, *model.image)).astype(np.float32)
    return params, image, np.array([0, 2, 1][:samples], np.int32)


def loss_of(criterion):
    return losses.create("rbf_map", j=J) if criterion == "map" else losses.create("rbf_mean")


# --- The explicit loop -------------------------------------------------------------------------


def at(shape, *index):
    return int(np.ravel_multi_index(index, shape))


def conv(size, in_shape, out_shape, kernel_index):
    """Return the connections of a VALID convolution: ((name, index), input unit, output unit)."""
    h, w, maps = out_shape
    for r, c, o in np.ndindex(h, w, maps):
        unit = at(out_shape, r, c, o)
        yield ("bias", (o,)), BIAS, unit
        for dr, dc, i in np.ndindex(size, size, in_shape[2]):
            index = kernel_index(dr, dc, i, o)
            if index is not None:
                yield ("kernel", index), at(in_shape, r + dr, c + dc, i), unit


def subsample(in_shape, out_shape):
    for r, c, o in np.ndindex(*out_shape):
        unit = at(out_shape, r, c, o)
        yield ("bias", (o,)), BIAS, unit
        for dr, dc in np.ndindex(2, 2):
            yield ("coefficient", (o,)), at(in_shape, 2 * r + dr, 2 * c + dc, o), unit


def dense(inputs, outputs):
    for i in range(outputs):
        yield ("bias", (i,)), BIAS, i
        for j in range(inputs):
            yield ("kernel", (j, i)), j, i


def table(dr, dc, i, o):
    """Return the index of a weight in TableConv's f32[5, 5, 60], or None without a connection."""
    pairs = [tuple(p) for p in np.argwhere(lenet.C3_MASK)]
    return (dr, dc, pairs.index((i, o))) if (i, o) in pairs else None


CONNECTIONS = {
    Small: {
        "C": conv(3, (6, 6, 1), (4, 4, 2), lambda *index: index),
        "S": subsample((4, 4, 2), (2, 2, 2)),
        "D": dense(8, 5),
    },
    Partial: {"T": conv(5, (6, 5, 6), (2, 1, 16), table), "D": dense(32, 5)},
    OneDense: {"D": dense(4, 5)},
}
CONNECTIONS = {m: {k: list(v) for k, v in layers.items()} for m, layers in CONNECTIONS.items()}
UNITS = {Small: {"C": 32, "S": 8, "D": 5}, Partial: {"T": 32, "D": 5}, OneDense: {"D": 5}}


def squash(a):
    return 1.7159 * np.tanh(2 / 3 * a)


def slope(a):
    return 1.7159 * 2 / 3 * (1 - np.tanh(2 / 3 * a) ** 2)


def at_the_output(x, label, criterion):
    """Return d2E/dx_j^2 of one example by the formula of its loss, with y_i = |x - w_i|^2."""
    if criterion == "mean":
        return np.full(5, 2.0)  # E = y_D
    e = np.exp(-((x - CENTERS) ** 2).sum(-1))
    p = e / (np.exp(-J) + e.sum())  # E = y_D + log(e^-j + sum e^-y_i): dE/dy_i = -p_i
    dy = 2 * (x - CENTERS)
    return 2 - 2 * p.sum() + (p[:, None] * dy**2).sum(0) - (p[:, None] * dy).sum(0) ** 2


def by_connection(model, params, images, labels, criterion):
    """Return h_kk of each weight, one example and one connection at a time, in float64."""
    weights = jax.tree.map(lambda p: np.asarray(p, np.float64), params)
    h = jax.tree.map(np.zeros_like, weights)
    for image, label in zip(images, labels, strict=True):
        states, sums = [image.astype(np.float64).reshape(-1)], []
        for layer in model.LAYERS:
            a = np.zeros(UNITS[type(model)][layer])
            for (name, index), j, i in CONNECTIONS[type(model)][layer]:
                x_j = 1.0 if j == BIAS else states[-1][j]
                a[i] += weights[layer][name][index] * x_j
            sums.append(a)
            states.append(squash(a))
        of_state = at_the_output(states[-1], label, criterion)
        for depth in reversed(range(len(model.LAYERS))):
            layer, x = model.LAYERS[depth], states[depth]
            of_sum = slope(sums[depth]) ** 2 * of_state  # d2E/da_i^2
            of_state = np.zeros_like(x)
            for (name, index), j, i in CONNECTIONS[type(model)][layer]:
                x_j = 1.0 if j == BIAS else x[j]
                h[layer][name][index] += of_sum[i] * x_j**2 / len(labels)
                if j != BIAS:
                    of_state[j] += weights[layer][name][index] ** 2 * of_sum[i]
    return h


@pytest.mark.parametrize("criterion", ["mean", "map"])
@pytest.mark.parametrize("model", [Small(), Partial()], ids=["conv", "table"])
def test_curvature_is_the_loop_over_connections(model, criterion):
    params, images, labels = example(model)
    diagonal = jax.jit(gauss_newton.gauss_newton_diagonal(model, loss_of(criterion)))
    h = diagonal(params, images, labels)
    expected = by_connection(model, params, images, labels, criterion)
    found: Any = jax.tree.structure(h)
    assert found == jax.tree.structure(params)
    for (path, leaf), of_loop in zip(
        jax.tree_util.tree_leaves_with_path(h), jax.tree.leaves(expected), strict=True
    ):
        assert (of_loop > 0).all()
        name = jax.tree_util.keystr(path)
        np.testing.assert_allclose(leaf, of_loop, rtol=1e-5, err_msg=name)


def test_the_loop_computes_the_network():
    """The connections of the reference give the outputs of the flax module."""
    for model in (Small(), Partial(), OneDense()):
        params, images, _ = example(model)
        forward = jax.jit(lambda p, x, m=model: m.apply({"params": p}, x)["logits"])
        logits = forward(params, images)
        weights = jax.tree.map(np.asarray, params)
        for image, of_model in zip(images, logits, strict=True):
            x = image.reshape(-1)
            for layer in model.LAYERS:
                a = np.zeros(UNITS[type(model)][layer])
                for (name, index), j, i in CONNECTIONS[type(model)][layer]:
                    a[i] += weights[layer][name][index] * (1.0 if j == BIAS else x[j])
                x = squash(a)
            of_loop = -((x - CENTERS) ** 2).sum(-1)
            np.testing.assert_allclose(of_model, of_loop, rtol=1e-5)


def test_the_number_of_connections():
    """Small has 4x4x2 units of 3x3+1 inputs; Partial has Table I's 60 windows of 25 twice."""
    assert len(CONNECTIONS[Small]["C"]) == 4 * 4 * 2 * (3 * 3 + 1)
    assert len(CONNECTIONS[Partial]["T"]) == 2 * (60 * 25 + 16)


# --- The output --------------------------------------------------------------------------------


def at_states(model, loss):
    return jax.jit(lambda x, label: gauss_newton.output_curvature(model, loss, x, label))


def test_curvature_at_the_output_is_exactly_2_for_the_mean_criterion():
    model = lenet.LeNet5_1998()
    x = np.random.default_rng(0).uniform(-1.7, 1.7, (4, 1, 1, 84)).astype(np.float32)
    labels = np.array([0, 9, 4, 4], np.int32)
    h = at_states(model, losses.create("rbf_mean"))(x, labels)
    assert h.shape == x.shape
    assert (np.asarray(h) == 2.0).all()


def test_curvature_at_the_output_is_the_second_derivative_of_equation_9():
    model = Small()
    x = np.random.default_rng(1).uniform(-1.0, 1.0, (4, 5)).astype(np.float32)
    labels = np.array([0, 1, 2, 2], np.int32)
    h = at_states(model, losses.create("rbf_map", j=J))(x, labels)
    expected = [at_the_output(row.astype(np.float64), 0, "map") for row in x]
    np.testing.assert_allclose(h, expected, rtol=1e-5)


# --- What it is not ----------------------------------------------------------------------------


def exact_gauss_newton(model, params, images, labels, loss):
    """Return diag(J^T H J), with J = d(last states)/d(weights), H = d2(loss)/d(last states)^2."""

    def states(params, image):
        x = image[None]
        for layer in model.LAYERS:
            x = model.squash(model.apply({"params": params}, x, layer, method="affine"))
        return x.reshape(-1)

    def energy(x, label):
        return loss(model.apply({}, x[None], method="output")["logits"], label[None])[0]

    def of_example(image, label):
        hessian = jax.hessian(energy)(states(params, image), label)
        jacobian = jax.jacobian(states)(params, image)
        return jax.tree.map(lambda j: jnp.einsum("a...,ab,b...->...", j, hessian, j), jacobian)

    mean = jax.jit(lambda i, y: jax.tree.map(lambda h: h.mean(0), jax.vmap(of_example)(i, y)))
    return mean(images, labels)


@pytest.mark.parametrize("criterion", ["mean", "map"])
def test_without_shared_weights_one_layer_is_the_exact_gauss_newton_diagonal(criterion):
    model, loss = OneDense(), loss_of(criterion)
    params, images, labels = example(model)
    h = jax.jit(gauss_newton.gauss_newton_diagonal(model, loss))(params, images, labels)
    exact = exact_gauss_newton(model, params, images, labels, loss)
    for name in ("kernel", "bias"):
        np.testing.assert_allclose(h["D"][name], exact["D"][name], rtol=1e-5)


def test_on_a_shared_kernel_it_is_not_the_exact_diagonal():
    """The paper drops the cross terms between the connections that share a weight."""
    model, loss = Small(), loss_of("mean")
    params, images, labels = example(model)
    h = jax.jit(gauss_newton.gauss_newton_diagonal(model, loss))(params, images, labels)
    exact = exact_gauss_newton(model, params, images, labels, loss)
    np.testing.assert_allclose(h["D"]["kernel"], exact["D"]["kernel"], rtol=1e-5)  # not shared
    ratio = np.asarray(exact["C"]["kernel"] / h["C"]["kernel"])
    assert ratio.max() > 2 or ratio.min() < 0.5


def test_a_network_that_is_not_a_chain_is_refused():
    with pytest.raises(ValueError, match="sdlm needs a network that is a chain"):
        gauss_newton.gauss_newton_diagonal(
            lenet.LeNet5(), losses.create("cross_entropy", smoothing=0.0)
        )


# --- The step ----------------------------------------------------------------------------------

PARAMS = {"a": jnp.array([1.0, -2.0, 3.0]), "b": jnp.array([[0.5]])}
GRADS = {"a": jnp.array([0.1, 0.2, -0.3]), "b": jnp.array([[4.0]])}
CURVATURE = {"a": jnp.array([0.0, 0.06, 1.98]), "b": jnp.array([[9.98]])}


def sdlm(rate=lambda step: 5e-4):
    return optimizers.create("sdlm", schedules.factor_schedule(1.0, rate), mu=0.02, samples=500)


def test_sdlm_steps_by_eta_over_mu_plus_h():
    optimizer = sdlm()
    state = optimizers.set_curvature(optimizer.init(PARAMS), CURVATURE)
    updates, state = optimizer.update(GRADS, state, PARAMS, error=0.5)
    by_hand = [-5e-4 / 0.02 * 0.1, -5e-4 / 0.08 * 0.2, 5e-4 / 2.0 * 0.3]
    np.testing.assert_allclose(updates["a"], by_hand, rtol=1e-6)
    np.testing.assert_allclose(updates["b"], [[-5e-4 / 10.0 * 4.0]], rtol=1e-6)
    params = optax.apply_updates(PARAMS, updates)
    np.testing.assert_allclose(params["a"], np.add([1.0, -2.0, 3.0], by_hand), rtol=1e-6)
    assert (state.equation["a"] == CURVATURE["a"]).all()  # until the next refresh


def test_before_the_first_refresh_the_curvature_is_0():
    optimizer = sdlm()
    updates, _ = optimizer.update(GRADS, optimizer.init(PARAMS), PARAMS, error=0.5)
    np.testing.assert_allclose(updates["b"], [[-5e-4 / 0.02 * 4.0]], rtol=1e-6)


def test_refresh_replaces_the_curvature_and_nothing_else():
    optimizer = sdlm()
    _, state = optimizer.update(GRADS, optimizer.init(PARAMS), PARAMS, error=0.5)
    fresh = optimizers.set_curvature(state, CURVATURE)
    assert fresh == state._replace(equation=CURVATURE)
    assert (state.equation["a"] == 0).all()


def test_sdlm_follows_its_schedule():
    rates = [5e-4, 2e-4, 1e-4]
    optimizer = sdlm(lambda step: jnp.asarray(rates)[step])
    state = optimizer.init(PARAMS)
    for rate in rates:
        updates, state = optimizer.update(GRADS, state, PARAMS, error=0.5)
        np.testing.assert_allclose(updates["b"], [[-rate / 0.02 * 4.0]], rtol=1e-6)
