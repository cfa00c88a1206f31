"""Count what `model.remat` and `model.dtype` save of a training step's memory. Nothing is run.

python benchmarks/memory.py [--networks=vgg_e,resnet152] [--batch=256] [--side=224] [--tpu=v5e:2x2]
    [--format=json] [--write]
Goal: `ratio`, what the forward pass of the last network leaves for the gradient in float32 with
`remat` / without, below 0.2.

`left` is counted before any compiler: all that is kept between the two passes, parameters too. With
--tpu, which takes `pip install libtpu` and no TPU, each step is compiled for one chip of that
topology as well (half an hour), and `peak` is what its compiler sets aside; none where it finds no
room.
"""

import argparse
import os
from typing import Any

import common


def left(net: Any, state: Any, images: Any) -> int:
    """Bytes that the forward pass of `net` leaves for the gradient."""
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
    """Bytes that the step takes on one chip of a TPU `topology`; None where it does not fit."""
    import jax
    from jax.experimental import topologies
    from jax.sharding import SingleDeviceSharding

    os.environ["TPU_SKIP_MDS_QUERY"] = "1"
    jax.default_backend = lambda: "tpu"  # for convolutions that are written otherwise for a CPU
    chips = topologies.get_topology_desc(topology, "tpu", chips_per_host_bounds=(2, 2, 1))
    there = SingleDeviceSharding(chips.devices[0])
    placed = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=there), arguments
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
    """Counts a row for each network, each dtype, with remat and without."""
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
    """Gigabytes, of a network and dtype in one row."""
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
    parser.add_argument("--networks", default="vgg_e,resnet152")
    parser.add_argument("--batch", type=int, default=256, help="images")
    parser.add_argument("--side", type=int, default=224, help="of an image, pixels")
    parser.add_argument("--tpu", default="", metavar="TOPOLOGY", help="v5e:2x2, v5p:2x2x1, ...")


if __name__ == "__main__":
    common.main(__doc__, declare, measure, table)
