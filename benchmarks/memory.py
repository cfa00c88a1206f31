"""Count the memory that `model.remat` and `model.dtype` save in a training step; nothing is run.

python benchmarks/memory.py [--networks=vgg_e,resnet152] [--batch=256] [--side=224] [--tpu=v5e:2x2]
[--format=json] [--write] Goal: `ratio`, the bytes that the forward pass of the last network leaves
for the gradient in float32 with `remat` / without, is below 0.2.

`left` is counted before any compiler: all that is kept between the two passes, including
parameters. With --tpu, which needs `pip install libtpu` but no TPU, each step is also compiled for
one chip of that topology (half an hour), and `peak` is the memory that its compiler reserves, or
null if the step does not fit.
"""

import argparse
import os
from typing import Any

import common


def left(net: Any, state: Any, images: Any) -> int:
    """Return the bytes that the forward pass of `net` leaves for the gradient."""
    import jax
    import jax.numpy as jnp

    def forward(params, batch_stats, x):
        def loss(params):
            variables = {"params": params, "batch_stats": batch_stats}
            rngs = {"dropout": jax.random.key(0)}
            heads, new = net.apply(variables, x, train=True, mutable=["batch_stats"], rngs=rngs)
            return sum(h.astype(jnp.float32).mean() for h in heads.values()), new

        return jax.vjp(loss, params, has_aux=True)[1]

    x = jax.ShapeDtypeStruct(images.shape, jnp.float32)
    kept = jax.eval_shape(forward, state.params, state.batch_stats, x)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(kept))


def peak(step: Any, arguments: Any, topology: str) -> int | None:
    """Return the bytes of the step on one chip of a TPU `topology`, or None if it does not fit."""
    import jax
    from jax.experimental import topologies
    from jax.sharding import SingleDeviceSharding

    os.environ["TPU_SKIP_MDS_QUERY"] = "1"
    jax.default_backend = lambda: "tpu"  # otherwise the network takes its convolutions for a CPU
    chips = topologies.get_topology_desc(topology, "tpu", chips_per_host_bounds=(2, 2, 1))
    sharding = SingleDeviceSharding(chips.devices[0])
    placed = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), arguments
    )
    try:
        compiled = jax.jit(step, donate_argnums=0).lower(*placed).compile()
    except jax.errors.JaxRuntimeError as e:
        if "RESOURCE_EXHAUSTED" not in str(e):
            raise
        return None
    analysis: Any = compiled.memory_analysis()
    return analysis.peak_memory_in_bytes


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Count one row per network and dtype, with and without remat."""
    from abstract_step import abstract_step

    from cnn_archs import models

    image = (options.side, options.side, 3)
    rows: list[dict[str, Any]] = []
    for network in options.networks.split(","):
        for dtype in ("bfloat16", "float32"):
            for remat in (False, True):
                row: dict[str, Any] = dict(network=network, dtype=dtype, remat=remat)
                net = models.create(network, dtype=dtype, remat=remat)
                step, abstract = abstract_step(net, image, options.batch)
                row["left"] = left(net, abstract[0], abstract[2])
                if options.tpu:
                    row["peak"] = peak(step, abstract, options.tpu)
                rows.append(row)
                common.say(" ".join(map(str, row.values())))
    ratio = rows[-1]["left"] / rows[-2]["left"]
    return {"ratio": ratio, "rows": rows, "batch": options.batch, "side": options.side}


def table(result: dict[str, Any]) -> common.Rows:
    """Return the rows: gigabytes with and without remat, one row per network and dtype."""
    peaks = ("peak", "peak, remat") if "peak" in result["rows"][0] else ()
    rows: list[tuple[str, ...]] = [("network", "dtype", "left, GB", "left, remat, GB", *peaks)]
    pairs = zip(result["rows"][::2], result["rows"][1::2], strict=True)
    for kept, again in pairs:
        found = [f"{row['left'] / 1e9:.1f}" for row in (kept, again)]
        if peaks:
            pair = (kept["peak"], again["peak"])
            found += ["does not fit" if p is None else f"{p / 1e9:.1f}" for p in pair]
        rows.append((kept["network"], kept["dtype"], *found))
    return rows


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--networks", default="vgg_e,resnet152", help="NAME,... (default: %(default)s)"
    )
    parser.add_argument("--batch", type=int, default=256, help="images per step (default: 256)")
    parser.add_argument(
        "--side", type=int, default=224, help="side of an image in pixels (default: 224)"
    )
    parser.add_argument(
        "--tpu", default="", metavar="TOPOLOGY", help="also compile for it: v5e:2x2, v5p:2x2x1, ..."
    )


if __name__ == "__main__":
    common.main(__doc__, declare, measure, table)
