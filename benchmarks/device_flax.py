"""A plain training step of ResNet-50 in flax and optax, for comparison with ours in `device.py`.

`python device_flax.py SETTINGS` prints a JSON object, `device_cases.Measured`, in its last line.
SETTINGS is a JSON object with image (H, W, C), batch, batches (in memory), dtype and seconds
(timed). It is what somebody writes who has flax and optax and no package such as this one: one
jitted function per step, with float32 parameters and the state donated.
"""

import json
import sys
import time
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from device_jax import describe_process

from cnn_archs.runtime import compilation_cache

CHUNK = 10  # steps between two looks at the clock, for which the device is waited for
COUNTS = (3, 4, 6, 3)  # bottlenecks in each stage of ResNet-50


class Bottleneck(nn.Module):
    """A 1x1, a 3x3 and a 1x1 convolution; the stride is in the 3x3 one."""

    width: int
    stride: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv = partial(nn.Conv, use_bias=False, dtype=self.dtype)
        norm = partial(nn.BatchNorm, use_running_average=False, momentum=0.9, dtype=self.dtype)
        y = nn.relu(norm()(conv(self.width, (1, 1))(x)))
        y = nn.relu(norm()(conv(self.width, (3, 3), self.stride)(y)))
        y = norm(scale_init=nn.initializers.zeros)(conv(4 * self.width, (1, 1))(y))
        if x.shape != y.shape:
            x = norm()(conv(4 * self.width, (1, 1), self.stride)(x))
        return nn.relu(x + y)


class ResNet50(nn.Module):
    """ResNet-50 in training, f32[N, H, W, 3] -> logits f32[N, 1000]."""

    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.Conv(64, (7, 7), 2, padding=3, use_bias=False, dtype=self.dtype)(x)
        x = nn.relu(nn.BatchNorm(use_running_average=False, momentum=0.9, dtype=self.dtype)(x))
        x = nn.max_pool(x, (3, 3), (2, 2), "SAME")
        for i, count in enumerate(COUNTS):
            for j in range(count):
                x = Bottleneck(64 * 2**i, 2 if i and not j else 1, self.dtype)(x)
        return nn.Dense(1000)(x.mean((1, 2)).astype(jnp.float32))


def main() -> None:
    settings = json.loads(sys.argv[1])
    began = time.monotonic()
    net = ResNet50(jnp.dtype(settings["dtype"]))
    optimizer = optax.chain(optax.add_decayed_weights(1e-4), optax.sgd(0.1, momentum=0.9))
    random, count = np.random.default_rng(0), settings["batches"] * settings["batch"]
    images = jnp.asarray(random.integers(0, 256, (count, *settings["image"]), dtype=np.uint8))
    labels = jnp.asarray(random.integers(0, 1000, count, dtype=np.int32))

    @jax.jit
    def init(key: jax.Array) -> tuple[Any, Any, Any]:
        variables = net.init(key, jnp.zeros((1, *settings["image"])))
        return variables["params"], variables["batch_stats"], optimizer.init(variables["params"])

    @partial(jax.jit, donate_argnums=0)
    def step(state: tuple[Any, Any, Any], images: Any, labels: Any, index: Any) -> tuple[Any, Any]:
        params, stats, opt_state = state
        batch, targets = images[index].astype(jnp.float32) / 127.5 - 1, labels[index]

        def loss(params: Any) -> tuple[jax.Array, Any]:
            variables = {"params": params, "batch_stats": stats}
            logits, changed = net.apply(variables, batch, mutable=["batch_stats"])
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
            return losses.mean(), changed["batch_stats"]

        (value, stats), gradients = jax.value_and_grad(loss, has_aux=True)(params)
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        return (optax.apply_updates(params, updates), stats, opt_state), value

    state = init(jax.random.key(0))
    params = sum(leaf.size for leaf in jax.tree.leaves(state[0]))
    order = random.permutation(count).reshape(settings["batches"], settings["batch"])

    def run(state: Any, first: int, count: int) -> Any:
        for i in range(first, first + count):
            state, value = step(state, images, labels, order[i % len(order)])
        jax.block_until_ready(value)
        return state

    chunk = 1 if jax.default_backend() == "cpu" else CHUNK
    state = run(state, 0, 2 * chunk)
    started, steps = time.monotonic(), 0
    while time.monotonic() < started + settings["seconds"]:
        state = run(state, steps, chunk)
        steps += chunk
    seconds = time.monotonic() - started
    found = {
        "images_per_second": steps * settings["batch"] / seconds,
        "steps_per_second": steps / seconds,
        "start_seconds": started - began,
        "params": params,
        **describe_process(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    compilation_cache.enable_cache()
    main()
