"""The diagonal second derivatives of LeNet-5's training method (1998, appendix C).

For each trainable weight, h_kk is the mean over examples of the sum of d2E/du_ij^2 over the
connections that share the weight. The Gauss-Newton recursion computes it backward from the output:

    d2E/du_ij^2 = d2E/da_i^2  x_j^2          weights
    d2E/da_i^2  = f'(a_i)^2   d2E/dx_i^2     squashing function, f'' dropped
    d2E/dx_j^2  = sum_i u_ij^2 d2E/da_i^2    states, cross terms dropped

Layers that are linear in their inputs and in their weights need no special rules: the first and the
last line are the ordinary backward pass with squared inputs and with squared weights.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from cnn_archs.models.network import Network, SquashedChain
from cnn_archs.optim.losses import Loss


def gauss_newton_diagonal(model: Network, loss: Loss) -> Callable[..., Any]:
    """Return a function (params, image f32[N, ...], label i32[N]) -> h_kk, a tree like params.

    Raises ValueError if `model` is not a `SquashedChain`.
    """
    if not isinstance(model, SquashedChain):
        raise ValueError(
            f"optimizer sdlm needs a network that is a chain of squashed layers, like "
            f"lenet5_1998; {type(model).__name__} is not"
        )

    def affine(layer: str, params: Any, x: jax.Array) -> jax.Array:
        sums: Any = model.apply({"params": {layer: params}}, x, layer, method="affine")
        return sums

    def curvature(params: Any, image: jax.Array, label: jax.Array) -> Any:
        states, sums = [image], []
        for layer in model.LAYERS:
            sums.append(affine(layer, params[layer], states[-1]))
            states.append(model.squash(sums[-1]))
        h_state = output_curvature(model, loss, states.pop(), label)
        h = {}
        for layer, a, x in reversed(list(zip(model.LAYERS, sums, states, strict=True))):
            slope = jax.jvp(model.squash, (a,), (jnp.ones_like(a),))[1]
            h_sum = slope**2 * h_state
            forward = partial(affine, layer)
            squared = jax.tree.map(jnp.square, params[layer])
            h_weights, _ = jax.vjp(forward, params[layer], x**2)[1](h_sum)
            _, h_state = jax.vjp(forward, squared, x)[1](h_sum)
            h[layer] = jax.tree.map(lambda s: s / len(label), h_weights)
        return h

    return curvature


def output_curvature(model: SquashedChain, loss: Loss, x: jax.Array, label: jax.Array) -> jax.Array:
    """Return the exact d2E/dx^2 of each example's loss E at the states x of the last layer."""

    def energy(state: jax.Array, label: jax.Array) -> jax.Array:
        heads: Any = model.apply({}, state.reshape(1, *x.shape[1:]), method="output")
        return loss(heads["logits"], label[None])[0]

    flat = x.reshape(len(x), -1)
    diagonal = jax.vmap(lambda s, y: jnp.diagonal(jax.hessian(energy)(s, y)))(flat, label)
    return diagonal.reshape(x.shape)
